"""Compute how large a difference is in units of its spread; raise Undefined where the data leave it without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.stats.undefined import Undefined, deviation, finite, paired

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike
    from scipy import special
else:
    np = Lazy("numpy")
    special = Lazy("scipy.special")


def cohens_d(a: ArrayLike, b: ArrayLike) -> float:
    """Return Cohen's d (1988) of two samples: the difference of the means over the pooled standard deviation.

    Raises Undefined for fewer than 2 values a side, and for values that do not vary.
    """
    one, other = finite(a, least=2), finite(b, least=2)
    n, m = len(one), len(other)
    pooled = ((n - 1) * np.var(one, ddof=1) + (m - 1) * np.var(other, ddof=1)) / (n + m - 2)
    if pooled <= (8 * np.finfo(np.float64).eps * max(np.abs(one).max(), np.abs(other).max())) ** 2:
        raise Undefined("the values do not vary")
    return float((one.mean() - other.mean()) / np.sqrt(pooled))


def hedges_g(a: ArrayLike, b: ArrayLike) -> float:
    """Return Hedges' g (1981): Cohen's d without its bias in small samples, by the exact gamma factor."""
    freedom = len(np.asarray(a)) + len(np.asarray(b)) - 2
    d = cohens_d(a, b)
    log_factor = special.gammaln(freedom / 2) - special.gammaln((freedom - 1) / 2) - np.log(freedom / 2) / 2
    return float(d * np.exp(log_factor))


def cohens_dz(a: ArrayLike, b: ArrayLike) -> float:
    """Return d_z of pairs (Cohen 1988): the mean of the differences over their standard deviation."""
    differences = paired(a, b, least=2)
    return float(differences.mean() / deviation(differences))


def cliffs_delta(a: ArrayLike, b: ArrayLike) -> float:
    """Return Cliff's delta (1993): the share of all pairs in which a is larger, less the share in which b is."""
    one, other = finite(a), np.sort(finite(b))
    smaller, not_larger = np.searchsorted(other, one, "left"), np.searchsorted(other, one, "right")
    return float((smaller.sum() - (len(other) - not_larger).sum()) / (len(one) * len(other)))
