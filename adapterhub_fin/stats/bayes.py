"""Compute the Bayesian t-test of Rouder, Speckman, Sun, Morey and Iverson (2009), "JZS".

Under H1 the effect size (mean over standard deviation of the differences) has a Cauchy prior of scale r around 0, and
the variance Jeffreys' prior; under H0 the effect size is 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.stats.undefined import Undefined, deviation, paired

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike
    from scipy import integrate, interpolate, optimize
else:
    np = Lazy("numpy")
    integrate = Lazy("scipy.integrate")
    interpolate = Lazy("scipy.interpolate")
    optimize = Lazy("scipy.optimize")

SCALE: Final = math.sqrt(2) / 2  # r, "medium", as in the BayesFactor package
_REACH: Final = 12  # standard errors on each side over which the posterior is integrated
_POINTS: Final = 4001


@dataclass(frozen=True)
class BayesTest:
    """Hold the evidence for a difference, and what is known of its size if there is one.

    `factor` is how much likelier the data are under H1 than under H0, and None where it is above 1e308; `log10_factor`
    always has a value. `improvement` is the posterior probability of a positive difference under H1. `effect` is the
    central credible interval of the effect size, and `difference` that of the mean difference, at the sample's standard
    deviation.
    """

    factor: float | None
    log10_factor: float
    improvement: float
    effect: tuple[float, float]
    difference: tuple[float, float]


def jzs(a: ArrayLike, b: ArrayLike, *, scale: float = SCALE, level: float = 0.95) -> BayesTest:
    """Return the Bayesian t-test of paired scores a - b, (rows,).

    Raises Undefined for fewer than 2 rows, for scores that aren't finite, and where the differences do not vary.
    """
    differences = paired(a, b, least=2)
    spread, n = deviation(differences), len(differences)
    t = float(differences.mean()) / spread * math.sqrt(n)
    log_factor = log_bayes_factor(t, n, scale)
    effect, improvement = _posterior(t, n, scale, level)
    return BayesTest(
        factor=math.exp(log_factor) if log_factor < 709 else None,
        log10_factor=log_factor / math.log(10),
        improvement=improvement,
        effect=effect,
        difference=(effect[0] * spread, effect[1] * spread),
    )


def log_bayes_factor(t: float, n: int, scale: float = SCALE) -> float:
    """Return the natural logarithm of BF10 for a one-sample t of n values: Rouder et al. (2009), their equation 1.

    Raises Undefined where n is below 2 or t isn't finite.
    """
    if n < 2 or not math.isfinite(t):
        raise Undefined(f"t of {n:,} rows: it needs a finite t of at least 2")
    freedom = n - 1

    def log_integrand(log_g: float) -> float:  # in log g, so that the prior's long tails are short; dg = g d(log g)
        g = math.exp(log_g)
        wider = 1 + n * g * scale**2
        likelihood = -0.5 * math.log(wider) - n / 2 * math.log1p(t**2 / (wider * freedom))
        return likelihood - 0.5 * math.log(2 * math.pi) - 0.5 * log_g - 1 / (2 * g)

    grid = np.linspace(-8, 60, 1361)
    values = np.array([log_integrand(x) for x in grid])
    top, peak = float(values.max()), float(grid[values.argmax()])
    area, _ = integrate.quad(
        lambda x: math.exp(log_integrand(x) - top), -8, 80, points=[peak - 2, peak, peak + 2], epsabs=0, limit=500
    )
    return top + math.log(area) + n / 2 * math.log1p(t**2 / freedom)


def _posterior(t: float, n: int, scale: float, level: float) -> tuple[tuple[float, float], float]:
    """Return the central interval of the effect size's posterior under H1, and its probability above 0."""
    centre = t / math.sqrt(n)
    reach = _REACH * math.sqrt((1 + centre**2 / 2) / n) + (n < 10) * 20 * scale
    deltas = np.linspace(centre - reach, centre + reach, _POINTS)
    log_density = _log_likelihood(deltas, centre, n) - np.log1p((deltas / scale) ** 2)
    density = np.exp(log_density - log_density.max())
    below = integrate.cumulative_simpson(density, x=deltas, initial=0)
    share = interpolate.CubicHermiteSpline(deltas, below / below[-1], density / below[-1])

    def quantile(part: float) -> float:
        after = int(np.argmax(below >= part * below[-1]))
        return float(optimize.brentq(lambda delta: share(delta) - part, deltas[after - 1], deltas[after]))

    above = 1 - float(share(np.clip(0.0, deltas[0], deltas[-1])))
    return (quantile((1 - level) / 2), quantile((1 + level) / 2)), min(max(above, 0.0), 1.0)


def _log_likelihood(deltas: np.ndarray, centre: float, n: int) -> np.ndarray:
    """Return the log density of the data by effect size, (deltas,), but for a constant, the variance integrated out.

    With the sample's variance as the unit and u the inverse of the standard deviation, it is the logarithm of
    exp(-n delta^2 / 2) times the integral over u of u^(n-1) exp(-(A u^2 - 2 B u) / 2), where A = n - 1 + n centre^2 and
    B = n delta centre: integrated around the integrand's one peak.
    """
    square, linear = n - 1 + n * centre**2, n * deltas * centre
    peak = (linear + np.sqrt(linear**2 + 4 * square * (n - 1))) / (2 * square)
    width = 1 / np.sqrt((n - 1) / peak**2 + square)
    first, last = np.maximum(peak - _REACH * width, 0), peak + _REACH * width
    u = np.linspace(first, last, 241, axis=1)  # (deltas, points)
    with np.errstate(divide="ignore"):  # at 0, where the integrand is 0
        log_values = (n - 1) * np.log(u) - (square * u**2 - 2 * linear[:, None] * u) / 2
    top = log_values.max(1)
    areas = integrate.simpson(np.exp(log_values - top[:, None]), x=u, axis=1)
    result: np.ndarray = -n * deltas**2 / 2 + top + np.log(areas)
    return result
