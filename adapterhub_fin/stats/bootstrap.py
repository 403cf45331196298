"""Compute confidence intervals by the bootstrap (Efron 1979): percentile and BCa, by row or by group, and of series."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.stats.blocks import block_length, stationary_rows
from adapterhub_fin.stats.undefined import Undefined, finite

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike
    from scipy import stats
else:
    np = Lazy("numpy")
    stats = Lazy("scipy.stats")

Metric = Callable[[Any, Any], float]
Interval = tuple[float, float]
_CHUNK: Final = 5_000_000  # drawn units that are counted at a time


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


def resampled_means(
    scores: np.ndarray, weights: np.ndarray, clusters: np.ndarray, *, resamples: int, seed: int
) -> np.ndarray:
    """Return the weighted mean of each column of scores on each resample, (resamples, columns).

    `scores` and `weights` are (rows, columns). The resamples are those of `resampled` under the same seed; a mean is a
    ratio of sums, so one multiplication of matrices computes all of them.
    """
    _, codes = np.unique(clusters, return_inverse=True)
    count = int(codes.max()) + 1
    both = np.concatenate([scores * weights, weights], axis=1)
    sums = np.zeros((count, both.shape[1]))
    np.add.at(sums, codes, both)
    rng, size, columns = np.random.default_rng(seed), max(1, _CHUNK // count), scores.shape[1]
    parts = []
    for start in range(0, resamples, size):
        drawn = rng.integers(count, size=(min(size, resamples - start), count))
        drawn += np.arange(len(drawn))[:, None] * count
        times = np.bincount(drawn.ravel(), minlength=len(drawn) * count).reshape(len(drawn), count)
        totals = times.astype(np.float64) @ sums
        with np.errstate(invalid="ignore", divide="ignore"):
            parts.append(totals[:, :columns] / totals[:, columns:])
    return np.concatenate(parts)


def percentile(values: np.ndarray, level: float) -> Interval | None:
    """Return the interval of the middle `level` of resampled values, (resamples,); None if one of them is undefined."""
    if not np.isfinite(values).all():
        return None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bca(values: np.ndarray, observed: float, left_out: np.ndarray, level: float) -> Interval:
    """Return the bias-corrected and accelerated interval (Efron 1987), which suits a metric with a skewed distribution.

    `values`, (resamples,), are the resampled ones, `observed` that of all rows, and `left_out`, (units,), that without
    each unit. Raises Undefined where a value isn't finite, or all resampled ones lie on one side of the observed one.
    """
    draws, jackknife = finite(values), finite(left_out, least=2)
    share = (np.sum(draws < observed) + np.sum(draws == observed) / 2) / len(draws)
    if not 0 < share < 1:
        raise Undefined("all resamples lie on one side of the metric")
    bias = stats.norm.ppf(share)
    apart = jackknife.mean() - jackknife
    squares = np.sum(apart**2)
    acceleration = np.sum(apart**3) / (6 * squares**1.5) if squares > 0 else 0.0
    z = bias + stats.norm.ppf([(1 - level) / 2, (1 + level) / 2])
    low, high = np.quantile(draws, stats.norm.cdf(bias + z / (1 - acceleration * z)))
    return float(low), float(high)


def means_left_out(scores: np.ndarray, weights: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Return the weighted mean of scores, (rows,), without each cluster, (clusters,): the jackknife for `bca`."""
    _, codes = np.unique(clusters, return_inverse=True)
    totals, sums = np.bincount(codes, weights), np.bincount(codes, scores * weights)
    rest: np.ndarray = (sums.sum() - sums) / (totals.sum() - totals)
    return rest


def left_out(metric: Metric, truth: Any, answers: Any, clusters: np.ndarray) -> np.ndarray:
    """Return any metric without each cluster of rows, (clusters,): the jackknife for `bca`."""
    rows = (np.flatnonzero(clusters != cluster) for cluster in np.unique(clusters))
    return np.array([metric(_rows(truth, others), _rows(answers, others)) for others in rows])


def stationary(
    series: ArrayLike,
    *,
    statistic: Callable[[np.ndarray], float] | None = None,
    block: float | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[Interval, float]:
    """Return the interval of a statistic of a series, (times,), and the mean length of the blocks that were drawn.

    It is the stationary bootstrap of Politis and Romano (1994), as arch draws it; the statistic is the mean by default.
    The block is that of Politis and White (2004) and Patton, Politis and White (2009), at least 1. Raises Undefined for
    a series that isn't finite, is shorter than 8 or doesn't vary.
    """
    drawn, block = stationary_draws(series, statistic or np.mean, block=block, resamples=resamples, seed=seed)
    interval = percentile(drawn.ravel(), level)
    if interval is None:
        raise Undefined("the statistic is undefined on a resample")
    return interval, block


def stationary_draws(
    series: ArrayLike,
    statistic: Callable[[np.ndarray], Any],
    *,
    block: float | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[np.ndarray, float]:
    """Return statistics of each resample of a series, (resamples, statistics), and the blocks' mean length.

    The series is (times,), or (times, columns) whose rows are drawn together: its block is the longest that a column
    needs. `statistic` takes a resample of that shape, and returns one number or an array of them. Raises Undefined as
    `stationary`.
    """
    values = finite(series, least=8)
    if (values.min(0) == values.max(0)).any():
        raise Undefined("the values do not vary")
    if block is None:
        block = block_length(values)
    rows = stationary_rows(len(values), block, resamples, seed)
    drawn = np.array([statistic(values[each]) for each in rows], dtype=np.float64)
    return drawn.reshape(resamples, -1), block


def _rows(values: Any, rows: np.ndarray) -> Any:
    return {name: array[rows] for name, array in values.items()} if isinstance(values, Mapping) else values[rows]


def _together(chosen: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the concatenated ranges start .. start + size of the chosen clusters."""
    counts = sizes[chosen]
    ends = counts.cumsum()
    positions: np.ndarray = np.arange(ends[-1]) + np.repeat(starts[chosen] - (ends - counts), counts)
    return positions
