"""What a strategy is set beside: holding, nothing, and itself one bar late."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from adapterhub_fin.stats.bootstrap import stationary_draws
from adapterhub_fin_markets.backtest.carry import interest_rates
from adapterhub_fin_markets.backtest.comparisons import (
    SUMMARIES,
    Comparisons,
    compare,
    hold_orders,
    late_orders,
    ledger_measures,
)
from adapterhub_fin_markets.backtest.intervals import bootstrap_intervals
from adapterhub_fin_markets.backtest.ledger import run_ledger
from adapterhub_fin_markets.backtest.orders import Orders, place
from adapterhub_fin_markets.backtest.rules import Rules
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.timing import decided_after
from adapterhub_fin_markets.testing import random_bars

NAN = np.nan
LONG_SHORT = Rules(positions="long-short", costs_bp=0)


def panel(bars: int = 400, tickers: int = 2, seed: int = 0, *, trend: bool = False) -> Prices:
    """Days of an exchange that is open from 14:30 to 21:00, without a gap overnight."""
    starts = np.datetime64("2022-01-03T14:30", "us") + np.arange(bars) * np.timedelta64(1, "D")
    columns: dict[str, Any] = random_bars(seed, bars, tickers)
    if trend:
        steps = np.random.default_rng(seed).normal(0, 0.01, (bars + 1, tickers))
        levels = 100 * np.cumprod(1 + steps, axis=0)
        columns.update(open=levels[:-1], close=levels[1:], high=levels[:-1] + 50, low=levels[:-1] - 50)
    return Prices(
        tickers=tuple("abcd"[:tickers]),
        starts_at=starts,
        closes_at=starts + np.timedelta64(390, "m"),
        calendar="XNYS",
        **columns,
    )


def placed(prices: Prices, weights: np.ndarray) -> Orders:
    """Return weights, (times, tickers), as decided at each close; NaN: none."""
    rows, columns = np.nonzero(~np.isnan(weights))
    return place(decided_after(prices.closes_at)[rows], columns, weights[rows, columns], prices)


def compared(prices: Prices, weights: np.ndarray, rules: Rules = LONG_SHORT, **options: Any) -> Comparisons:
    orders = placed(prices, weights)
    ledger = run_ledger(prices, orders, rules)
    return compare(prices, orders, rules, ledger, a_year=252, resamples=200, **options)


def test_holding_buys_once_at_the_same_costs() -> None:
    prices = panel(60)
    rules = Rules(costs_bp=10, slippage_bp=5, capital=1000, rebalance="every_bar", max_volume_share=1e-9)
    of = compared(prices, np.full((60, 2), 0.1), rules, rows=slice(5, None)).by_name["hold"]
    shares = 500 / (prices.close[4] * (1 + 5e-4) * (1 + 1e-3))  # sized at the close before, room for costs left
    paid = shares * prices.open[5] * (1 + 5e-4) * (1 + 1e-3)
    if paid.sum() > 1000:  # cut to the cash there is
        shares *= 1000 / paid.sum()
        paid *= 1000 / paid.sum()
    assert of.ledger.equity[4] == 1000 and of.ledger.shares[5] == pytest.approx(shares)
    assert of.ledger.shares[-1] == pytest.approx(shares) and of.measures.periods == 55
    assert of.ledger.equity[-1] == pytest.approx(1000 - paid.sum() + shares @ prices.close[-1])
    assert of.measures.beta == pytest.approx(1) and of.measures.alpha == pytest.approx(0, abs=1e-9)


def test_holding_takes_the_mean_exposure_of_long_and_short() -> None:
    prices = panel(200)
    orders = np.full((200, 2), NAN)
    orders[0], orders[100] = (0.3, -0.3), (0, 0)
    by_name = compared(prices, orders).by_name
    assert by_name["hold_exposure"].measures.exposure == pytest.approx(0.3, abs=0.05)
    assert by_name["hold"].measures.exposure == pytest.approx(1, abs=0.05)
    assert by_name["flat"].measures.exposure == 0 and by_name["flat"].measures.total_return == 0


def test_a_ticker_that_lists_later_is_bought_after_its_first_close() -> None:
    prices = panel(30)
    for name in ("open", "high", "low", "close"):
        getattr(prices, name)[:10, 1] = NAN
    weight = hold_orders(prices, Rules(), 0, 1.0).weight
    assert np.argwhere(~np.isnan(weight)).tolist() == [[1, 0], [11, 1]] and np.nansum(weight) == 1
    assert run_ledger(prices, hold_orders(prices, Rules(), 0, 1.0), Rules()).unfilled == {}


def test_a_flat_account_that_earns_interest_has_no_sharpe_ratio() -> None:
    prices = panel(60)
    flat = compared(prices, np.full((60, 2), 0.1), Rules(cash_rate=0.05)).by_name["flat"]
    assert flat.measures.total_return is not None and flat.measures.total_return > 0.005
    assert flat.measures.reasons["sharpe"] == "the returns do not vary"


def test_late_orders_are_those_of_decisions_a_close_later() -> None:
    prices = panel(60)
    weights = np.where(np.random.default_rng(1).random((60, 2)) < 0.3, 0.2, NAN)
    late = late_orders(prices, placed(prices, weights))
    later = placed(prices, np.concatenate([np.full((1, 2), NAN), weights[:-1]]))
    assert np.array_equal(late.weight, later.weight, equal_nan=True)
    there = ~np.isnan(late.weight)
    assert there.any() and (late.sized_at[there] == later.sized_at[there]).all()


def test_a_late_order_waits_for_a_price_of_its_ticker() -> None:
    prices = panel(6)
    prices.open[3, 0] = NAN
    orders = Orders(np.array([[NAN, NAN], [NAN, 1], [0.5, NAN], [NAN, 0], [0, NAN], [NAN, 1]]), np.full((6, 2), 1))
    late = late_orders(prices, orders)
    assert np.argwhere(~np.isnan(late.weight)).tolist() == [[2, 1], [4, 0], [4, 1], [5, 0]]
    assert late.weight[4].tolist() == [0.5, 0] and late.sized_at[4].tolist() == [2, 2]
    assert late.sized_at[2, 1] == 1, "no close that is later than what the bar's decisions knew"


def tomorrow(prices: Prices, late: int) -> np.ndarray:
    """Return weights that know what the fill of so many bars later will earn."""
    earned = np.sign(np.append(np.diff(prices.open, axis=0), np.zeros((1, prices.open.shape[1])), axis=0))
    first = 1 + late
    return np.concatenate([earned[first:], np.zeros((first, earned.shape[1]))]) / 2


def test_what_dies_by_one_bar_is_flagged() -> None:
    prices = panel(trend=True)
    of = compared(prices, tomorrow(prices, 0))
    (flag,) = of.flags
    assert flag.startswith("dies by one bar: one bar late, the Sharpe ratio is ") and "does not hold 0" in flag
    assert of.change is not None and of.change < -5 and of.interval is not None and of.interval[1] < 0


def test_what_improves_by_one_bar_is_flagged() -> None:
    prices = panel(trend=True)
    (flag,) = compared(prices, tomorrow(prices, 1)).flags
    assert flag.startswith("improves by one bar: one bar late, the Sharpe ratio is ") and "does not hold 0" in flag


def test_what_changes_by_less_than_half_is_not_flagged() -> None:
    """Positions that last: one bar's delay changes their ratio a little, up or down."""
    changes = []
    for seed in range(4):
        prices = panel(trend=True, seed=seed)
        weights = np.full((400, 2), NAN)
        weights[::40] = np.random.default_rng(seed).choice([0.2, 0.4], (10, 2))
        of = compared(prices, weights)
        sharpe = ledger_measures(run_ledger(prices, placed(prices, weights), LONG_SHORT), a_year=252).sharpe
        assert of.change is not None and sharpe is not None and of.flags == ()
        changes.append(of.change * np.sign(sharpe))
    assert min(changes) < 0 < max(changes)


