"""Make one opinion of the texts of a window."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from pydantic import Field

from adapterhub_fin.plugin import NoOptions, Options, PluginError

TIE: Final = 1e-9  # shares nearer than this are equal: models round at the seventh digit
HOLD_COLUMN: Final = 1
DAY: Final = 86_400.0


@dataclass(frozen=True, eq=False)
class Answers:
    """Hold the answers to a window's texts, one at least, by the time of the texts; arrays are (texts,).

    Those of several windows of as many texts each are (windows, texts). A regression's `probabilities` and `confidence`
    are NaN.
    """

    probabilities: np.ndarray  # (texts, 3): of SELL, HOLD and BUY
    score: np.ndarray  # probability of BUY less that of SELL, or the estimate
    confidence: np.ndarray  # probability of the likeliest direction
    age: np.ndarray  # seconds from the text's availability to the decision, above zero

    @property
    def votes(self) -> np.ndarray:
        """Return each text's direction as a vote, (texts, 3): 1 for the likeliest, HOLD where two are."""
        votes: np.ndarray = np.eye(3)[winners(self.probabilities)]
        return votes

    @property
    def alone(self) -> Answers:
        """Return the answers to the first of several windows as those to one, (texts,)."""
        return Answers(self.probabilities[0], self.score[0], self.confidence[0], self.age[0])

    @property
    def together(self) -> Answers:
        """Return the answers to one window as those to several, (1, texts)."""
        return Answers(self.probabilities[None], self.score[None], self.confidence[None], self.age[None])


class AggregateImplementation(Protocol):
    """Define what an aggregate does; `estimate` only where its description says so.

    `shares_together` and `estimates_together` are optional: with them, many windows take one call and not one each.
    They get `Answers` of (windows, texts), and return (windows, 3) and (windows,).
    """

    def __init__(self, options: Any) -> None: ...

    def shares(self, answers: Answers) -> np.ndarray:
        """Return the weights of SELL, HOLD and BUY, (3,), which sum to one."""
        ...


@dataclass(frozen=True)
class Aggregating:
    """Hold the aggregate that was chosen, built, with what a table records of it."""

    name: str
    build: Any  # an AggregateImplementation, with `estimate` where its description says so
    facts: Mapping[str, Any]


class _SharesTogether(AggregateImplementation):
    """Make the opinion of one window as that of several: a window has the same one in any company."""

    def shares(self, answers: Answers) -> np.ndarray:
        """Return the weights of SELL, HOLD and BUY, (3,)."""
        shares: np.ndarray = self.shares_together(answers.together)[0]
        return shares

    @abstractmethod
    def shares_together(self, answers: Answers) -> np.ndarray:
        """Return the weights of each window, (windows, 3)."""


class _EstimatesTogether(_SharesTogether):
    """Do the same with a regression's estimates."""

    def estimate(self, answers: Answers) -> float:
        """Return the estimate of one window."""
        return float(self.estimates_together(answers.together)[0])

    @abstractmethod
    def estimates_together(self, answers: Answers) -> np.ndarray:
        """Return the estimate of each window, (windows,)."""


class Confidence(_SharesTogether):
    """Let each text vote for its direction, weighted by its confidence."""

    def __init__(self, options: NoOptions) -> None: ...

    def shares_together(self, answers: Answers) -> np.ndarray:
        """Return the weights of each window, (windows, 3)."""
        return _mean(answers.votes, answers.confidence)


class Majority(_SharesTogether):
    """Let each text vote for its direction, all alike."""

    def __init__(self, options: NoOptions) -> None: ...

    def shares_together(self, answers: Answers) -> np.ndarray:
        """Return the weights of each window, (windows, 3)."""
        return _mean(answers.votes, np.ones_like(answers.score))


class Mean(_EstimatesTogether):
    """Take the mean of probabilities, or of estimates."""

    def __init__(self, options: NoOptions) -> None: ...

    def shares_together(self, answers: Answers) -> np.ndarray:
        """Return the weights of each window, (windows, 3)."""
        return _mean(answers.probabilities, np.ones_like(answers.score))

    def estimates_together(self, answers: Answers) -> np.ndarray:
        """Return the mean of each window's estimates, (windows,)."""
        means: np.ndarray = answers.score.mean(-1)
        return means


class DecayOptions(Options):
    """Choose how fast texts fade."""

    half_life: float = Field(1.0, gt=0, description="Days after which a text counts half.")


class Decay(_EstimatesTogether):
    """Take the mean of probabilities, or of estimates, each weighted by 2^(-age / half-life)."""

    def __init__(self, options: DecayOptions) -> None:
        self._half_life = options.half_life * DAY

    def shares_together(self, answers: Answers) -> np.ndarray:
        """Return the weights of each window, (windows, 3)."""
        return _mean(answers.probabilities, self._weights(answers.age))

    def estimates_together(self, answers: Answers) -> np.ndarray:
        """Return the weighted mean of each window's estimates, (windows,)."""
        return _mean(answers.score[..., None], self._weights(answers.age))[:, 0]

    def _weights(self, age: np.ndarray) -> np.ndarray:
        # Relative to the youngest, so that texts that are all old don't all fade to nothing.
        weights: np.ndarray = np.exp2((age.min(-1, keepdims=True) - age) / self._half_life)
        return weights


def winners(shares: np.ndarray) -> np.ndarray:
    """Return the likeliest column of each row of shares, (rows,), of (rows, 3): HOLD where two are as likely."""
    highest = shares >= shares.max(-1, keepdims=True) - TIE
    best: np.ndarray = np.where(highest.sum(-1) > 1, HOLD_COLUMN, shares.argmax(-1))
    return best


def checked_shares(name: str, shares: Any, windows: tuple[int, ...] = ()) -> np.ndarray:
    """Return what an aggregate gave, (3,), or (windows, 3) of several windows.

    Raises PluginError where these are no shares.
    """
    array = np.asarray(shares, np.float64)
    if array.shape != (*windows, 3) or not _are_shares(array):
        raise PluginError(f"aggregate {name!r} returned {shares!r}: return three shares that sum to one")
    return array


def _are_shares(array: np.ndarray) -> bool:
    return bool(np.isfinite(array).all() and (array >= 0).all() and (abs(array.sum(-1) - 1) <= 1e-6).all())


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted means, (windows, columns), of values (windows, texts, columns)."""
    total = weights.sum(-1, keepdims=True)
    if not (total > 0).all():  # every confidence of a window is zero
        weights = np.where(total > 0, weights, 1.0)
        total = weights.sum(-1, keepdims=True)
    means: np.ndarray = ((weights / total)[:, None, :] @ values)[:, 0]
    return means
