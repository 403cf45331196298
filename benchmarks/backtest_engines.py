"""CPU seconds of the cash ledger beside bt on the same weights and prices, and of 500 tickers on 2,520 days alone.

    python benchmarks/backtest_engines.py [--tickers 20] [--days 2520] [--repeats 3]

Both rebalance at every close to the same random weights, long and short, in fractional shares. bt trades and values at
one price a day, so ours fills at the close too. Without costs the equities agree; with 10 bp they differ, since bt
searches the shares whose value and commission together come to the weight, and ours pays the commission on top. What
the imports cost is not counted on either side.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from adapterhub_fin_markets.backtest.ledger import run_ledger
from adapterhub_fin_markets.backtest.orders import Orders, place
from adapterhub_fin_markets.backtest.rules import Fill, Rules
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.timing import TICK, decided_after

CAPITAL = 1e6


def invented(tickers: int, days: int) -> Prices:
    """Return invented bars of days that open at 14:30 and close at 21:00."""
    rng = np.random.default_rng(0)
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.015, (days, tickers)), axis=0))
    opened = close * np.exp(rng.normal(0, 0.005, close.shape))
    starts = np.datetime64("2015-01-01T14:30", "us") + np.arange(days) * np.timedelta64(1, "D")
    return Prices(
        tickers=tuple(f"T{number:03}" for number in range(tickers)),
        starts_at=starts,
        closes_at=starts + np.timedelta64(390, "m"),
        open=opened,
        high=np.maximum(opened, close),
        low=np.minimum(opened, close),
        close=close,
        volume=np.full(close.shape, 1e6),
        calendar="XNYS",
    )


def weights_of(prices: Prices) -> np.ndarray:
    """Return random weights, long and short, whose sizes sum to less than 1, (times, tickers)."""
    rng = np.random.default_rng(1)
    drawn = rng.normal(size=prices.close.shape)
    return np.asarray(drawn / np.abs(drawn).sum(1, keepdims=True) * rng.uniform(0.2, 1, (len(drawn), 1)))


def cpu(run: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Return the least CPU seconds of several runs, and the last answer."""
    best, answer = np.inf, None
    for _ in range(repeats):
        start = time.process_time()
        answer = run()
        best = min(best, time.process_time() - start)
    return best, answer


def placed(prices: Prices, weights: np.ndarray, fill: Fill) -> Orders:
    """Return the orders of weights that are decided before each close, or after it for the next open."""
    rows, columns = np.indices(weights.shape).reshape(2, -1)
    at = prices.closes_at - TICK if fill == "close" else decided_after(prices.closes_at)
    return place(at[rows], columns, weights.ravel(), prices, fill)


def by_bt(prices: Prices, weights: np.ndarray, costs_bp: float, repeats: int) -> tuple[float, np.ndarray]:
    """Return the CPU seconds of bt, and its equity, (times,)."""
    import bt
    import pandas as pd

    index, names = pd.DatetimeIndex(prices.closes_at), list(prices.tickers)
    closes, target = pd.DataFrame(prices.close, index, names), pd.DataFrame(weights, index, names)

    def once() -> np.ndarray:
        weighing = bt.algos.WeighTarget(target)
        strategy = bt.Strategy("bt", [bt.algos.RunDaily(run_on_first_date=True), weighing, bt.algos.Rebalance()])
        commission = lambda shares, price: abs(shares) * price * costs_bp / 1e4  # noqa: E731
        test = bt.Backtest(strategy, closes, initial_capital=CAPITAL, integer_positions=False, commissions=commission)
        return np.asarray(bt.run(test).prices["bt"].to_numpy()[1:] / 100 * CAPITAL)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        once()
        return cpu(once, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("tickers", 20), ("days", 2520), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    prices = invented(options.tickers, options.days)
    weights = weights_of(prices)
    for costs_bp in (0.0, 10.0):
        rules = Rules(
            fill="close",
            size_at="fill",
            rebalance="every_bar",
            positions="long-short",
            costs_bp=costs_bp,
            capital=CAPITAL,
        )
        placing, orders = cpu(lambda: placed(prices, weights, "close"), options.repeats)
        running, ledger = cpu(lambda rules=rules, orders=orders: run_ledger(prices, orders, rules), options.repeats)
        theirs, equity = by_bt(prices, weights, costs_bp, options.repeats)
        apart = np.abs(ledger.equity / equity - 1).max()
        print(
            f"{options.tickers} tickers, {options.days} days, {costs_bp:g} bp: ledger {running:.3f} s, placing "
            f"{placing:.3f} s, bt {theirs:.2f} s: {theirs / running:.0f} times the ledger, "
            f"{theirs / (running + placing):.0f} times both; equity differs by up to {apart:.1e}"
        )
    large = invented(500, 2520)
    many = weights_of(large)
    for name, changed in (("fractional", {}), ("lots", {"lot": 1.0})):
        rules = Rules(positions="long-short", costs_bp=10, capital=CAPITAL * 100).model_copy(update=changed)
        placing, orders = cpu(lambda: placed(large, many, "next_open"), options.repeats)
        seconds, ledger = cpu(lambda rules=rules, orders=orders: run_ledger(large, orders, rules), options.repeats)
        times = f"ledger {seconds:.3f} s, placing {placing:.3f} s"
        print(f"500 tickers, 2,520 days, {name}: {times}, {len(ledger.trades):,} trades")


if __name__ == "__main__":
    main()
