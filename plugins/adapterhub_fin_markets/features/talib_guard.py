"""Call TA-Lib on bars with holes: once for each unbroken run of bars of a ticker.

One NaN makes TA-Lib's RSI 0.0 for every later row, and its averages NaN for ever, without a word (ta-lib-python 492,
542). After a hole an indicator therefore starts anew, and its first `lookback` rows are NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


def runs(present: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield start and end (exclusive) of each stretch of true values in a mask (times,)."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], present, [False])).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def by_run(function: Callable[..., Any], lookback: int, *columns: np.ndarray) -> np.ndarray:
    """Return an indicator of columns (times, tickers) each, computed on each ticker's runs: (times, tickers), float64.

    `function(*columns)` is given one run, (bars,) float64 each, and returns (bars,). A bar is part of a run where all
    columns are finite. The first `lookback` rows of a run are NaN, and so are all rows of a shorter run.

    Example:
        >>> by_run(lambda close: talib.RSI(close, 14), 14, closes)
    """
    by_ticker = [np.ascontiguousarray(column.T, dtype=np.float64) for column in columns]
    present = np.isfinite(by_ticker[0])
    for column in by_ticker[1:]:
        present &= np.isfinite(column)
    values = np.full(present.shape, np.nan)
    for ticker, mask in enumerate(present):
        for start, end in runs(mask):
            if end - start > lookback:
                computed = function(*(column[ticker, start:end] for column in by_ticker))
                values[ticker, start + lookback : end] = computed[lookback:]
    return np.ascontiguousarray(values.T)
