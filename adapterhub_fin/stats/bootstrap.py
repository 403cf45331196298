"""How far a metric could have come out otherwise: the percentile bootstrap (Efron 1979)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from adapterhub_fin._lazy import Lazy

if TYPE_CHECKING:
    import numpy as np
else:
    np = Lazy("numpy")

Metric = Callable[["np.ndarray", "np.ndarray"], float]


Interval = tuple[float, float]


def intervals(
    metrics: Mapping[str, Metric],
    truth: np.ndarray,
    said: np.ndarray,
    units: np.ndarray,
    *,
    resamples: int,
    seed: int,
    level: float,
    advance: Callable[[int], None] = lambda count: None,
) -> dict[str, Interval | None]:
    """Between which values each metric lies in the middle `level` of the resamples.

    Answers with the same number in `units` are drawn together: those of one document are no independent evidence. None
    where a resample leaves the metric undefined, which says that there are too few units. `advance` hears of each.
    """
    rng = np.random.default_rng(seed)
    members = np.argsort(units, kind="stable")  # the answers of each unit side by side
    _, starts, sizes = np.unique(units[members], return_index=True, return_counts=True)
    drawn: dict[str, list[float]] = {name: [] for name in metrics}
    for _ in range(resamples):
        rows = members[_together(rng.integers(len(sizes), size=len(sizes)), starts, sizes)]
        for name, metric in metrics.items():
            drawn[name].append(metric(truth[rows], said[rows]))
        advance(1)
    return {name: _middle(np.array(values), level) for name, values in drawn.items()}


def _together(chosen: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The places from `start` on, `size` of them, for each unit that was chosen, one after the other."""
    counts = sizes[chosen]
    ends = counts.cumsum()
    places: np.ndarray = np.arange(ends[-1]) + np.repeat(starts[chosen] - (ends - counts), counts)
    return places


def _middle(values: np.ndarray, level: float) -> Interval | None:
    if not np.isfinite(values).all():
        return None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
