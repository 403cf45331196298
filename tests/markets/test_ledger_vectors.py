"""Ledgers worked out by hand: to the cent, by every fill rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adapterhub_fin_markets.backtest.ledger import Ledger, run_ledger
from adapterhub_fin_markets.backtest.orders import place
from adapterhub_fin_markets.backtest.rules import Rules
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.timing import decided_after

DAY, NAN = np.timedelta64(1, "D"), np.nan


def panel(opens: Any, closes: Any, *, hours: float = 6.5, **columns: Any) -> Prices:
    """Return days that open at 14:30 UTC, (times, tickers), or that never pause with 24 hours."""
    opens, closes = np.array(opens, float), np.array(closes, float)
    starts = np.datetime64("2024-01-01T14:30", "us") + np.arange(len(opens)) * DAY
    levels = {"open": opens, "high": np.fmax(opens, closes), "low": np.fmin(opens, closes), "close": closes}
    return Prices(
        tickers=tuple("XYZ"[: opens.shape[1]]),
        starts_at=starts,
        closes_at=starts + np.timedelta64(int(hours * 60), "m"),
        calendar="XNYS" if hours < 24 else "24/7",
        **{**levels, "volume": np.full(opens.shape, 1e6), **columns},
    )


def traded(prices: Prices, weights: Any, rules: Rules) -> Ledger:
    """Return the ledger of weights, (times, tickers), that are decided at each close."""
    weights = np.array(weights, float)
    rows, columns = np.nonzero(~np.isnan(weights))
    decided = decided_after(prices.closes_at)[rows]
    return run_ledger(prices, place(decided, columns, weights[rows, columns], prices, rules.fill), rules)


A = panel([[100], [102], [101], [99], [103], [104]], [[101], [101], [100], [102], [104], [103]])
A_WEIGHTS = [[1], [1], [0], [0], [0.5], [0.5]]
A_RULES = Rules(rebalance="every_bar", size_at="fill", lot=1, costs_bp=10, capital=10_000)


def test_ledger_a_never_spends_what_is_not_there() -> None:
    ledger = traded(A, A_WEIGHTS, A_RULES)
    assert ledger.shares[:, 0].tolist() == [0, 97, 97, 0, 0, 46]
    assert np.round(ledger.commission, 3).tolist() == [0, 9.894, 0, 9.603, 0, 4.784]
    assert np.round(ledger.cash, 3).tolist() == [10000, 96.106, 96.106, 9689.503, 9689.503, 4900.719]
    assert np.round(ledger.equity, 2).tolist() == [10000.00, 9893.11, 9796.11, 9689.50, 9689.50, 9638.72]


def test_ledger_a_without_that_rule() -> None:
    ledger = traded(A, A_WEIGHTS, A_RULES.model_copy(update={"positions": "long-short"}))
    assert ledger.shares[1, 0] == 98 and round(ledger.cash[1], 3) == -5.996
    assert np.round(ledger.equity, 2)[1:].tolist() == [9892.00, 9794.90, 9688.30, 9688.30, 9637.52]


def test_ledger_b_long_short_with_slippage() -> None:
    prices = panel(
        [[100, 50], [100, 50], [110, 50], [110, 40], [121, 40], [121, 44]],
        [[100, 50], [110, 50], [110, 40], [121, 40], [121, 44], [121, 44]],
    )
    weights = [[0.5, -0.5], [0.5, -0.5], [-0.5, 0.5], [0, 0.5], [0, 0], [0, 0]]
    rules = Rules(
        positions="long-short", rebalance="every_bar", size_at="fill", costs_bp=10, slippage_bp=5, capital=1000
    )
    ledger = traded(prices, weights, rules)
    assert np.round(ledger.equity, 2).tolist() == [1000.00, 1048.50, 1153.28, 1092.47, 1146.09, 1145.19]
    assert round(ledger.commission.sum(), 5) == 4.41241 and round(ledger.slippage.sum(), 5) == 2.20624
    changed = traded(prices, weights, rules.model_copy(update={"rebalance": "on_change"}))
    assert round(changed.equity[-1], 2) == 1143.46
    for total, by_trade in ((ledger.commission, ledger.trades.commission), (ledger.slippage, ledger.trades.slippage)):
        assert total.sum() == pytest.approx(by_trade.sum(), rel=1e-12)
    assert ledger.cash[-1] == pytest.approx(1000 - (ledger.trades.value + ledger.trades.commission).sum())
