"""Judge what a backtest earned: intervals, regimes, signals at the wrong time, and what was tried beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from adapterhub_fin.stats.undefined import Undefined
from adapterhub_fin_markets.backtest.carry import interest_rates
from adapterhub_fin_markets.backtest.evidence import SharpeEvidence, judge
from adapterhub_fin_markets.backtest.intervals import Intervals, bootstrap_intervals, equity_band
from adapterhub_fin_markets.backtest.ledger import Ledger
from adapterhub_fin_markets.backtest.measures import PeriodMeasures
from adapterhub_fin_markets.backtest.orders import Orders
from adapterhub_fin_markets.backtest.placebo import ShiftedPlacebo, placebo
from adapterhub_fin_markets.backtest.recipe import BacktestRecipe
from adapterhub_fin_markets.backtest.regimes import measures_by_regime
from adapterhub_fin_markets.backtest.trials import (
    COUNTED,
    Trial,
    Trials,
    instant_text,
    log_trial,
    read_trials,
    trials_beside,
)
from adapterhub_fin_markets.backtest.vector_form import fill_returns, standing_weights
from adapterhub_fin_markets.prices.panel import Prices

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Judgement:
    """Hold what the measures are worth; each part is None where it was left out or undefined, with its reason."""

    intervals: Intervals
    band: np.ndarray | None  # (2, periods): between which ends resampled equity lies, where 1 was the start
    labels: np.ndarray | None  # (periods,) the regime of each, of `regimes.REGIMES`
    regimes: Mapping[str, PeriodMeasures]
    placebo: ShiftedPlacebo | None
    key: str  # of the trial, as the log has it
    trials: Trials
    evidence: SharpeEvidence
    reasons: Mapping[str, str]

    def record(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "intervals": self.intervals.document(),
            "regimes": {name: measures.document() for name, measures in self.regimes.items()},
            "placebo": None if self.placebo is None else self.placebo.document(),
            "evidence": self.evidence.document(),
            "trials": self.trials.count,
            "trials_counted": COUNTED,
            "trial": self.key,
            "reasons": dict(self.reasons),
        }


def judged(
    recipe: BacktestRecipe,
    prices: Prices,
    orders: Orders,
    ledger: Ledger,
    measured: PeriodMeasures,
    benchmark: np.ndarray,
    labels: np.ndarray | None,
    key: str,
    root: Path,
) -> Judgement:
    """Return what the measures of a ledger are worth; the backtest is logged as a trial in the registry at `root`.

    Row 0 of the prices is the bar before the first period; `benchmark` (periods,) has the returns of
    holding, `labels` (periods,) the regimes, and `key` is the digest
    of all that the equity depends on. Raises WriteFailed where the trial can't be logged, and Corrupted where the log
    can't be read.
    """
    returns = ledger.returns[1:]
    a_year, report = measured.a_year, recipe.report
    cash = interest_rates(ledger.at, ledger.rules)[1:]
    reasons: dict[str, str] = {}

    def or_reason(name: str, compute: Callable[[], T]) -> T | None:
        try:
            return compute()
        except Undefined as error:
            reasons[name] = str(error)
            return None

    drawn: dict[str, Any] = {"resamples": report.bootstrap, "seed": report.seed}
    trial = _trial(recipe, ledger, measured, key)
    log_trial(root, trial)
    trials = trials_beside(trial, read_trials(root))
    return Judgement(
        intervals=bootstrap_intervals(returns, a_year=a_year, cash=cash, **drawn),
        band=or_reason("band", lambda: equity_band(returns, seed=report.seed)),
        labels=labels,
        regimes={} if labels is None else _by_regime(labels, ledger, measured, benchmark),
        placebo=or_reason("placebo", lambda: _placebo(recipe, prices, orders)),
        key=key,
        trials=trials,
        evidence=judge(returns, a_year=int(a_year), cash=cash, trials=trials),
        reasons=reasons,
    )


def _by_regime(
    labels: np.ndarray, ledger: Ledger, measured: PeriodMeasures, benchmark: np.ndarray
) -> dict[str, PeriodMeasures]:
    return measures_by_regime(
        labels,
        ledger.returns[1:],
        ledger.turnover[1:],
        a_year=measured.a_year,
        cash=interest_rates(ledger.at, ledger.rules)[1:],
        exposure=np.abs(ledger.weights).sum(1)[1:],
        net_exposure=ledger.weights.sum(1)[1:],
        benchmark=benchmark,
    )


def _placebo(recipe: BacktestRecipe, prices: Prices, orders: Orders) -> ShiftedPlacebo:
    report, rules = recipe.report, recipe.rules
    if not report.placebo:
        raise Undefined("the recipe leaves it out")
    ordered = np.flatnonzero(~np.isnan(orders.weight).all(axis=1))
    if not len(ordered):
        raise Undefined("there is no order to shift")
    first = int(ordered[0])  # before it there is no position, whose days a shift would move
    return placebo(
        standing_weights(orders)[first:],
        fill_returns(prices, rules.fill)[first:],
        rules.costs_bp + rules.slippage_bp,
        lag=0,
        shifts=report.placebo,
        seed=report.seed,
    )


def _trial(recipe: BacktestRecipe, ledger: Ledger, measured: PeriodMeasures, key: str) -> Trial:
    sharpe = None if measured.sharpe is None else measured.sharpe / measured.a_year**0.5
    return Trial(
        recipe=key,
        name=recipe.name or "",
        first=instant_text(ledger.at[1]),
        last=instant_text(ledger.at[-1]),
        sharpe=sharpe,
        periods=measured.periods,
        a_year=measured.a_year,
    )
