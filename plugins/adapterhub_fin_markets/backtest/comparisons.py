"""Set a strategy beside what it must beat: holding, nothing at all, and its own signals one bar late."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from adapterhub_fin.stats.blocks import block_length
from adapterhub_fin.stats.bootstrap import Interval, percentile, stationary_draws
from adapterhub_fin.stats.undefined import Undefined
from adapterhub_fin_markets.backtest.carry import interest_rates
from adapterhub_fin_markets.backtest.events import events_of, last_levels
from adapterhub_fin_markets.backtest.fills import fill_prices, last_closes
from adapterhub_fin_markets.backtest.intervals import Intervals, bootstrap_intervals
from adapterhub_fin_markets.backtest.ledger import Ledger, run_ledger
from adapterhub_fin_markets.backtest.measures import PeriodMeasures, measures
from adapterhub_fin_markets.backtest.orders import Orders, following
from adapterhub_fin_markets.backtest.returns import ROUNDING, checked_returns, spread
from adapterhub_fin_markets.backtest.rules import Rules
from adapterhub_fin_markets.prices.panel import Prices

SUMMARIES: Final = {
    "hold": "every ticker bought once at equal weights with all the capital, at the same costs",
    "hold_exposure": "the same, bought once at the strategy's mean exposure",
    "flat": "cash alone",
    "late": "the same orders, each one bar late",
}
HALF: Final = 0.5  # of the Sharpe ratio: a change by more than that is a flag


@dataclass(frozen=True, eq=False)
class ComparedLedger:
    """Hold what a strategy is set beside."""

    summary: str
    ledger: Ledger
    measures: PeriodMeasures
    intervals: Intervals


@dataclass(frozen=True, eq=False)
class Comparisons:
    """Hold a strategy's comparisons by the names of SUMMARIES, and what one bar's delay says of it."""

    by_name: Mapping[str, ComparedLedger]
    change: float | None  # of the annual Sharpe ratio where every order comes one bar late
    interval: Interval | None  # of that change, by the stationary bootstrap of both together
    reason: str | None  # why there is no change or no interval
    flags: tuple[str, ...]  # red flags, a sentence each

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it, without ledgers."""
        return {
            **{
                name: {"is": of.summary, **of.measures.document(), "intervals": of.intervals.document()}
                for name, of in self.by_name.items()
            },
            "late_change": {"sharpe": self.change, "interval": self.interval, "reason": self.reason},
            "flags": list(self.flags),
        }


def compare(
    prices: Prices,
    orders: Orders,
    rules: Rules,
    ledger: Ledger,
    *,
    a_year: int,
    rows: slice = slice(None),
    resamples: int = 2000,
    seed: int = 0,
) -> Comparisons:
    """Return a strategy's comparisons, each of a ledger of its own by the same rules and at the same costs.

    `ledger` is that of the orders, and `rows` are the bars of the test, from which on holding buys: once, so that its
    weights drift, and with no cap on volume. Raises as `run_ledger`.
    """
    first = range(len(prices))[rows].start
    exposure = float(np.nan_to_num(np.abs(ledger.weights[rows]).sum(axis=1)).mean())
    ledgers = {
        "hold": run_ledger(prices, hold_orders(prices, rules, first, 1.0), _holding(rules, 1.0)),
        "hold_exposure": run_ledger(prices, hold_orders(prices, rules, first, exposure), _holding(rules, exposure)),
        "flat": run_ledger(prices, hold_orders(prices, rules, first, 0.0), _holding(rules, 0.0)),
        "late": run_ledger(prices, late_orders(prices, orders), rules),
    }
    market = ledgers["hold"].returns[rows]
    cash = interest_rates(ledger.at, rules)[rows]
    by_name = {
        name: ComparedLedger(
            SUMMARIES[name],
            of,
            ledger_measures(of, a_year=a_year, rows=rows, benchmark=market),
            bootstrap_intervals(of.returns[rows], a_year=a_year, cash=cash, resamples=resamples, seed=seed),
        )
        for name, of in ledgers.items()
    }
    own, late = ledger.returns[rows] - cash, ledgers["late"].returns[rows] - cash
    try:
        change, interval = _change(own, late, a_year, resamples, seed)
    except Undefined as error:
        return Comparisons(by_name, None, None, str(error), ())
    reason = None if interval else "a resample has no Sharpe ratio"
    return Comparisons(by_name, change, interval, reason, _flags(_sharpe(own, a_year), change, interval))


