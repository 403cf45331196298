"""Judge a backtest by what was tried, and a sweep of them by how its best was chosen."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from adapterhub_fin.stats.blocks import block_length
from adapterhub_fin.stats.undefined import Undefined
from adapterhub_fin_markets.backtest.measures import number_or_reason
from adapterhub_fin_markets.backtest.overfitting import probability_of_overfitting
from adapterhub_fin_markets.backtest.returns import cash_returns, checked_returns, spread
from adapterhub_fin_markets.backtest.sharpe import (
    Moments,
    expected_maximum,
    haircut_sharpe,
    minimum_periods,
    moments,
    probabilistic_sharpe,
)
from adapterhub_fin_markets.backtest.trials import Trials

SAME: Final = 1e-10  # of a return, up to which two strategies earn the same
UNCOUNTED: Final = "the trials are unknown: log the backtest in a registry"


@dataclass(frozen=True)
class SharpeEvidence:
    """Hold what speaks for a Sharpe ratio; each is None where it is undefined, and `reasons` then has a sentence."""

    probability: float | None  # that the true ratio is above 0 (PSR)
    deflated: float | None  # that it is above what so many trials show by chance (DSR)
    expected_maximum: float | None  # the annual ratio that so many trials without skill show
    minimum_periods: float | None  # how many periods show the ratio above 0 at the level
    minimum_years: float | None
    haircut: float | None  # the annual ratio that Bonferroni's correction leaves
    trials: int | None  # counted, a lower bound; None: unknown
    periods: int
    level: float
    reasons: Mapping[str, str]

    def document(self) -> dict[str, Any]:
        """Return all of it as JSON has it."""
        return asdict(self)


def judge(
    returns: ArrayLike,
    *,
    a_year: int,
    cash_rate: float = 0.0,
    cash: ArrayLike | None = None,
    trials: Trials | None,
    level: float = 0.95,
) -> SharpeEvidence:
    """Return what speaks for the Sharpe ratio of returns over cash, (periods,), beside the trials that were counted.

    With one trial the deflated ratio is the probability; without a count there is none. Formulas and papers are those
    of `backtest.sharpe`, `cash_rate` and `cash` those of `measures`.
    """
    periods = len(np.asarray(returns))
    earned = cash_returns(periods, a_year=a_year, cash_rate=cash_rate, cash=cash)

    def of() -> Moments:
        above = checked_returns(returns, 2) - earned
        spread(above)
        return moments(above)

    def counted() -> Trials:
        if trials is None:
            raise Undefined(UNCOUNTED)
        return trials

    def most() -> float:
        return expected_maximum(counted().count, counted().variance)

    def haircut() -> float:
        own = of()
        if own.sharpe <= 0:
            raise Undefined("the ratio is not above 0: there is nothing to correct")
        return haircut_sharpe(own.sharpe * math.sqrt(a_year), own.periods, counted().count, a_year=a_year)

    compute: dict[str, Callable[[], float]] = {
        "probability": lambda: probabilistic_sharpe(of()),
        "deflated": lambda: probabilistic_sharpe(of(), most()),
        "expected_maximum": lambda: most() * math.sqrt(a_year),
        "minimum_periods": lambda: minimum_periods(of(), level=level),
        "minimum_years": lambda: minimum_periods(of(), level=level) / a_year,
        "haircut": haircut,
    }
    computed: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    for name, compute_one in compute.items():
        computed[name], reason = number_or_reason(compute_one)
        if reason is not None:
            reasons[name] = reason
    count = None if trials is None else trials.count
    return SharpeEvidence(**computed, trials=count, periods=periods, level=level, reasons=reasons)


@dataclass(frozen=True)
class SweepEvidence:
    """Hold what speaks for the best of several strategies; None where it is undefined, with its reason."""

    overfitting: float | None  # the probability that the best in sample is no better than the median out of it (PBO)
    spa: float | None  # the p-value that no strategy is better than the benchmark, however many there are
    strategies: int
    blocks: int  # that the periods were divided in, of the probability of overfitting
    resamples: int
    seed: int
    reasons: Mapping[str, str]

    def document(self) -> dict[str, Any]:
        """Return all of it as JSON has it."""
        return asdict(self)


def judge_sweep(
    returns: Mapping[str, ArrayLike],
    benchmark: ArrayLike,
    *,
    blocks: int = 16,
    resamples: int = 1000,
    seed: int = 0,
) -> SweepEvidence:
    """Return the evidence for the best of several strategies' returns, (periods,) each, all of the same dates.

    `benchmark`, (periods,), has the returns of holding. Overfitting is by Bailey and others (2015); the p-value is that
    of Hansen's test of superior predictive ability (2005), consistent, by the stationary bootstrap. Raises ValueError
    for lengths that differ.
    """
    others = np.asarray(benchmark, dtype=np.float64)
    series = {name: np.asarray(of, dtype=np.float64) for name, of in returns.items()}
    for name, of in series.items():
        if of.shape != others.shape:
            raise ValueError(f"{name} has {of.shape} returns, and the benchmark {others.shape}: give the same dates")
    reasons: dict[str, str] = {}
    distinct: list[np.ndarray] = []
    for of in series.values():  # what earns the same is one strategy: its ties say nothing of a choice
        if not any(np.allclose(of, other, rtol=0, atol=SAME, equal_nan=True) for other in distinct):
            distinct.append(of)
    overfitting, reason = number_or_reason(
        lambda: probability_of_overfitting(np.stack(distinct, axis=1) if distinct else [], blocks).probability
    )
    if reason is not None:
        reasons["overfitting"] = reason
    spa, reason = number_or_reason(lambda: superior_ability(series, others, resamples=resamples, seed=seed))
    if reason is not None:
        reasons["spa"] = reason
    return SweepEvidence(overfitting, spa, len(series), blocks, resamples, seed, reasons)


def superior_ability(
    returns: Mapping[str, np.ndarray],
    benchmark: np.ndarray,
    *,
    block: int | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> float:
    """Return Hansen's consistent p-value that no strategy is better than the benchmark, (periods,) each, by arch.

    It is (1 + k) / (1 + n) of n resamples, never 0. The block is the longest that a difference needs (Patton, Politis
    and White 2009), unless given. Raises Undefined for no strategy, fewer than 20 periods, returns that aren't finite,
    and one that earns the very returns of the benchmark.
    """
    from arch.bootstrap import SPA

    if not returns:
        raise Undefined("there is no strategy")
    others = checked_returns(benchmark, 20)
    differences = np.stack([checked_returns(of, 20) - others for of in returns.values()], axis=1)
    for name, difference in zip(returns, differences.T, strict=True):
        try:
            spread(difference)
        except Undefined as error:
            raise Undefined(f"{name} earns what the benchmark does, but for a constant") from error
    if block is None:
        block = math.ceil(block_length(differences))
    test = SPA(np.zeros(len(others)), -differences, block_size=block, reps=resamples, seed=seed)
    test.compute()
    return float((1 + round(float(test.pvalues["consistent"]) * resamples)) / (1 + resamples))
