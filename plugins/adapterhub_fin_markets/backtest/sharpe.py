"""Judge a Sharpe ratio: how probable it is, beside how many were tried, and for how long one must look.

Ratios are per period and not annual, standard deviations over n - 1, and the kurtosis of a normal distribution is 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from adapterhub_fin.stats.undefined import Undefined, deviation, finite

EULER: Final = 0.5772156649015329


@dataclass(frozen=True)
class Moments:
    """Hold what a probability of a Sharpe ratio rests on: the ratio, how many returns, their skew and kurtosis."""

    sharpe: float  # per period
    periods: int
    skew: float = 0.0
    kurtosis: float = 3.0  # of a normal distribution, not in excess of it

    @property
    def variance(self) -> float:
        """Return the variance of the ratio's estimate times the periods less one (Mertens 2002).

        Raises Undefined where skew and kurtosis leave none.
        """
        variance = 1 - self.skew * self.sharpe + (self.kurtosis - 1) / 4 * self.sharpe**2
        if not variance > 0:
            raise Undefined("skew and kurtosis leave the Sharpe ratio no variance")
        return variance


def moments(returns: ArrayLike) -> Moments:
    """Return the moments of returns (periods,). Raises Undefined for fewer than 2, and for those that don't vary."""
    values = finite(returns, least=2)
    apart = values - values.mean()
    spread = deviation(values)
    second = float(np.mean(apart**2))
    return Moments(
        sharpe=float(values.mean()) / spread,
        periods=len(values),
        skew=float(np.mean(apart**3)) / second**1.5,
        kurtosis=float(np.mean(apart**4)) / second**2,
    )


def probabilistic_sharpe(of: Moments, benchmark: float = 0.0) -> float:
    """Return the probability that the true ratio is above a benchmark (Bailey and Lopez de Prado 2012).

    Raises Undefined for fewer than 2 periods, and where the ratio's estimate has no variance.
    """
    if of.periods < 2:
        raise Undefined("one period has no variance")
    return float(special.ndtr((of.sharpe - benchmark) * math.sqrt(of.periods - 1) / math.sqrt(of.variance)))


def expected_maximum(trials: int, variance: float) -> float:
    """Return the largest ratio that so many trials without skill are expected to show (Bailey, Lopez de Prado 2014).

    `variance` is that of the trials' ratios. Of one trial it is 0: nothing was chosen. Raises Undefined for less than
    one trial or a negative variance.
    """
    if trials < 1 or variance < 0:
        raise Undefined(f"{trials} trials of variance {variance}: it needs one trial, and a variance of 0 or more")
    if trials == 1:
        return 0.0
    first, second = special.ndtri(1 - 1 / trials), special.ndtri(1 - 1 / (trials * math.e))
    return math.sqrt(variance) * float((1 - EULER) * first + EULER * second)


def deflated_sharpe(of: Moments, trials: int, variance: float) -> float:
    """Return the probability that the true ratio is above what so many trials show by chance (the same, 2014).

    With one trial it is the probability that the ratio is above 0. Raises Undefined as the two that it rests on.
    """
    return probabilistic_sharpe(of, expected_maximum(trials, variance))


def minimum_periods(of: Moments, benchmark: float = 0.0, level: float = 0.95) -> float:
    """Return how many periods would show the ratio above a benchmark at a level (the same, 2012).

    Raises Undefined where the ratio is not above the benchmark: no length shows it.
    """
    if of.sharpe <= benchmark:
        raise Undefined("the Sharpe ratio is not above the benchmark: no length of time would show it")
    return 1 + of.variance * float(special.ndtri(level) / (of.sharpe - benchmark)) ** 2


def haircut_sharpe(annual: float, periods: int, trials: int, *, a_year: int) -> float:
    """Return the annual ratio that is left after Bonferroni's correction for trials (Harvey and Liu 2015).

    The ratio becomes a t statistic of `periods` - 1 degrees, its two-sided p-value is multiplied by the trials, and the
    way leads back. Raises Undefined for fewer than 2 periods or less than one trial.
    """
    if periods < 2 or trials < 1:
        raise Undefined(f"{periods} periods and {trials} trials: it needs 2 and 1")
    years = periods / a_year
    p = min(2 * float(special.stdtr(periods - 1, -abs(annual) * math.sqrt(years))) * trials, 1.0)
    return math.copysign(-float(special.stdtrit(periods - 1, p / 2)) / math.sqrt(years), annual)
