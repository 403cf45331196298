"""Compute a strategy's returns as positions times returns, less costs by turnover: fast, and without a ledger's detail.

Weights are those of equity in each period; between trades they neither drift nor round.
"""

from __future__ import annotations

import numpy as np

from adapterhub_fin_markets.backtest.events import events_of, share_counts
from adapterhub_fin_markets.backtest.fills import fill_prices
from adapterhub_fin_markets.backtest.orders import Orders
from adapterhub_fin_markets.backtest.rules import Fill
from adapterhub_fin_markets.prices.panel import Prices


def vector_returns(weights: np.ndarray, returns: np.ndarray, costs_bp: float = 0.0, lag: int = 1) -> np.ndarray:
    """Return what weights earned in each period after costs, (periods,).

    Args:
        weights: Shares of equity, (periods,) or (periods, tickers), finite. A weight is the position `lag` periods
            later; before the first there is none.
        returns: Those of the instruments, of the same shape; NaN, where one has no price, earns nothing.
        costs_bp: Basis points of what is traded: the change of the position from the period before.
        lag: 1 where a weight was decided at the end of its period, 0 where it is the position of its own.

    Raises:
        ValueError: The shapes differ, or a weight isn't finite.
    """
    _check(weights, returns)
    positions = _lagged(weights, lag)
    traded = np.abs(np.diff(positions, axis=0, prepend=np.zeros_like(positions[:1])))
    net = positions * np.nan_to_num(returns) - costs_bp / 1e4 * traded
    earned: np.ndarray = net if net.ndim == 1 else net.sum(axis=1)
    return earned


def standing_weights(orders: Orders) -> np.ndarray:
    """Return the weight that each bar's orders leave standing, (times, tickers): the last one given, 0 before it."""
    given = ~np.isnan(orders.weight)
    last = np.maximum.accumulate(np.where(given, np.arange(len(given))[:, None], -1), axis=0)
    standing: np.ndarray = np.take_along_axis(orders.weight, np.maximum(last, 0), axis=0)
    return np.where(last < 0, 0.0, standing)


def fill_returns(prices: Prices, fill: Fill) -> np.ndarray:
    """Return what a share that each bar fills earns until the next bar's fill, (times, tickers).

    The last bar's is until its close. Splits and dividends count, and a bar without a price passes its return on to the
    next that has one; NaN before a ticker's first price. Raises BadPrices where the prices lack what the rule needs.
    """
    levels, events = fill_prices(prices, fill), events_of(prices)
    counts = share_counts(events.splits)
    paid = np.nan_to_num(events.dividends) * counts if len(events.dividends) else np.zeros(levels.shape)
    worth = np.concatenate([levels * counts, (prices.close * counts)[-1:]])
    there = ~np.isnan(worth)
    last = np.maximum.accumulate(np.where(there, np.arange(len(worth))[:, None], -1), axis=0)
    worth = np.take_along_axis(worth, np.maximum(last, 0), axis=0)  # before the first price, row 0 is NaN
    paid = np.concatenate([paid[1:], np.zeros_like(paid[:1])])
    earned: np.ndarray = (worth[1:] + paid) / worth[:-1] - 1
    return earned


def _lagged(weights: np.ndarray, lag: int) -> np.ndarray:
    return np.concatenate([np.zeros_like(weights[:lag]), weights[: len(weights) - lag]])


def _check(weights: np.ndarray, returns: np.ndarray) -> None:
    if weights.shape != returns.shape:
        raise ValueError(f"weights of shape {weights.shape} and returns of {returns.shape}: give one of each")
    if not np.isfinite(weights).all():
        raise ValueError("a weight is NaN or infinite: give the weight that stands in each period, 0 for none")
