"""Test whether forecasts are right more often where their base recalls the outcome (Gao, Jiang and Yan, 2512.23847)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.contamination.probes import SideName
from adapterhub_fin.engine.contamination.recall import ROUNDING, Recalled, Settings, Side
from adapterhub_fin.stats.agreement import shift_test
from adapterhub_fin.stats.bootstrap import Interval, percentile, stationary_draws
from adapterhub_fin.stats.undefined import Undefined

if TYPE_CHECKING:
    import numpy as np
else:
    np = Lazy("numpy")


@dataclass(frozen=True)
class Interaction:
    """Hold how a forecast's accuracy goes with the base's propensity, on one side of the end.

    `slope` is the gain in accuracy from a propensity of 0 to one of 1, among facts of one family and one answer, so
    that a forecast and a base which prefer the same option don't agree by that alone.
    """

    side: SideName
    facts: int
    accuracy: float | None = None
    slope: float | None = None
    interval: Interval | None = None
    p: float | None = None  # one-sided, by shifts in time: of a positive slope
    reason: str = ""

    def body(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return asdict(self)


def interaction(side: Side, settings: Settings) -> Interaction | None:
    """Return the interaction on one side, by the facts that have a forecast; None if none has."""
    facts = [fact for fact in side.facts if fact.forecast is not None]
    if not facts:
        return None
    accuracy = float(np.mean([fact.forecast for fact in facts]))
    right, propensity = _within_answers(facts)
    try:
        if np.ptp(right) < ROUNDING or np.ptp(propensity) < ROUNDING:
            raise Undefined("among facts of one answer, forecasts or propensities do not vary")
        slope = float(right @ propensity / (propensity @ propensity))
        p, _ = shift_test([_sums_by_shift(right, propensity)])
        pairs = np.stack([right, propensity], axis=1)
        drawn, _ = stationary_draws(pairs, _slope, resamples=settings.resamples, seed=settings.seed)
    except Undefined as error:
        return Interaction(side.name, len(facts), accuracy, reason=str(error))
    return Interaction(side.name, len(facts), accuracy, slope, percentile(drawn.ravel(), 0.95), p)


def _within_answers(facts: Sequence[Recalled]) -> tuple[np.ndarray, np.ndarray]:
    """Return accuracy and propensity less their means over facts of the same family and answer, (facts,) each."""
    _, groups = np.unique([f"{fact.family}\0{fact.answer}" for fact in facts], return_inverse=True)
    columns = [
        np.array([fact.forecast for fact in facts], dtype=np.float64),
        np.array([fact.propensities[fact.answer] for fact in facts]),
    ]
    means = [np.bincount(groups, column) / np.bincount(groups) for column in columns]
    right, propensity = (column - mean[groups] for column, mean in zip(columns, means, strict=True))
    return right, propensity


def _sums_by_shift(right: np.ndarray, propensity: np.ndarray) -> np.ndarray:
    return np.array([np.roll(right, -shift) @ propensity for shift in range(len(right))])


def _slope(pair: np.ndarray) -> float:
    squares = float(pair[:, 1] @ pair[:, 1])
    return float(pair[:, 0] @ pair[:, 1]) / squares if squares > 0 else float("nan")