def test_the_change_is_that_of_the_ratios_over_cash() -> None:
    prices, rules = panel(trend=True), Rules(cash_rate=0.2, costs_bp=0, positions="long-short")
    weights = np.where(np.arange(400)[:, None] % 7, NAN, 0.2) * np.random.default_rng(5).choice([-1, 1, 0], (400, 2))
    own = ledger_measures(run_ledger(prices, placed(prices, weights), rules), a_year=252).sharpe
    of = compared(prices, weights, rules)
    late = of.by_name["late"].measures.sharpe
    assert own is not None and late is not None and of.change == pytest.approx(late - own)
    both = np.stack(
        [
            ledger.returns - interest_rates(ledger.at, rules)
            for ledger in (run_ledger(prices, placed(prices, weights), rules), of.by_name["late"].ledger)
        ],
        axis=1,
    )
    drawn, _ = stationary_draws(
        both, lambda days: np.diff(days.mean(axis=0) / days.std(axis=0, ddof=1)) * 252**0.5, resamples=200
    )
    assert of.interval == pytest.approx(np.quantile(drawn, [0.025, 0.975]))


def test_a_change_without_a_ratio_has_a_reason() -> None:
    none = compared(panel(60), np.zeros((60, 2)))
    assert none.change is None and none.interval is None and none.flags == ()
    assert none.reason == "the returns do not vary"
    document = json.loads(json.dumps(none.document(), allow_nan=False))
    assert set(document) == {*SUMMARIES, "late_change", "flags"}


def test_a_ledger_is_measured_over_its_own_cash() -> None:
    prices = panel(60)
    weights = np.full((60, 2), NAN)
    weights[10] = (0.5, -0.25)
    ledger = run_ledger(prices, placed(prices, weights), Rules(positions="long-short", costs_bp=10))
    of = ledger_measures(ledger, a_year=252)
    assert of.total_return == pytest.approx(ledger.equity[-1] / 100_000 - 1)
    assert of.turnover == pytest.approx(ledger.turnover.mean()) and of.periods == 60
    assert of.exposure == pytest.approx(np.abs(ledger.weights).sum(axis=1).mean())
    assert of.net_exposure == pytest.approx(ledger.weights.sum(axis=1).mean())


def test_what_stands_beside_has_intervals_of_its_own_periods() -> None:
    prices = panel(120)
    rules = LONG_SHORT.model_copy(update={"cash_rate": 0.03})
    by_name = compared(prices, tomorrow(prices, 0), rules, rows=slice(5, None)).by_name
    for name in ("hold", "hold_exposure", "late"):
        of = by_name[name]
        cash = interest_rates(of.ledger.at, rules)[5:]
        own = bootstrap_intervals(of.ledger.returns[5:], a_year=252, cash=cash, resamples=200)
        assert of.intervals == own and own.sharpe is not None and of.measures.sharpe is not None
        assert own.sharpe[0] < of.measures.sharpe < own.sharpe[1]
    assert by_name["hold"].intervals.sharpe != by_name["late"].intervals.sharpe
    flat = by_name["flat"].intervals
    assert flat.sharpe is None and flat.reasons["sharpe"]
