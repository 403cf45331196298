"""The vector form: what a ledger without costs has in the end, through splits, dividends and missing bars."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from adapterhub_fin_markets.backtest.ledger import run_ledger
from adapterhub_fin_markets.backtest.orders import Orders
from adapterhub_fin_markets.backtest.rules import Fill, Rules
from adapterhub_fin_markets.backtest.vector_form import fill_returns, standing_weights, vector_returns
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.testing import random_bars

DAY = np.timedelta64(1, "D")


def panel(bars: int = 60, seed: int = 0) -> Prices:
    starts = np.datetime64("2024-01-01T14:30", "us") + np.arange(bars) * DAY
    closes = starts + np.timedelta64(390, "m")
    columns: dict[str, Any] = random_bars(seed, bars, 2)
    return Prices(tickers=("a", "b"), starts_at=starts, closes_at=closes, calendar="24/7", **columns)


def with_events(prices: Prices) -> Prices:
    """Split one ticker two for one on its 21st bar, and pay a dividend on the other's 31st."""
    splits, dividends = np.ones(prices.close.shape), np.zeros(prices.close.shape)
    splits[20, 0], dividends[30, 1], dividends[20, 0] = 2, 1.5, 0.25
    later = np.where(np.arange(len(prices))[:, None] >= 20, np.array([0.5, 1.0]), 1.0)
    levels = {name: getattr(prices, name) * later for name in ("open", "high", "low", "close")}
    return replace(prices, **levels, splits=splits, dividends=dividends, split_adjusted=False)


def orders(prices: Prices, seed: int, fill: Fill) -> Orders:
    rng = np.random.default_rng(seed)
    weight = np.where(rng.random(prices.close.shape) < 0.2, rng.uniform(-0.5, 0.5, prices.close.shape), np.nan)
    return Orders(weight, np.full(weight.shape, -1), fill)


@pytest.mark.parametrize("events", [False, True])
@pytest.mark.parametrize("fill", ["next_open", "close"])
def test_it_ends_where_a_ledger_that_rebalances_at_each_fill_ends(fill: Fill, events: bool) -> None:
    prices = with_events(panel()) if events else panel()
    placed = orders(prices, 1, fill)
    rules = Rules(fill=fill, size_at="fill", rebalance="every_bar", positions="long-short", costs_bp=0)
    net = vector_returns(standing_weights(placed), fill_returns(prices, fill), lag=0)
    assert np.prod(1 + net) == pytest.approx(run_ledger(prices, placed, rules).equity[-1] / rules.capital, rel=1e-12)


def test_a_missing_bar_passes_its_return_on() -> None:
    prices = panel(6)
    prices.open[[0, 3], 0] = np.nan
    earned = fill_returns(prices, "next_open")[:, 0]
    assert np.isnan(earned[0]) and earned[2] == 0
    assert earned[3] == pytest.approx(prices.open[4, 0] / prices.open[2, 0] - 1)
    assert earned[5] == pytest.approx(prices.close[5, 0] / prices.open[5, 0] - 1)


def test_a_weight_stands_until_the_next() -> None:
    placed = Orders(np.array([[np.nan, 1], [0.5, np.nan], [np.nan, 0]]), np.full((3, 2), -1))
    assert standing_weights(placed).tolist() == [[0, 1], [0.5, 1], [0.5, 0]]
