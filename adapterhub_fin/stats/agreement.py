"""Test whether scores agree with answers beyond what the frequencies of both give, on events in time order.

A family is a series of events that share their options: `scores`, (events, options), say how likely each option is
held to be, and `answers`, (events,), are the indices of the options that came true. Its excess is the score of the true
options less the mean score that the same rows give to the answers of the other events: zero on average for whoever
knows nothing of single events, however often each option comes true or is preferred.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.stats.undefined import Undefined

if TYPE_CHECKING:
    import numpy as np
else:
    np = Lazy("numpy")

ROUNDS: Final = 9999
_CLOSE: Final = 1e-10  # below which two sums differ by rounding alone


@dataclass(frozen=True)
class Family:
    """Hold one series of events: scores (events, options), answers (events,), and which event each row is of."""

    scores: np.ndarray
    answers: np.ndarray
    events: np.ndarray  # (events,) integers, increasing in time


@dataclass(frozen=True)
class Agreement:
    """Hold the mean excess over all rows, its one-sided p, and what the test could have shown."""

    rows: int
    observed: float  # the mean score of the true options
    expected: float  # what the frequencies alone give
    error: float  # the standard deviation of the mean under the arrangements that the test tries
    p: float  # of an excess above zero
    least_p: float  # the smallest that these answers can give, whatever the scores

    @property
    def excess(self) -> float:
        """Return the mean score of the true options beyond the frequencies."""
        return self.observed - self.expected


def excess_by_row(family: Family) -> tuple[np.ndarray, np.ndarray]:
    """Return the score of each row's true option, and the mean of its scores of the others' answers, (events,) each.

    Raises Undefined for a family of one event, which has no others.
    """
    count = len(family.answers)
    if count < 2:
        raise Undefined("a family of one event has nothing to be compared with")
    own = family.scores[np.arange(count), family.answers]
    times = np.bincount(family.answers, minlength=family.scores.shape[1])
    return own, (family.scores @ times - own) / (count - 1)


def shifted(families: Sequence[Family]) -> Agreement:
    """Return the test whose arrangements shift the answers along time, around the end: one shift for all families.

    A shift moves each family by the same share of its length. Both series keep their own autocorrelation, so a streak
    of answers beside a drift of the scores isn't taken for knowledge as often as by free permutation. p is the share of
    all shifts that agree at least as well as none.
    """
    totals, shares = _joint([_by_shift(family) for family in families])
    moved, _ = _joint([_moved_by_shift(family.answers) for family in families])
    return _agreement(families, totals, shares, _share(shares[moved == 0]))


def shift_test(sums: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return the one-sided p of the sum under no shift, and the smallest that it could be.

    `sums` has one array a series, (events,): its sum under each shift in time, the first under none.
    """
    totals, shares = _joint(sums)
    return _share(shares[_reached(totals)]), _share(shares[:1])


def _joint(sums: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the total under each joint shift, (shifts,), and the share of all shifts that it stands for."""
    cuts = np.unique(np.concatenate([np.arange(len(each)) / len(each) for each in sums]))
    middle = (cuts + np.append(cuts[1:], 1.0)) / 2  # a cut itself may be rounded to its wrong side
    totals = np.zeros(len(cuts))
    for each in sums:
        totals += each[(middle * len(each)).astype(int)]
    return totals, np.diff(np.append(cuts, 1.0))


def permuted(families: Sequence[Family], *, rounds: int = ROUNDS, seed: int = 0) -> Agreement:
    """Return the test whose arrangements permute the answers freely: for events that don't depend on one another.

    Families of the same events are permuted together. Of `rounds` random ones the observed arrangement counts as one
    (Phipson and Smyth 2010).
    """
    rng, totals = np.random.default_rng(seed), np.zeros(rounds + 1)
    together: dict[tuple[int, ...], list[Family]] = {}
    for family in families:
        together.setdefault(tuple(family.events.tolist()), []).append(family)
    for same in together.values():
        count = len(same[0].answers)
        rows = np.arange(count)
        for index in range(rounds + 1):
            order = rng.permutation(count) if index else rows
            totals[index] += sum(family.scores[rows, family.answers[order]].sum() for family in same)
    return _agreement(families, totals, np.full(rounds + 1, 1 / (rounds + 1)), _least(together))


def _least(together: dict[tuple[int, ...], list[Family]]) -> float:
    """Return the chance that random permutations leave every answer as it is."""
    from math import lgamma

    logarithm = 0.0
    for same in together.values():
        joint = np.stack([family.answers for family in same])
        _, times = np.unique(joint, axis=1, return_counts=True)
        logarithm += sum(lgamma(count + 1) for count in times.tolist()) - lgamma(joint.shape[1] + 1)
    return float(np.exp(logarithm))


def _by_shift(family: Family) -> np.ndarray:
    """Return the sum of the scores of the answers under each shift, (events,); the first is that of none."""
    count = len(family.answers)
    rows = np.arange(count)
    return np.array(
        [family.scores[rows, np.roll(family.answers, -shift)].sum() for shift in range(count)], dtype=np.float64
    )


def _moved_by_shift(answers: np.ndarray) -> np.ndarray:
    """Return how many answers, (events,), each shift changes, (events,).

    Answers that alternate, say, are the same under half of all shifts, which no scores can tell from none.
    """
    return np.array([np.count_nonzero(np.roll(answers, -shift) != answers) for shift in range(len(answers))])


def _reached(totals: np.ndarray) -> np.ndarray:
    """Return which totals, (arrangements,), are at least the first, up to rounding."""
    reached: np.ndarray = totals >= totals[0] - _CLOSE * max(1.0, abs(float(totals[0])))
    return reached


def _share(shares: np.ndarray) -> float:
    """Return the sum of some shares, without the rounding that would lift 3 of 60 above 0.05."""
    return round(float(shares.sum()), 12)


def _agreement(families: Sequence[Family], totals: np.ndarray, shares: np.ndarray, least_p: float) -> Agreement:
    """Return the agreement of all rows; `totals` are sums by arrangement, (arrangements,), the observed one first."""
    rows = sum(len(family.answers) for family in families)
    both = [excess_by_row(family) for family in families]
    mean = float(shares @ totals)
    return Agreement(
        rows=rows,
        observed=float(sum(own.sum() for own, _ in both)) / rows,
        expected=float(sum(others.sum() for _, others in both)) / rows,
        error=float(np.sqrt(shares @ (totals - mean) ** 2)) / rows,
        p=_share(shares[_reached(totals)]),
        least_p=max(_share(shares[:1]), least_p),
    )
