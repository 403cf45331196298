"""Define the error of a statistic that its data leave undefined."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapterhub_fin._lazy import Lazy

if TYPE_CHECKING:
    import numpy as np
else:
    np = Lazy("numpy")

LARGEST: Final = 1e100


class Undefined(ValueError):
    """Report that a statistic has no value on these data; the message says why, in words for a table."""


def finite(values: np.typing.ArrayLike, least: int = 1) -> np.ndarray:
    """Return numbers as an array (n,), float64. Raises Undefined for NaN, infinity or fewer than `least` of them."""
    array = np.asarray(values, dtype=np.float64)
    if len(array) < least:
        raise Undefined(f"{len(array):,} rows: it needs at least {least}")
    if not np.isfinite(array).all():
        raise Undefined("a score is NaN or infinite")
    if len(array) and np.abs(array).max() > LARGEST:
        raise Undefined(f"a score is beyond {LARGEST:g}, whose square can't be computed")
    return array


def paired(a: np.typing.ArrayLike, b: np.typing.ArrayLike, least: int = 1) -> np.ndarray:
    """Return the differences a - b of two scores a row, (n,). Raises Undefined as `finite`, and for two lengths."""
    one, other = finite(a, least), finite(b, least)
    if len(one) != len(other):
        raise Undefined(f"{len(one):,} and {len(other):,} scores: pairs need one of each for every row")
    differences: np.ndarray = one - other
    return differences


def deviation(values: np.ndarray) -> float:
    """Return the standard deviation of values (n,), over n - 1.

    Raises Undefined where they vary by rounding alone.
    """
    if len(values) < 2:
        raise Undefined("one row has no variance")
    spread = float(np.std(values, ddof=1))
    if spread <= 8 * np.finfo(np.float64).eps * float(np.abs(values).max()):
        raise Undefined("the values do not vary")
    return spread
