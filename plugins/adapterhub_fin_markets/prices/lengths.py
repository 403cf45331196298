"""Find bars that are longer than they are said to be: each would be known before it is over."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from adapterhub_fin_markets.prices.clock import bar_length
from adapterhub_fin_markets.prices.findings import Finding, instant
from adapterhub_fin_markets.prices.panel import Prices

_FEWEST = 3  # bars of a ticker: two may be a month apart and be days
_NAMES = ((5, 9, "a week"), (26, 32, "a month"), (85, 95, "a quarter"), (355, 375, "a year"))  # from and to, in days


def check_lengths(prices: Prices) -> Iterator[Finding]:
    """Yield tickers with three bars or more of which no two follow each other at the panel's interval."""
    length = bar_length(prices.interval)
    for column, ticker in enumerate(prices.tickers):
        rows = np.flatnonzero(~np.isnan(prices.close[:, column]))
        if len(rows) < _FEWEST:
            continue
        apart = np.diff(prices.starts_at[rows])
        if (np.diff(rows) == 1 if length is None else _next_bars(prices, rows, length)).any():
            continue
        middle = np.sort(apart)[len(apart) // 2]
        cells = (int(rows[0]), int(rows[-1]) + 1, column)
        sentence = (
            f"{ticker} has no two bars that are {prices.interval} apart: these look like bars of {_length(middle)}, "
            f"which would be known before they are over"
        )
        at = instant(prices.closes_at[rows[0]])
        yield Finding("coarser-bars", ticker, at, len(rows), _length(middle), sentence, True, cells)


def _next_bars(prices: Prices, rows: np.ndarray, length: np.timedelta64) -> np.ndarray:
    """Return which of a ticker's bars, (bars - 1,), the next follows: in a session, or where each is a whole one."""
    near: np.ndarray = np.diff(prices.starts_at[rows]) <= length
    if prices.days is None:
        return near
    first = np.append(True, prices.days[1:] != prices.days[:-1])  # (times,): opens its session
    alone = first & (prices.closes_at - prices.starts_at < length)
    following = (np.cumsum(first)[rows[1:]] - np.cumsum(first)[rows[:-1]]) == 1
    near |= alone[rows[:-1]] & first[rows[1:]] & following
    return near


def _length(apart: np.timedelta64) -> str:
    """Return a length of time in words: 15min, 1h, a week, 12 days."""
    minutes = int(apart.astype("m8[m]").astype(int))
    if minutes < 24 * 60:
        return f"{minutes // 60}h" if minutes % 60 == 0 else f"{minutes}min"
    days = round(minutes / (24 * 60))
    if days == 1:
        return "a day"
    return next((name for first, last, name in _NAMES if first <= days <= last), f"{days} days")
