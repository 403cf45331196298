"""Say at which price and instant each bar fills an order, by fill rule."""

from __future__ import annotations

import numpy as np

from adapterhub_fin_markets.backtest.rules import Fill
from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.prices.levels import label
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.timing import count_usable, decided_after, first_fill

_SLACK = 1e-3  # of a VWAP outside of its bar's range: turnover and prices are rounded


def fill_prices(prices: Prices, fill: Fill) -> np.ndarray:
    """Return the price at which each bar fills, (times, tickers), NaN where it can't: no price, or none above zero.

    Raises BadPrices where the prices lack what the rule needs: opens, or turnover and volume.
    """
    if fill == "vwap":
        return _averages(prices)
    levels = prices.close if fill == "close" else prices.open
    there = np.isfinite(levels) & (levels > 0)
    if not there.any():
        wanting = "closes" if fill == "close" else "opens"
        hint = "check them" if fill == "close" else "read prices with opens, or fill at the close"
        raise BadPrices(f"the prices have no {wanting} to fill orders at: {hint}")
    return np.asarray(levels) if there.all() else np.where(there, levels, np.nan)


def fill_instants(prices: Prices, fill: Fill) -> np.ndarray:
    """Return the instant that each bar's fill is judged by, (times,): its start, or its close where it fills there."""
    return prices.closes_at if fill == "close" else prices.starts_at


def first_bars(prices: Prices, decided_at: np.ndarray, fill: Fill) -> np.ndarray:
    """Return the first bar whose fill is strictly later than each decision, (decisions,); their number where none."""
    return first_fill(fill_instants(prices, fill), decided_at, same_instant=fill == "same_instant")


def last_closes(prices: Prices, fill: Fill) -> np.ndarray:
    """Return the last bar at whose close one can decide what each bar fills, (times,); -1 where there is none."""
    decided = prices.closes_at if fill == "same_instant" else decided_after(prices.closes_at)
    instants = fill_instants(prices, fill)
    if fill == "same_instant":
        instants = decided_after(instants)
    return count_usable(decided, instants) - 1


def _averages(prices: Prices) -> np.ndarray:
    """Return turnover / volume of each bar. Raises BadPrices where there is no turnover, or it is of other units."""
    if prices.turnover is None:
        raise BadPrices("the prices have no turnover, which fill vwap needs: read a table with it, or fill otherwise")
    there = (prices.turnover > 0) & (prices.volume > 0)
    averages: np.ndarray = np.divide(
        prices.turnover, prices.volume, out=np.full(prices.close.shape, np.nan), where=there
    )
    off = (averages > prices.high * (1 + _SLACK)) | (averages < prices.low * (1 - _SLACK))
    if off.any():
        row, column = np.argwhere(off)[0]
        raise BadPrices(
            f"{prices.tickers[column]}: turnover / volume on {label(prices, row)} is {averages[row, column]:g}, "
            f"outside of {prices.low[row, column]:g} to {prices.high[row, column]:g}: of other units; fill otherwise"
        )
    return averages
