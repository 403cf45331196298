"""Check the levels of a panel: gaps, impossible prices, straight lines, jumps by a hundred or by a split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from adapterhub_fin_markets.prices.findings import Finding, instant
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.shares import FAR, previous_closes, reckoned_with

_PRICE = ("open", "high", "low", "close")
_ROUNDING: Final = 1e-6  # of a price, what adjusting and storing it may change
_LINE: Final = 1e-9  # of a price, how near to a straight line an interpolated one lies
_RATIOS: Final = (2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 30, 50)  # of splits, or one over them, where none is listed
AROUND: Final = 20  # bars between a split and those that it was wrongly applied to: AAPL halved in 2000 for real
_NEAR: Final = np.log(1.05)  # how near a jump must be to such a ratio


def check_levels(prices: Prices) -> list[Finding]:
    """Return what the levels of a panel show, by ticker and time."""
    previous = previous_closes(prices)
    return [
        *_gaps(prices),
        *_impossible(prices),
        *_lines(prices),
        *_jumps(prices, previous),
    ]


def _finding(
    prices: Prices, kind: str, cells: tuple[int, int, int], value: float | str | None, text: str, refused: bool
) -> Finding:
    first, end, column = cells
    ticker = prices.tickers[column]
    at = instant(prices.closes_at[first])
    return Finding(kind, ticker, at, end - first, value, f"{ticker} {text}", refused, cells)


def label(prices: Prices, row: int) -> str:
    """Return how a bar is named in a sentence: by its day, or by its start where it is shorter."""
    if prices.interval == "1d" and prices.days is not None:
        return str(prices.days[row])
    return str(prices.starts_at[row])[:16] + "Z"


def _runs(rows: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield the first and the end of each run of consecutive rows, (rows,) int ascending."""
    if len(rows):
        breaks = np.flatnonzero(np.diff(rows) > 1)
        yield from zip(rows[np.r_[0, breaks + 1]].tolist(), (rows[np.r_[breaks, -1]] + 1).tolist(), strict=True)


def _gaps(prices: Prices) -> Iterator[Finding]:
    empty = np.isnan(prices.close)
    if not empty.any():
        return
    for column in np.flatnonzero(empty.any(axis=0)).tolist():
        there = np.flatnonzero(~empty[:, column])
        if not len(there):
            continue
        for first, end in _runs(there[0] + np.flatnonzero(empty[there[0] : there[-1], column])):
            days = f"{label(prices, first)} to {label(prices, end - 1)}" if end - first > 1 else label(prices, first)
            text = f"has no bar at {end - first} of the calendar's times: {days}"
            yield _finding(prices, "missing-bars", (first, end, column), end - first, text, refused=False)


def _impossible(prices: Prices) -> Iterator[Finding]:
    opened, high, low, close = (getattr(prices, name) for name in _PRICE)
    for row, column in _where((opened <= 0) | (high <= 0) | (low <= 0) | (close <= 0)):
        value = min(getattr(prices, name)[row, column] for name in _PRICE if getattr(prices, name)[row, column] <= 0)
        text = f"has the price {value:g} on {label(prices, row)}: returns and logarithms of it mean nothing"
        yield _finding(prices, "not-positive", (row, row + 1, column), float(value), text, refused=True)
    above, below = high * (1 + _ROUNDING), low * (1 - _ROUNDING)
    crossed = high < below
    for row, column in _where(crossed):
        text = f"has a high of {high[row, column]:g} below its low of {low[row, column]:g} on {label(prices, row)}"
        yield _finding(prices, "high-below-low", (row, row + 1, column), float(high[row, column]), text, refused=True)
    outside = (opened > above) | (opened < below) | (close > above) | (close < below)
    for row, column in _where(outside & ~crossed):
        ends = f"opens at {opened[row, column]:g} and closes at {close[row, column]:g}"
        text = f"{ends} on {label(prices, row)}, outside of {low[row, column]:g} to {high[row, column]:g}"
        yield _finding(prices, "outside-range", (row, row + 1, column), float(close[row, column]), text, refused=False)


