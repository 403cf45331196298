"""Say on which shares levels are: those of each day, or, where splits are reckoned with, those of the last bar."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.prices.panel import Prices

FAR: Final = np.log(1.45)  # of a close to the one before: less is a day's real move, whatever else it may be
_SMALL: Final = np.log(1.4)  # a split below it is told from a real move only where the jump is all but its own
_SMALLEST: Final = np.log(1.1)


def previous_closes(prices: Prices) -> np.ndarray:
    """Return the last close before each time, (times, tickers), NaN up to a ticker's first bar."""
    close = prices.close
    shifted = np.full_like(close, np.nan)
    shifted[1:] = close[:-1]
    lacking = np.flatnonzero(np.isnan(shifted[1:]).any(axis=0))
    for column in lacking.tolist():
        last = np.maximum.accumulate(np.where(np.isnan(close[:-1, column]), -1, np.arange(len(close) - 1)))
        shifted[1:, column] = np.where(last < 0, np.nan, close[last, column])
    return shifted


def listed_splits(prices: Prices) -> list[tuple[int, int]]:
    """Return the row and the column of each listed split, by row."""
    if prices.splits is None:
        return []
    return [(row, column) for row, column in np.argwhere((prices.splits > 0) & (prices.splits != 1)).tolist()]


def reckoned_with(jump: float, ratio: float) -> bool | None:
    """Return whether levels that jump by so much at a split reckon with it, None where that can't be told.

    They do where little is left of the jump, and don't where little is left once the split is taken out of it.
    """
    size = abs(np.log(ratio))
    if size < _SMALLEST or not jump > 0:
        return None
    reckoned, raw = abs(np.log(jump)), abs(np.log(jump * ratio))
    tick = np.log(2.1) if size > np.log(40) else 0.0  # of a thousand, tick sizes alone make a factor of two
    most = size / 4 if size < _SMALL else max(FAR, tick)
    return None if min(reckoned, raw) > most else bool(reckoned <= raw)


def levels_split_adjusted(prices: Prices) -> bool | None:
    """Return whether the levels reckon with the listed splits, by most of those at which it can be told."""
    if prices.split_adjusted is not None or prices.splits is None:
        return prices.split_adjusted
    previous = previous_closes(prices)
    answers = [
        reckoned_with(prices.close[cell] / previous[cell], float(prices.splits[cell])) for cell in listed_splits(prices)
    ]
    seen = [reckoned for reckoned in answers if reckoned is not None]
    return None if not seen else sum(seen) * 2 >= len(seen)


def share_factors(prices: Prices) -> np.ndarray:
    """Return what puts raw levels on the shares of the last bar, (times, tickers); 1 where they are on them already."""
    if prices.splits is None or levels_split_adjusted(prices) is not False:
        return np.ones(prices.close.shape)
    splits = np.where(np.nan_to_num(prices.splits) > 0, prices.splits, 1.0)
    return later(1 / splits)


def share_closes(prices: Prices, shares: np.ndarray) -> np.ndarray:
    """Return the last close before each time on the shares of that time, (times, tickers); see `share_factors`."""
    closes: np.ndarray = previous_closes(replace(prices, close=prices.close * shares)) / shares
    return closes


def later(steps: np.ndarray) -> np.ndarray:
    """Return the product of the steps after each time, (times, tickers)."""
    factor = np.ones_like(steps)
    factor[:-1] = np.cumprod(steps[:0:-1], axis=0)[::-1]
    return factor


def check_split_adjusted(prices: Prices) -> None:
    """Raise BadPrices for levels that don't reckon with their splits: returns over one would be crashes."""
    if prices.split_adjusted is False:
        raise BadPrices(
            "these prices are not adjusted for their splits, each of which would be read as a crash or a rise: adjust "
            "them first, with `adjust(prices)` or `ahf market store --adjust`"
        )
