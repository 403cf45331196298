"""Adjust levels for dividends and splits, and record as of when."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.prices.events import levels_split_adjusted
from adapterhub_fin_markets.prices.levels import previous_closes
from adapterhub_fin_markets.prices.panel import Prices

_PRICE = ("open", "high", "low", "close")
_PAID = ("dividends", "capital_gains")


def adjust(prices: Prices) -> Prices:
    """Return levels whose returns are total returns: earlier bars are scaled down at each dividend, and raw ones split.

    Levels that are adjusted for splits already, as Yahoo's are, are adjusted for dividends alone. Volume is split too,
    and so are dividends, each of which raw levels list on the shares of its own day.
    `adjusted_as_of` becomes the day of the last event that the levels reckon with: the levels, unlike the returns, were
    known from that day on. Raises BadPrices where dividends and splits are unknown, or the levels are adjusted already.
    """
    if prices.dividends is None and prices.splits is None:
        raise BadPrices("these prices list neither dividends nor splits: read them with those columns to adjust them")
    if prices.dividend_adjusted:
        raise BadPrices(f"these prices are adjusted as of {prices.adjusted_as_of} already: start from raw ones")
    shares = share_factors(prices)
    previous = previous_closes(replace(prices, close=prices.close * shares)) / shares  # on each bar's own shares
    factor = dividend_factors(prices.dividends, previous)
    events = np.zeros(prices.close.shape, bool)
    for listed in (prices.dividends, prices.splits):
        if listed is not None:
            events |= (np.nan_to_num(listed) != 0) & (listed != 1 if listed is prices.splits else True)
    rows = np.flatnonzero(events.any(axis=1))
    days = prices.starts_at.astype("M8[D]") if prices.days is None else prices.days
    return replace(
        prices,
        **{name: getattr(prices, name) * shares * factor for name in _PRICE},
        **{name: None if (paid := getattr(prices, name)) is None else paid * shares for name in _PAID},
        volume=prices.volume / shares,
        split_adjusted=True,
        dividend_adjusted=True,
        adjusted_as_of=str(days[rows[-1]]) if len(rows) else str(days[-1]),
    )


def share_factors(prices: Prices) -> np.ndarray:
    """Return what puts raw levels on the shares of the last bar, (times, tickers); 1 where they are on them already."""
    if prices.splits is None or levels_split_adjusted(prices) is not False:
        return np.ones(prices.close.shape)
    splits = np.where(np.nan_to_num(prices.splits) > 0, prices.splits, 1.0)
    return _later(1 / splits)


def dividend_factors(dividends: np.ndarray | None, previous: np.ndarray) -> np.ndarray:
    """Return the factor of each bar by the dividends after it, (times, tickers): the product of 1 - dividend / close.

    `previous`, (times, tickers), is the last close before each time, on the shares that the dividend is paid on. Raises
    BadPrices for a dividend that is as large as the price.
    """
    if dividends is None:
        return np.ones(previous.shape)
    paid = np.nan_to_num(dividends)
    with np.errstate(invalid="ignore", divide="ignore"):
        steps = np.where((paid > 0) & (previous > 0), 1 - paid / previous, 1.0)
    if (steps <= 0).any():
        row, column = np.argwhere(steps <= 0)[0]
        raise BadPrices(
            f"the dividend {paid[row, column]:g} of bar {row + 1} is no less than the price {previous[row, column]:g} "
            "before it: mend it"
        )
    return _later(steps)


def _later(steps: np.ndarray) -> np.ndarray:
    """Return the product of the steps after each time, (times, tickers)."""
    factor = np.ones_like(steps)
    factor[:-1] = np.cumprod(steps[:0:-1], axis=0)[::-1]
    return factor