def _where(cells: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield the row and the column of each true cell, (times, tickers) bool."""
    if cells.any():
        yield from zip(*(index.tolist() for index in np.nonzero(cells)), strict=True)


def _lines(prices: Prices) -> Iterator[Finding]:
    """Yield runs of bars on a straight line in every column of prices, and in volume, or of three with closes alone."""
    if len(prices) < 3:
        return
    bent = _on_line(prices.close)
    for column in np.flatnonzero(bent.any(axis=0)).tolist():
        rows = np.flatnonzero(bent[:, column])
        others = [getattr(prices, name)[:, column] for name in ("open", "high", "low")]
        full = [values for values in others if not np.isnan(values).all()]
        for values in full:
            rows = rows[_on_line(values[:, None])[rows, 0]]
        volume = prices.volume[:, column]
        moved = ~np.isnan(volume[rows]) & (volume[rows] != 0)
        straight = _on_line(volume[:, None])[rows, 0]
        rows = rows[straight | ~moved]
        for first, end in _runs(rows):
            if end - first < 3 and not (full and straight.any()):
                continue
            text = (
                f"has {end - first} bars on a straight line between {label(prices, first - 1)} and "
                f"{label(prices, end)}: they were filled in, and know the price after them"
            )
            value = float(prices.close[first, column])
            yield _finding(prices, "interpolated", (first, end, column), value, text, refused=True)


def _on_line(values: np.ndarray) -> np.ndarray:
    """Return which values, (times, tickers), lie midway between their neighbours, and differ from them."""
    straight = np.zeros(values.shape, bool)
    with np.errstate(invalid="ignore"):
        middle, steps = values[1:-1], np.diff(values, axis=0)
        straight[1:-1] = np.abs(steps[1:] - steps[:-1]) <= _LINE * np.abs(middle)
        straight[1:-1] &= np.abs(steps[1:]) > 1e3 * _LINE * np.abs(middle)
    return straight


def _jumps(prices: Prices, previous: np.ndarray) -> Iterator[Finding]:
    """Yield levels that a hundred or a split explains, of the few bars that are far from the one before."""
    with np.errstate(invalid="ignore", divide="ignore"):
        far = np.abs(np.log(prices.close / previous)) > FAR
    for column in np.flatnonzero(far.any(axis=0)).tolist():
        rows = np.flatnonzero(far[:, column])
        with np.errstate(invalid="ignore", divide="ignore"):
            jumps = np.log(prices.close[rows, column] / previous[rows, column])
        rows, jumps = rows[np.isfinite(jumps)], jumps[np.isfinite(jumps)]
        listed = _listed(prices, column)
        at_split = np.isin(rows, [row for row, _ in listed])
        large = [(day, ratio) for day, ratio in listed if abs(np.log(ratio)) > np.log(1.8)]
        of_split = np.array([_is_of(row, jump, large) for row, jump in zip(rows, jumps, strict=True)], bool) & ~at_split
        hundred = (np.abs(np.abs(jumps) - np.log(100)) < np.log(1.3)) & ~at_split & ~of_split
        yield from _scales(prices, column, rows[hundred], jumps[hundred])
        yield from _split_scales(prices, column, rows[of_split], jumps[of_split], listed)
        ratios = dict(listed)
        for row, jump in zip(rows[at_split].tolist(), np.exp(jumps[at_split]).tolist(), strict=True):
            if reckoned_with(jump, ratios[row]) is None:
                yield _wrong_split(prices, previous, column, row, ratios[row])
        plain = ~(at_split | of_split | hundred)
        yield from _unlisted(prices, previous, column, rows[plain])


def _wrong_split(prices: Prices, previous: np.ndarray, column: int, row: int, ratio: float) -> Finding:
    """Return a jump on the day of a listed split that is neither none nor the split's."""
    before, close = previous[row, column], prices.close[row, column]
    text = (
        f"goes from {before:g} to {close:g} on {label(prices, row)}, which its split of {ratio:g}:1 listed there does "
        "not explain: the ratio is the wrong way round, or the split applied in part or twice"
    )
    return _finding(prices, "wrong-split", (row, row + 1, column), ratio, text, refused=True)


def _listed(prices: Prices, column: int) -> list[tuple[int, float]]:
    if prices.splits is None:
        return []
    splits = prices.splits[:, column]
    return [(row, float(splits[row])) for row in np.flatnonzero((splits > 0) & (splits != 1)).tolist()]


def _slack(ratio: float) -> float:
    """Return how far a jump may be from a split's ratio: of a thousand, tick sizes alone make a factor of two."""
    return float(np.log(2.1) if abs(np.log(ratio)) > np.log(40) else _NEAR)


def _is_of(row: int, jump: float, listed: Sequence[tuple[int, float]]) -> bool:
    """Return whether a jump has the size of a split that is listed within some bars of it."""
    return any(
        abs(row - day) <= AROUND and abs(abs(jump) - abs(np.log(ratio))) < _slack(ratio) for day, ratio in listed
    )


def _scales(prices: Prices, column: int, rows: np.ndarray, jumps: np.ndarray) -> Iterator[Finding]:
    """Yield runs of bars at a hundred times the level of the first, or a hundredth."""
    ends = [*rows[1:].tolist(), len(prices)][: len(rows)]
    power = 0
    for row, jump, end in zip(rows.tolist(), jumps.tolist(), ends, strict=True):
        power += 1 if jump > 0 else -1
        if power:
            close = float(prices.close[row, column])
            text = f"is at {100.0**power:g} times its level of before from {label(prices, row)} on (close {close:g})"
            yield _finding(prices, "hundredfold", (row, end, column), 100.0**power, text, refused=True)


def _split_scales(
    prices: Prices, column: int, rows: np.ndarray, jumps: np.ndarray, listed: Sequence[tuple[int, float]]
) -> Iterator[Finding]:
    """Yield runs of bars that a listed split of another day was applied to, or was not."""
    ends = [*rows[1:].tolist(), len(prices)][: len(rows)]
    power = 0
    for row, jump, end in zip(rows.tolist(), jumps.tolist(), ends, strict=True):
        day, ratio = min(listed, key=lambda split: abs(abs(np.log(split[1])) - abs(jump)))
        power += 1 if jump > 0 else -1
        if power:
            factor = float(max(ratio, 1 / ratio) ** power)
            text = (
                f"is at {factor:g} times its level from {label(prices, row)} on, by the split of "
                f"{label(prices, day)}, which the bars around it reckon with"
            )
            yield _finding(prices, "missing-split", (row, end, column), factor, text, refused=True)


def _tick(values: np.ndarray) -> float:
    """Return the last decimal that values, (values,), are written with, at least a millionth."""
    return next((10.0**-k for k in range(6) if np.allclose(values, np.round(values, k), rtol=0, atol=1e-9)), 1e-6)


def _unlisted(prices: Prices, previous: np.ndarray, column: int, rows: np.ndarray) -> Iterator[Finding]:
    """Yield jumps overnight by the ratio of a split that is not listed; a price may also really have moved so."""
    for row in rows.tolist():
        before = previous[row, column]
        levels = np.array([before, prices.open[row, column], prices.close[row, column]])
        if levels.min() < 20 * _tick(levels):
            continue  # rounding alone makes such a jump
        close, opened = np.log(levels[[2, 1]] / before)
        for ratio in _RATIOS:
            size = np.log(ratio)
            if abs(abs(close) - size) < _NEAR and abs(abs(opened) - size) < _NEAR and close * opened > 0:
                split = f"{ratio}:1" if close < 0 else f"1:{ratio}"
                text = f"goes from {before:g} to {levels[2]:g} overnight on {label(prices, row)}, by a split of {split}"
                text += " that is not listed"
                value = float(prices.close[row, column] / before)
                yield _finding(prices, "missing-split", (row, row + 1, column), value, text, refused=False)
                break
