"""Compute confidence intervals of metrics by the percentile bootstrap (Efron 1979)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy

if TYPE_CHECKING:
    import numpy as np
else:
    np = Lazy("numpy")

Metric = Callable[[Any, Any], float]
Interval = tuple[float, float]


def resampled(
    metrics: Mapping[str, Metric],
    truth: Any,
    answers: Any,
    clusters: np.ndarray,
    *,
    resamples: int,
    seed: int,
    advance: Callable[[int], None] = lambda count: None,
) -> dict[str, np.ndarray]:
    """Return each metric on each resample, (resamples,); all metrics see the same resamples.

    `truth` and `answers` have one item per row, as arrays or mappings of arrays. `clusters`, of shape (rows,), has an
    integer: rows of one cluster are drawn together, since the answers of one document are not independent. `advance` is
    called with 1 after each resample.
    """
    rng = np.random.default_rng(seed)
    members = np.argsort(clusters, kind="stable")  # the rows of each cluster side by side
    _, starts, sizes = np.unique(clusters[members], return_index=True, return_counts=True)
    drawn: dict[str, list[float]] = {name: [] for name in metrics}
    for _ in range(resamples):
        rows = members[_together(rng.integers(len(sizes), size=len(sizes)), starts, sizes)]
        for name, metric in metrics.items():
            drawn[name].append(metric(_rows(truth, rows), _rows(answers, rows)))
        advance(1)
    return {name: np.array(values) for name, values in drawn.items()}


def middle(values: np.ndarray, level: float) -> Interval | None:
    """Return the interval of the middle `level` of resampled values, (resamples,); None if one of them is undefined."""
    if not np.isfinite(values).all():
        return None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _rows(values: Any, rows: np.ndarray) -> Any:
    return {name: array[rows] for name, array in values.items()} if isinstance(values, Mapping) else values[rows]


def _together(chosen: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the concatenated ranges start .. start + size of the chosen clusters."""
    counts = sizes[chosen]
    ends = counts.cumsum()
    positions: np.ndarray = np.arange(ends[-1]) + np.repeat(starts[chosen] - (ends - counts), counts)
    return positions
