"""Correct p-values for how many hypotheses were tested. Each takes p-values (tests,) and returns corrected ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapterhub_fin._lazy import Lazy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike
else:
    np = Lazy("numpy")


def bonferroni(p_values: ArrayLike) -> np.ndarray:
    """Return each p times the number of tests, at most 1, (tests,).

    It bounds the chance of any false rejection (Dunn 1961).
    """
    p = _checked(p_values)
    corrected: np.ndarray = np.minimum(p * len(p), 1.0)
    return corrected


def holm(p_values: ArrayLike) -> np.ndarray:
    """Return Holm's step-down p-values (1979), (tests,): they bound what Bonferroni's do, and are never larger."""
    p = _checked(p_values)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return _in_place(np.minimum(stepped, 1.0), order)


def benjamini_hochberg(p_values: ArrayLike) -> np.ndarray:
    """Return the step-up p-values of Benjamini and Hochberg (1995), (tests,): they bound the share of false rejections.

    They hold for independent tests, and for those that depend positively.
    """
    p = _checked(p_values)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    return _in_place(np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0), order)


def _checked(p_values: ArrayLike) -> np.ndarray:
    p = np.asarray(p_values, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("a p-value is not between 0 and 1")
    return p


def _in_place(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    placed = np.empty_like(values)
    placed[order] = values
    return placed
