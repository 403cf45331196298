"""Compute the smallest difference that so many rows can show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapterhub_fin._lazy import Lazy

if TYPE_CHECKING:
    from scipy import stats
else:
    stats = Lazy("scipy.stats")


def smallest_difference(error: float, *, level: float = 0.95, power: float = 0.8, comparisons: int = 1) -> float:
    """Return the true difference that a two-sided test of this level would find with this power, in the metric's units.

    `error` is the standard error of the difference, as of its bootstrap: (z(1 - alpha / 2) + z(power)) times it (Cohen
    1988). Of several comparisons, alpha is divided by their number, as the smallest of them is judged.
    """
    alpha = (1 - level) / comparisons
    return float(error * (stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power)))
