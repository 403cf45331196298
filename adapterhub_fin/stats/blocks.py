"""Draw the blocks of the stationary bootstrap (Politis and Romano 1994), and find the length that suits a series.

Both are what arch gives, draw for draw: a test compares them. Importing arch takes longer than the resampling that most
backtests need, because its package brings matplotlib and statsmodels along.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from adapterhub_fin._lazy import Lazy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike
else:
    np = Lazy("numpy")


def stationary_rows(rows: int, block: float, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield the rows of each resample, (rows,) int64: blocks of a geometric length, which go on around the end.

    `block` is their mean length, 1 or more.
    """
    rng, number = np.random.default_rng(seed), np.arange(rows)
    for _ in range(resamples):
        first = rng.integers(rows, size=rows, dtype=np.int64)
        begins = rng.random(rows) <= 1.0 / block
        start = np.maximum.accumulate(np.where(begins, number, 0))  # of the block that each row is in
        drawn: np.ndarray = (first[start] + number - start) % rows
        yield drawn


def block_length(series: ArrayLike) -> float:
    """Return the mean length of blocks that suits a series, (times,), or the longest that a column of one needs.

    It is that of Politis and White (2004) and Patton, Politis and White (2009) for the stationary bootstrap, at least
    1. The series has 8 times or more.
    """
    values = np.asarray(series, dtype=np.float64)
    with np.errstate(all="ignore"):  # of a few values, an autocorrelation may have no variance: no block follows
        lengths = [_column_length(column) for column in values.reshape(len(values), -1).T]
    return float(np.fmax.reduce([1.0, *lengths]))


def _column_length(column: np.ndarray) -> float:
    """Return the length that one column, (times,), needs; NaN where its spectrum at zero is none."""
    times = len(column)
    apart = column - column.mean()
    run = max(5, int(math.log10(times)))  # lags in a row whose autocorrelation must be small
    most = math.ceil(math.sqrt(times)) + run
    products = np.array([apart[lag:] @ apart[: times - lag] for lag in range(most + 1)])
    # Over the variances of the two parts less one time each, as in Patton's program.
    spreads = np.array([(apart[lag:] @ apart[lag:]) * (apart[:-lag] @ apart[:-lag]) for lag in range(1, most + 2)])
    small = np.abs(products) / np.sqrt(spreads) < 2 * math.sqrt(math.log10(times) / times)
    insignificant = np.lib.stride_tricks.sliding_window_view(small[:most], run).all(axis=1)
    lags = min(2 * max(int(insignificant.argmax()), 1), most) if insignificant.any() else most
    lag = np.arange(1, lags + 1)
    covariance = products / times
    twice = 2 * np.minimum(1.0, 2 * (1 - lag / lags))  # of a flat-top window, on both sides
    slope = np.cumsum(twice * lag * covariance[1 : lags + 1])[-1]
    spectrum = np.cumsum(np.append(covariance[0], twice * covariance[1 : lags + 1]))[-1]
    length = (slope**2 / spectrum**2) ** (1 / 3) * times ** (1 / 3)
    return float(min(length, math.ceil(min(3 * math.sqrt(times), times / 3))))
