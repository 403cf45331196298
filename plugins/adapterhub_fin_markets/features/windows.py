"""Compute means, spreads and maxima over the last rows, from those rows alone.

Windows are joined from halves: 60 rows are 32 + 16 + 8 + 4. A value therefore depends on no row outside its window, as
running sums do (one price of a million leaves its rounding error in all later ones), and a NaN is gone when it has left
the window. All arrays are (times, tickers).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

W = TypeVar("W")


def before(values: np.ndarray, rows: int) -> np.ndarray:
    """Return the values so many rows earlier, NaN in the first ones, (times, tickers)."""
    earlier = np.empty(values.shape)
    earlier[:rows] = np.nan
    earlier[rows:] = values[: max(0, len(values) - rows)]
    return earlier


def ratio(values: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Return values / by, NaN where `by` is not above zero, (times, tickers)."""
    shares: np.ndarray = np.divide(values, by, out=np.full(np.broadcast(values, by).shape, np.nan), where=by > 0)
    return shares


def window_sum(values: np.ndarray, rows: int) -> np.ndarray:
    """Return the sum over the last so many rows, (times, tickers)."""
    return _windows(values, rows, lambda late, early, _: late + early, before)


def window_max(values: np.ndarray, rows: int) -> np.ndarray:
    """Return the maximum over the last so many rows, (times, tickers)."""
    return _windows(values, rows, lambda late, early, _: np.maximum(late, early), before)


def window_moments(values: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over the last so many rows, and the sum of squared distances from it, (times, tickers).

    Chan, Golub and LeVeque's joining of two samples: exact zeros where all values are equal, no lost digits elsewhere.
    """
    return _windows((values, np.where(np.isnan(values), np.nan, 0.0)), rows, _join, _pair_before)


def spread(values: np.ndarray, rows: int, ddof: int) -> np.ndarray:
    """Return the standard deviation over the last so many rows, (times, tickers)."""
    return np.sqrt(window_moments(values, rows)[1] / (rows - ddof))


Pair = tuple[np.ndarray, np.ndarray]


def _join(late: Pair, early: Pair, counts: tuple[int, int]) -> Pair:
    many, few = counts
    apart = early[0] - late[0]
    mean = late[0] + apart * (few / (many + few))
    np.multiply(apart, apart, out=apart)
    apart *= many * few / (many + few)
    apart += late[1]
    apart += early[1]
    return mean, apart


def _pair_before(pair: Pair, rows: int) -> Pair:
    return before(pair[0], rows), before(pair[1], rows)


def _windows(single: W, rows: int, join: Callable[[W, W, tuple[int, int]], W], shift: Callable[[W, int], W]) -> W:
    """Return what the last so many rows are joined to, from windows whose lengths are powers of two."""
    window, length = single, 1
    whole: W | None = None
    covered = 0
    while True:
        if rows & length:
            whole = window if whole is None else join(whole, shift(window, covered), (covered, length))
            covered += length
        if covered == rows and whole is not None:
            return whole
        window, length = join(window, shift(window, length), (length, length)), 2 * length
