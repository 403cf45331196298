"""Make one opinion of the texts of a window."""

from __future__ import annotations

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

    A regression's `probabilities` and `confidence` are NaN.
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


class AggregateImplementation(Protocol):
    """Define what an aggregate does; `estimate` only where its description says so."""

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


class Confidence(AggregateImplementation):
    """Let each text vote for its direction, weighted by its confidence."""

    def __init__(self, options: NoOptions) -> None: ...

    def shares(self, answers: Answers) -> np.ndarray:
        """Return the weights of SELL, HOLD and BUY, (3,)."""
        return _mean(answers.votes, answers.confidence)


class Majority(AggregateImplementation):
    """Let each text vote for its direction, all alike."""

    def __init__(self, options: NoOptions) -> None: ...

    def shares(self, answers: Answers) -> np.ndarray:
        """Return the weights of SELL, HOLD and BUY, (3,)."""
        return _mean(answers.votes, np.ones(len(answers.score)))


class Mean(AggregateImplementation):
    """Take the mean of probabilities, or of estimates."""

    def __init__(self, options: NoOptions) -> None: ...

    def shares(self, answers: Answers) -> np.ndarray:
        """Return the weights of SELL, HOLD and BUY, (3,)."""
        return _mean(answers.probabilities, np.ones(len(answers.score)))

    def estimate(self, answers: Answers) -> float:
        """Return the mean of the estimates."""
        return float(answers.score.mean())


class DecayOptions(Options):
    """Choose how fast texts fade."""

    half_life: float = Field(1.0, gt=0, description="Days after which a text counts half.")


class Decay(AggregateImplementation):
    """Take the mean of probabilities, or of estimates, each weighted by 2^(-age / half-life)."""

    def __init__(self, options: DecayOptions) -> None:
        self._half_life = options.half_life * DAY

    def shares(self, answers: Answers) -> np.ndarray:
        """Return the weights of SELL, HOLD and BUY, (3,)."""
        return _mean(answers.probabilities, self._weights(answers.age))

    def estimate(self, answers: Answers) -> float:
        """Return the weighted mean of the estimates."""
        return float(_mean(answers.score, self._weights(answers.age)))

    def _weights(self, age: np.ndarray) -> np.ndarray:
        # Relative to the youngest, so that texts that are all old don't all fade to nothing.
        weights: np.ndarray = np.exp2((age.min() - age) / self._half_life)
        return weights


def winners(shares: np.ndarray) -> np.ndarray:
    """Return the likeliest column of each row of shares, (rows,), of (rows, 3): HOLD where two are as likely."""
    highest = shares >= shares.max(1, keepdims=True) - TIE
    best: np.ndarray = np.where(highest.sum(1) > 1, HOLD_COLUMN, shares.argmax(1))
    return best


def checked_shares(name: str, shares: Any) -> np.ndarray:
    """Return what an aggregate gave, (3,). Raises PluginError where these are no shares."""
    array = np.asarray(shares, np.float64)
    if array.shape != (3,) or not np.isfinite(array).all() or (array < 0).any() or abs(array.sum() - 1) > 1e-6:
        raise PluginError(f"aggregate {name!r} returned {shares!r}: return three shares that sum to one")
    return array


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    total = weights.sum()
    if not total > 0:  # every confidence is zero
        weights, total = np.ones(len(weights)), float(len(weights))
    mean: np.ndarray = np.tensordot(weights / total, values, axes=1)
    return mean
