"""Adjust levels for dividends and splits, and record as of when."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.prices.instruments import day
from adapterhub_fin_markets.prices.levels import label
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.shares import (
    later,
    levels_split_adjusted,
    listed_splits,
    previous_closes,
    share_closes,
    share_factors,
)

_PRICE = ("open", "high", "low", "close")
_PAID = ("dividends", "capital_gains")


def adjust(prices: Prices) -> Prices:
    """Return levels whose returns are total returns: earlier bars are scaled down at each dividend, and raw ones split.

    Levels that are adjusted for splits already, as Yahoo's are, are adjusted for dividends alone. Volume is split too,
    and so are dividends, each of which raw levels list on the shares of its own day.
    `adjusted_as_of` becomes the day of the last event that the levels reckon with, or stays what it was where that is
    later: the levels, unlike the returns, were known from that day on. The source's own adjusted close, of levels that
    are no more, is left out. Raises BadPrices where dividends and splits are unknown, the levels are adjusted already,
    or they don't tell whether they reckon with the listed splits.
    """
    if prices.dividends is None and prices.splits is None:
        raise BadPrices("these prices list neither dividends nor splits: read them with those columns to adjust them")
    if prices.dividend_adjusted:
        raise BadPrices(f"these prices are adjusted as of {prices.adjusted_as_of} already: start from raw ones")
    _check_reckoning(prices)
    shares = share_factors(prices)
    factor = dividend_factors(prices.dividends, share_closes(prices, shares))
    events = np.zeros(prices.close.shape, bool)
    for listed in (prices.dividends, prices.splits):
        if listed is not None:
            events |= (np.nan_to_num(listed) != 0) & (listed != 1 if listed is prices.splits else True)
    rows = np.flatnonzero(events.any(axis=1))
    days = prices.starts_at.astype("M8[D]") if prices.days is None else prices.days
    last = days[rows[-1]] if len(rows) else days[-1]
    arrays: dict[str, Any] = {name: getattr(prices, name) * shares * factor for name in _PRICE}
    arrays |= {name: paid * shares for name in _PAID if (paid := getattr(prices, name)) is not None}
    return replace(
        prices,
        **arrays,
        volume=prices.volume / shares,
        turnover=None if prices.turnover is None else prices.turnover * factor,
        split_adjusted=True,
        dividend_adjusted=True,
        adj_close=None,
        adjusted_as_of=str(last if prices.adjusted_as_of is None else max(last, day(prices.adjusted_as_of))),
    )


def _check_reckoning(prices: Prices) -> None:
    """Raise BadPrices where levels are raw and list no split, or splits are listed and nothing tells which they are."""
    reckoned = levels_split_adjusted(prices)
    if reckoned is False and prices.splits is None:
        raise BadPrices("these prices are said not to reckon with splits, and list none: read them with their splits")
    if reckoned is not None:
        return
    before = ~np.isnan(previous_closes(prices))
    for row, column in listed_splits(prices):
        if before[row, column]:
            raise BadPrices(
                f"the levels don't tell whether they reckon with the splits listed, such as {prices.tickers[column]}'s "
                f"of {label(prices, row)}: read them with split_adjusted=True or split_adjusted=False"
            )


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
    return later(steps)
