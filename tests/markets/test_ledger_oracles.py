"""The ledger beside others: `bt`, returns worked out of weights alone, and the vector form."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

from adapterhub_fin_markets.backtest.ledger import run_ledger
from adapterhub_fin_markets.backtest.orders import Orders
from adapterhub_fin_markets.backtest.rules import Rules
from adapterhub_fin_markets.backtest.vector_form import vector_returns
from adapterhub_fin_markets.prices.panel import Prices

DAY = np.timedelta64(1, "D")


def panel(seed: int, bars: int, tickers: int) -> Prices:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, (bars, tickers)), 0))
    opened = close * np.exp(rng.normal(0, 0.01, close.shape))
    starts = np.datetime64("2015-01-01T14:30", "us") + np.arange(bars) * DAY
    return Prices(
        tickers=tuple(f"T{number:03d}" for number in range(tickers)),
        starts_at=starts,
        closes_at=starts + np.timedelta64(390, "m"),
        open=opened,
        high=np.maximum(opened, close),
        low=np.minimum(opened, close),
        close=close,
        volume=np.full(close.shape, 1e6),
        calendar="XNYS",
    )


def random_weights(seed: int, bars: int, tickers: int, *, short: bool) -> np.ndarray:
    """Return weights whose sizes sum to less than 1, (bars, tickers)."""
    rng = np.random.default_rng(seed)
    drawn = rng.normal(size=(bars, tickers)) if short else rng.random((bars, tickers))
    return drawn / np.abs(drawn).sum(1, keepdims=True) * rng.uniform(0.2, 1, (bars, 1))


def orders(weight: np.ndarray, fill: Any = "next_open") -> Orders:
    return Orders(weight, np.arange(len(weight))[:, None] - np.ones(weight.shape, np.int64), fill)


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_without_costs_it_is_bt(seed: int, short: bool) -> None:
    """bt trades and values at one price a day, so both are given closes alone."""
    import bt

    prices, weight = panel(seed, 120, 5), random_weights(seed + 10, 120, 5, short=short)
    rules = Rules(
        fill="close",
        size_at="fill",
        rebalance="every_bar",
        costs_bp=0,
        positions="long-short" if short else "long-only",
        capital=1e6,
    )
    ledger = run_ledger(prices, orders(weight, "close"), rules)
    index = pd.DatetimeIndex(prices.closes_at)
    closes = pd.DataFrame(prices.close, index, list(prices.tickers))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weighing = bt.algos.WeighTarget(pd.DataFrame(weight, index, list(prices.tickers)))
        strategy = bt.Strategy("ours", [bt.algos.RunDaily(run_on_first_date=True), weighing, bt.algos.Rebalance()])
        run = bt.run(bt.Backtest(strategy, closes, initial_capital=1e6, integer_positions=False))
    theirs = run.prices["ours"].to_numpy()[1:] / 100 * 1e6
    assert np.abs(ledger.equity / theirs - 1).max() < 1e-9


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("commission", [0.0, 10.0])
def test_it_is_what_weights_and_returns_make(seed: int, commission: float) -> None:
    """Compute the equity before each open of weights, how they drift and what changing them costs."""
    bars, slippage = 300, commission / 2
    prices, weight = panel(seed, bars, 20), random_weights(seed, bars, 20, short=True)
    rules = Rules(
        positions="long-short",
        size_at="fill",
        rebalance="every_bar",
        costs_bp=commission,
        slippage_bp=slippage,
        capital=1000,
    )
    ledger = run_ledger(prices, orders(weight), rules)
    c, s = commission / 1e4, slippage / 1e4
    overnight = prices.open[1:] / prices.open[:-1] - 1
    equity, drifted, closes = 1000.0, np.zeros(20), []
    for bar in range(bars):
        moved = weight[bar] - drifted
        cost = (s + c) * np.abs(moved).sum() + c * s * moved.sum()
        closes.append(equity * (1 - cost + weight[bar] @ (prices.close[bar] / prices.open[bar] - 1)))
        if bar < bars - 1:
            grown = 1 - cost + weight[bar] @ overnight[bar]
            drifted = weight[bar] * (1 + overnight[bar]) / grown
            equity *= grown
    assert np.abs(ledger.equity / np.array(closes) - 1).max() < 1e-12


def test_without_costs_it_is_one_product() -> None:
    prices, weight = panel(7, 2520, 50), random_weights(8, 2520, 50, short=True)
    rules = Rules(positions="long-short", size_at="fill", rebalance="every_bar", costs_bp=0, capital=1)
    opens = np.cumprod(1 + (weight[:-1] * (prices.open[1:] / prices.open[:-1] - 1)).sum(1))
    day = 1 + (weight * (prices.close / prices.open - 1)).sum(1)
    assert np.abs(run_ledger(prices, orders(weight), rules).equity / np.append(1, opens) / day - 1).max() < 1e-12


def test_the_vector_form() -> None:
    weights, returns = np.array([0, 1, 1, 0, -1, -1.0]), np.array([0, 0.01, -0.02, 0.03, 0.01, -0.01])
    net = vector_returns(weights, returns, 10)
    assert np.allclose(net, [0, 0, -0.021, 0.03, -0.001, 0.009], atol=1e-15)
    assert np.prod(1 + net) - 1 == pytest.approx(0.016427885, abs=5e-10)


def test_the_vector_form_is_the_ledger_where_nothing_is_held_for_longer_than_a_bar() -> None:
    """From close to close at no cost, weights that are set anew at each bar earn the same in both."""
    prices, weight = panel(3, 100, 4), random_weights(4, 100, 4, short=True)
    rules = Rules(positions="long-short", fill="close", size_at="fill", rebalance="every_bar", costs_bp=0, capital=1)
    ledger = run_ledger(prices, orders(weight, "close"), rules)
    returns = np.diff(prices.close, axis=0, prepend=prices.close[:1]) / np.roll(prices.close, 1, axis=0)
    assert np.allclose(ledger.returns, vector_returns(weight, returns), rtol=0, atol=1e-14)