def ledger_measures(
    ledger: Ledger, *, a_year: float, rows: slice = slice(None), benchmark: np.ndarray | None = None
) -> PeriodMeasures:
    """Return the measures of a ledger's bars over what its cash earned; `benchmark`, (rows,), is holding's returns."""
    weights = ledger.weights[rows]
    return measures(
        ledger.returns[rows],
        ledger.turnover[rows],
        a_year=a_year,
        cash=interest_rates(ledger.at, ledger.rules)[rows],
        exposure=np.abs(weights).sum(axis=1),
        net_exposure=weights.sum(axis=1),
        benchmark=benchmark,
    )


def hold_orders(prices: Prices, rules: Rules, first: int, exposure: float) -> Orders:
    """Return orders that buy each ticker once, at its share of the exposure, from row `first` on.

    A ticker that lists later is bought at its first fill after a close of it was known; until then its share is cash.
    """
    fillable = fill_prices(prices, rules.fill)
    closed = last_closes(prices, rules.fill)
    priced = ~np.isnan(last_levels(prices.close, fillable, events_of(prices).splits))
    sized = priced[np.maximum(closed, 0)] & (closed >= 0)[:, None] & ~np.isnan(fillable)
    sized[:first] = False
    weight = np.full(fillable.shape, np.nan)
    columns = np.flatnonzero(sized.any(axis=0))
    if exposure:
        weight[sized.argmax(axis=0)[columns], columns] = exposure / len(prices.tickers)
    return Orders(weight, np.broadcast_to(closed[:, None], weight.shape).copy(), rules.fill)


def late_orders(prices: Prices, orders: Orders) -> Orders:
    """Return the same orders, each at its ticker's next bar with a price and decided a close later.

    Orders at a ticker's last bar are lost.
    """
    after = following(fill_prices(prices, orders.fill))
    rows, columns = np.nonzero(~np.isnan(orders.weight))
    to = after[rows + 1, columns]
    inside = to < len(prices)
    weight, sized_at = np.full(orders.weight.shape, np.nan), np.full(orders.sized_at.shape, -1, np.int64)
    cells = (to[inside], columns[inside])
    weight[cells] = orders.weight[rows, columns][inside]
    decided = orders.sized_at[rows, columns][inside] + 1
    sized_at[cells] = np.minimum(decided, last_closes(prices, orders.fill)[to[inside]])
    return Orders(weight, sized_at, orders.fill)


def _holding(rules: Rules, exposure: float) -> Rules:
    """Return the rules by which holding trades: at the same costs, once, and with borrowed cash only above 1."""
    positions = "long-only" if exposure <= 1 else "long-short"
    return rules.model_copy(update={"rebalance": "on_change", "positions": positions, "max_volume_share": None})


def _sharpe(above_cash: np.ndarray, a_year: float) -> float:
    return float(above_cash.mean() / spread(above_cash) * a_year**0.5)


def _change(
    own: np.ndarray, late: np.ndarray, a_year: float, resamples: int, seed: int
) -> tuple[float, Interval | None]:
    """Return how the Sharpe ratio changes with the delay, and its interval: both series' days are drawn together."""
    both = np.stack([checked_returns(own, 8), checked_returns(late, 8)], axis=1)
    change = _sharpe(both[:, 1], a_year) - _sharpe(both[:, 0], a_year)

    def drawn(days: np.ndarray) -> float:
        mean = np.full(len(days), 1 / len(days)) @ days
        variance = (np.diagonal(days.T @ days) - len(days) * mean**2) / (len(days) - 1)
        if not (variance > ROUNDING**2).all():
            return math.nan
        ratios = mean / np.sqrt(variance)
        return float((ratios[1] - ratios[0]) * a_year**0.5)

    values, _ = stationary_draws(both, drawn, block=block_length(both), resamples=resamples, seed=seed)
    return change, percentile(values[:, 0], 0.95)


def _flags(sharpe: float, change: float, interval: Interval | None) -> tuple[str, ...]:
    """Return the red flags that one bar's delay raises, a sentence each."""
    certain = "no interval of the change can be given"
    if interval is not None:
        holds = "holds 0: it may be chance" if interval[0] <= 0 <= interval[1] else "does not hold 0"
        certain = f"the 95 % interval of the change, {interval[0]:.2f} to {interval[1]:.2f}, {holds}"
    went = f"one bar late, the Sharpe ratio is {sharpe + change:.2f} and not {sharpe:.2f}; {certain}"
    if sharpe > 0 and change <= -HALF * sharpe:
        return (f"dies by one bar: {went}. It earns in its first bar alone, or it knows what it could not have known",)
    if change > HALF * abs(sharpe) and sharpe + change > 0:
        return (f"improves by one bar: {went}. It does not earn by its timing, or its signals are dated a bar wrong",)
    return ()
