"""Say what splits and dividends do to an account: those that the levels do not reckon with already."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.prices.levels import label
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.shares import levels_split_adjusted, listed_splits


@dataclass(frozen=True, eq=False)
class Events:
    """Hold what changes an account without an order, (times, tickers) each; of no rows where nothing does."""

    splits: np.ndarray  # new shares for an old one, 1 where none
    dividends: np.ndarray  # in currency a share of that day, 0 where none
    split_rows: frozenset[int]
    paid_rows: frozenset[int]


def events_of(prices: Prices) -> Events:
    """Return the splits and dividends that the levels don't reckon with.

    On raw levels both happen; on levels adjusted for splits dividends alone; on adjusted levels neither, since their
    returns are total returns. Raises BadPrices where splits are listed and the levels don't tell whether they reckon
    with them, or are said not to and list none.
    """
    splits = paid = np.zeros((0, len(prices.tickers)))
    adjusted, listed = levels_split_adjusted(prices), listed_splits(prices)
    if adjusted is False and prices.splits is None:
        raise BadPrices("these prices are said not to reckon with splits, and list none: read them with their splits")
    if listed and adjusted is None:
        row, column = listed[0]
        raise BadPrices(
            f"the levels don't tell whether they reckon with the splits listed, such as {prices.tickers[column]}'s of "
            f"{label(prices, row)}: read them with split_adjusted=True or split_adjusted=False"
        )
    if listed and adjusted is False and prices.splits is not None:
        splits = np.where(prices.splits > 0, prices.splits, 1.0)
    if prices.dividends is not None and not prices.dividend_adjusted:
        paid = np.nan_to_num(prices.dividends)
    return Events(splits, paid, _rows(splits != 1), _rows(paid != 0))


def _rows(cells: np.ndarray) -> frozenset[int]:
    return frozenset(np.flatnonzero(cells.any(axis=1)).tolist())


def share_counts(splits: np.ndarray) -> np.ndarray | float:
    """Return how many shares one of the first row has become by each, (times, tickers); 1 without splits."""
    return np.cumprod(splits, axis=0) if len(splits) else 1.0


def last_levels(close: np.ndarray, fillable: np.ndarray, splits: np.ndarray) -> np.ndarray:
    """Return the last price up to each close, (times, tickers), on that row's shares; NaN before a ticker's first.

    It is the close, or what a bar filled at where it has no close.
    """
    there = np.isfinite(close)
    if there.all():
        return close
    levels = np.where(there, close, fillable)
    there = np.isfinite(levels)
    last = np.maximum.accumulate(np.where(there, np.arange(len(levels))[:, None], -1), axis=0)
    share = share_counts(splits)
    filled: np.ndarray = np.take_along_axis(levels * share, np.maximum(last, 0), axis=0) / share
    filled[last < 0] = np.nan
    return filled


def delistings(close: np.ndarray, fillable: np.ndarray, after: int) -> dict[int, np.ndarray]:
    """Return the columns, (columns,), to give up at each row: no price for so many bars in a row, or none at the last.

    Whether a ticker comes back is not looked at: that would be the future.
    """
    there = np.isfinite(close) | np.isfinite(fillable)
    if there.all():
        return {}
    rows = len(there)
    last = np.maximum.accumulate(np.where(there, np.arange(rows)[:, None], -1), axis=0)
    since = np.where(last < 0, 0, np.arange(rows)[:, None] - last)
    gone = since == after
    gone[-1] |= since[-1] > 0
    return {row: np.flatnonzero(gone[row]) for row in np.flatnonzero(gone.any(axis=1)).tolist()}
