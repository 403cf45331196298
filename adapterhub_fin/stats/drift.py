"""Measure how far new values have moved from a reference, and whether more than chance moves them.

Each test is of two independent samples under the hypothesis that both are drawn from one distribution. Those by
permutation are exact at any size up to the number of draws; their draws are seeded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.stats.undefined import Undefined, finite

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike
    from scipy import spatial, stats
else:
    np = Lazy("numpy")
    stats, spatial = Lazy("scipy.stats"), Lazy("scipy.spatial")

BINS: Final = 10
_BLOCK: Final = 64  # permutations whose sums are computed at a time


@dataclass(frozen=True)
class Shift:
    """Hold the statistic of a test, and its p-value."""

    statistic: float
    p: float


def quantile_edges(reference: ArrayLike, bins: int = BINS) -> np.ndarray:
    """Return the inner edges of bins that hold equal shares of a reference, (edges,), bins - 1 at most; ties join bins.

    Raises Undefined as `finite`.
    """
    edges = np.unique(np.quantile(finite(reference), np.arange(1, bins) / bins))
    return np.asarray(edges)


def counts_by(values: ArrayLike, edges: np.ndarray) -> np.ndarray:
    """Return how many values lie in each bin, (edges + 1,); a value on an edge lies below it.

    Raises Undefined as `finite`.
    """
    places = np.searchsorted(edges, finite(values), side="left")
    return np.bincount(places, minlength=len(edges) + 1)


def population_stability(reference: ArrayLike, new: ArrayLike) -> float:
    """Return the PSI of two rows of counts, (bins,) each: the sum of (q - p) ln(q / p) over the bins' shares.

    It is Jeffreys's divergence (Kullback and Leibler 1951), which credit scoring calls the population stability index
    (Siddiqi 2006). Half a row is added to each bin, so that an empty one has a share. Raises Undefined without a row.
    """
    before, after = (np.asarray(counts, np.float64) for counts in (reference, new))
    if not (before.sum() and after.sum()):
        raise Undefined("there is no row on one side")
    p, q = ((counts + 0.5) / (counts.sum() + 0.5 * len(counts)) for counts in (before, after))
    return float(np.sum((q - p) * np.log(q / p)))


def expected_stability(bins: int, reference: int, new: int) -> float:
    """Return the PSI that two samples of one distribution have on average: (bins - 1) (1 / n + 1 / m).

    It is the mean of its limit, a multiple of chi-squared (Yurdakul and Naranjo 2020): few rows look like drift.
    """
    return (bins - 1) * (1 / reference + 1 / new)


def kolmogorov_smirnov(reference: ArrayLike, new: ArrayLike) -> Shift:
    """Return the largest gap between two distribution functions with its p-value, by scipy; ties make p too large.

    Raises Undefined as `finite`.
    """
    result = stats.ks_2samp(finite(reference), finite(new))
    return Shift(float(result.statistic), float(result.pvalue))


def category_shift(reference: ArrayLike, new: ArrayLike, *, draws: int = 9999, seed: int = 0) -> Shift:
    """Return chi-squared of two rows of counts, (categories,) each, with the p-value of a permutation test.

    The rows are dealt anew to both sides, so that p holds for rare categories too. Raises Undefined without a row on
    one side, or where all rows have one category.
    """
    before, after = (np.asarray(counts, np.int64) for counts in (reference, new))
    both = before + after
    before, after, both = (counts[both > 0] for counts in (before, after, both))
    if not (before.sum() and after.sum()):
        raise Undefined("there is no row on one side")
    if len(both) < 2:
        raise Undefined("all rows have one answer, before and now")
    expected = both * after.sum() / both.sum()

    def chi_squared(now: np.ndarray) -> np.ndarray:
        gaps = (now - expected) ** 2
        return np.asarray((gaps / expected + gaps / (both - expected)).sum(-1))

    drawn = np.random.default_rng(seed).multivariate_hypergeometric(both, int(after.sum()), size=draws)
    observed = float(chi_squared(after))
    return Shift(observed, _share(chi_squared(drawn), observed))


def energy_distance(reference: np.ndarray, new: np.ndarray, *, draws: int = 999, seed: int = 0) -> Shift:
    """Return the energy distance of two sets of vectors, (n, hidden) and (m, hidden), with a permutation p-value.

    It is 2 E|X - Y| - E|X - X'| - E|Y - Y'| over Euclidean distances (Székely and Rizzo 2013), 0 where both have one
    distribution, divided by 2 E|X - Y|: from 0 to 1. Raises Undefined for fewer than two vectors on a side, for values
    that aren't finite, and where all vectors are equal.
    """
    if min(len(reference), len(new)) < 2:
        raise Undefined("one vector has no distance to others")
    both = np.concatenate([reference, new]).astype(np.float64)
    if not np.isfinite(both).all():
        raise Undefined("a vector holds NaN or infinity")
    distances = spatial.distance.squareform(spatial.distance.pdist(both))
    if not distances.any():
        raise Undefined("all vectors are equal")
    old = np.zeros(len(both))
    old[: len(reference)] = 1.0
    observed = float(_energies(distances, old[None])[0])
    rng, drawn = np.random.default_rng(seed), []
    for start in range(0, draws, _BLOCK):
        block = np.tile(old, (min(_BLOCK, draws - start), 1))
        drawn.append(_energies(distances, rng.permuted(block, axis=1)))
    return Shift(observed, _share(np.concatenate(drawn), observed))


def _energies(distances: np.ndarray, old: np.ndarray) -> np.ndarray:
    """Return the energy distance under each way of dealing, (draws,); `old` marks the reference, (draws, vectors)."""
    n, m = old[0].sum(), len(distances) - old[0].sum()
    sums = old @ distances
    within_old = (sums * old).sum(1)
    across = (sums * (1 - old)).sum(1)
    within_new = distances.sum() - within_old - 2 * across
    mean = across / (n * m)
    return np.asarray((2 * mean - within_old / n**2 - within_new / m**2) / (2 * np.where(mean, mean, 1)))


def _share(drawn: np.ndarray, observed: float) -> float:
    """Return the p-value of a permutation test: the share that is as extreme, the observed one among them."""
    tolerance = 1e-12 * max(abs(observed), 1e-12)
    return float((1 + np.sum(drawn >= observed - tolerance)) / (1 + len(drawn)))


def calibration_test(confidence: ArrayLike, right: ArrayLike) -> Shift:
    """Return Spiegelhalter's z (1986) and its two-sided p: whether confidences are the shares that are right.

    Both are (rows,): probabilities, and 1 for a right answer, else 0. Of confidences above a half, a negative z says
    that answers are right less often than they are sure. Raises Undefined where every confidence is 0, 1 or a half.
    """
    sure, ok = finite(confidence), finite(right)
    weights = 1 - 2 * sure
    variance = float(np.sum(weights**2 * sure * (1 - sure)))
    if variance <= 0:
        raise Undefined("every confidence is 0, 0.5 or 1, which leaves no variance to test by")
    z = -float(np.sum((ok - sure) * weights)) / variance**0.5
    return Shift(z, float(2 * stats.norm.sf(abs(z))))


def mean_shift(reference: ArrayLike, new: ArrayLike, *, draws: int = 9999, seed: int = 0) -> Shift:
    """Return the change of a mean with the two-sided p-value of a permutation test.

    Raises Undefined as `finite`, and where all values are equal.
    """
    before, after = finite(reference), finite(new)
    both = np.concatenate([before, after])
    if both.min() == both.max():
        raise Undefined("the values do not vary")
    rng, drawn, take = np.random.default_rng(seed), [], np.arange(len(both)) < len(after)
    for start in range(0, draws, _BLOCK):
        chosen = rng.permuted(np.tile(take, (min(_BLOCK, draws - start), 1)), axis=1)
        sums = chosen @ both
        drawn.append(sums / len(after) - (both.sum() - sums) / len(before))
    observed = float(after.mean() - before.mean())
    return Shift(observed, _share(np.abs(np.concatenate(drawn)), abs(observed)))


def share_shift(reference: tuple[int, int], new: tuple[int, int]) -> Shift:
    """Return the change of a share, each side given as (hits, rows), with the p-value of Fisher's exact test.

    Raises Undefined without a row on one side.
    """
    (hits, rows), (hits_now, rows_now) = reference, new
    if not (rows and rows_now):
        raise Undefined("there is no row on one side")
    p = stats.fisher_exact([[hits, rows - hits], [hits_now, rows_now - hits_now]]).pvalue
    return Shift(hits_now / rows_now - hits / rows, float(p))
