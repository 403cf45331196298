"""Check dividends and splits against the levels and the source's own adjusted close."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from adapterhub_fin_markets.prices.findings import Finding, instant
from adapterhub_fin_markets.prices.levels import label
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.shares import (
    levels_split_adjusted,
    previous_closes,
    reckoned_with,
    share_closes,
    share_factors,
)

_TOLERANCE: Final = 2e-4  # relative, between an adjusted close and the one computed from dividends
_SEAM: Final = 2e-3  # a step of the adjustment that no rounding makes
_NEAR_DAYS: Final = 3  # bars within which the same dividend twice is one too many
_ALIKE: Final = 0.15


def check_events(prices: Prices) -> list[Finding]:
    """Return what dividends, splits and adjusted closes show, by ticker and time."""
    findings: list[Finding] = []
    previous, shares = previous_closes(prices), share_factors(prices)
    paid_on = share_closes(prices, shares)  # what a dividend is a part of
    for column in range(len(prices.tickers)):
        if prices.splits is not None:
            findings += _splits(prices, previous, column)
        if prices.dividend_adjusted:
            continue  # the levels reckon with the dividends: there is nothing to hold these against
        if prices.dividends is not None:
            findings += _twice(prices, paid_on, column)
        if prices.adj_close is not None:
            findings += _steps(prices, shares, paid_on, column)
            findings += _seam(prices, column)
    return findings


def _finding(prices: Prices, kind: str, row: int, column: int, value: float, text: str, refused: bool) -> Finding:
    ticker, at = prices.tickers[column], instant(prices.closes_at[row])
    return Finding(kind, ticker, at, 1, value, f"{ticker} {text}", refused, (row, row + 1, column))


def _splits(prices: Prices, previous: np.ndarray, column: int) -> Iterator[Finding]:
    """Yield splits at which the levels jump though others are reckoned with, or don't though others do."""
    assert prices.splits is not None
    splits, adjusted = prices.splits[:, column], levels_split_adjusted(prices)
    for row in np.flatnonzero((splits > 0) & (splits != 1)).tolist():
        ratio = float(splits[row])
        reckoned = reckoned_with(prices.close[row, column] / previous[row, column], ratio)
        if reckoned is not None and reckoned != adjusted:
            how = "already reckon with" if reckoned else "do not reckon with"
            text = f"has levels that {how} its split of {ratio:g}:1 on {label(prices, row)}, unlike the other splits"
            yield _finding(prices, "two-adjustments", row, column, ratio, text, refused=True)


def _twice(prices: Prices, previous: np.ndarray, column: int) -> Iterator[Finding]:
    assert prices.dividends is not None
    dividends = prices.dividends[:, column]
    rows = np.flatnonzero(dividends > 0)
    rows = rows[dividends[rows] > 0.01 * previous[rows, column]]
    for first, second in zip(rows[:-1].tolist(), rows[1:].tolist(), strict=True):
        if second - first <= _NEAR_DAYS and abs(dividends[second] / dividends[first] - 1) < _ALIKE:
            text = (
                f"lists dividends of {dividends[first]:g} on {label(prices, first)} and of {dividends[second]:g} on "
                f"{label(prices, second)}: one dividend counted twice"
            )
            yield _finding(prices, "double-dividend", second, column, float(dividends[second]), text, refused=True)


def _steps(prices: Prices, shares: np.ndarray, previous: np.ndarray, column: int) -> Iterator[Finding]:
    """Yield the days on which the source's adjustment, splits set aside, is not that of the day's dividend."""
    assert prices.adj_close is not None
    if prices.dividends is None or not (prices.dividends[:, column] >= 0).any():
        return  # without a list of dividends, the adjustment is the only account of them
    adjusted, close = prices.adj_close[:, column], prices.close[:, column] * shares[:, column]
    rows = np.flatnonzero(~np.isnan(adjusted) & ~np.isnan(close) & (close > 0) & (adjusted > 0))
    step = (adjusted[rows[1:]] / adjusted[rows[:-1]]) / (close[rows[1:]] / close[rows[:-1]])
    dividends = prices.dividends[rows[1:], column]  # NaN where none is known of: says nothing
    expected = 1 / (1 - dividends * shares[rows[1:], column] / close[rows[:-1]])
    rounding = _resolution(adjusted[rows]) * (1 / adjusted[rows[1:]] + 1 / adjusted[rows[:-1]])
    off = np.abs(step / expected - 1) > _TOLERANCE + rounding
    for number in np.flatnonzero(off).tolist():
        yield _explained(prices, int(rows[number + 1]), column, float(step[number]), float(dividends[number]), previous)


def _explained(prices: Prices, row: int, column: int, step: float, dividend: float, previous: np.ndarray) -> Finding:
    """Return what a step of the adjustment is that is not the dividend's."""
    close = float(previous[row, column])
    counted = close * (1 - 1 / step)  # the dividend that would make this step
    gains = 0.0 if prices.capital_gains is None else float(np.nan_to_num(prices.capital_gains[row, column]))
    split = 1.0 if prices.splits is None else float(np.nan_to_num(prices.splits[row, column]) or 1.0)
    day = label(prices, row)
    if gains and abs(counted - dividend - gains) < 0.01 * counted:
        text = f"counts capital gains of {gains:g} on {day} twice: the dividend of {dividend:g} holds them already"
        return _finding(prices, "double-dividend", row, column, counted, text, refused=True)
    if dividend and abs(step - 1) < _TOLERANCE:
        text = f"pays a dividend of {dividend:g} on {day} that its adjusted close leaves out"
        return _finding(prices, "missing-dividend", row, column, dividend, text, refused=True)
    if dividend:
        why = f": it is on the levels before the split of {split:g}:1" if split != 1 else ""
        text = f"lists a dividend of {dividend:g} on {day}, and its adjusted close counts {counted:.4g}{why}"
        return _finding(prices, "wrong-dividend", row, column, counted, text, refused=True)
    if step < 1:
        text = f"has an adjusted close that changes by {step - 1:+.2%} against its close on {day}, without a split"
        return _finding(prices, "two-adjustments", row, column, step, text, refused=True)
    text = f"has an adjusted close that counts a dividend of {counted:.4g} on {day}, and lists none"
    return _finding(prices, "missing-dividend", row, column, counted, text, refused=True)


def _resolution(values: np.ndarray) -> float:
    """Return half of the last decimal that values, (rows,), are written with; 0 beyond the sixth."""
    for decimals in range(2, 7):
        if np.allclose(values, np.round(values, decimals), rtol=0, atol=1e-9):
            return float(0.5 * 10.0**-decimals)
    return 0.0


def _seam(prices: Prices, column: int) -> Iterator[Finding]:
    """Yield where a table goes on without the adjusted close that it had, or begins to have one."""
    assert prices.adj_close is not None
    rows = np.flatnonzero(~np.isnan(prices.close[:, column]))
    there = ~np.isnan(prices.adj_close[rows, column])
    if there.all() or not there.any():
        return
    changes = np.flatnonzero(np.diff(there.astype(np.int8)))
    if len(changes) > 3:
        return
    for number in changes.tolist():
        row = int(rows[number + 1])
        edge = rows[number] if there[number] else row
        factor = float(prices.adj_close[edge, column] / prices.close[edge, column])
        how = "ends" if there[number] else "begins"
        text = (
            f"is two tables in one: the adjusted close {how} at {label(prices, row)}, so that the levels before and "
            f"after it are adjusted differently"
        )
        yield _finding(prices, "two-adjustments", row, column, factor, text, refused=True)
