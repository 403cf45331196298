"""Match rows of two tables by ticker and time."""

from __future__ import annotations

import numpy as np

from adapterhub_fin_markets.prices.timing import count_usable


def match(ticker: np.ndarray, number: np.ndarray, query_ticker: np.ndarray, query_number: np.ndarray) -> np.ndarray:
    """Return for each pair of ticker and number the row that has both, (pairs,), -1 where none has.

    Tickers and numbers are integers from 0; of two rows with the same pair the first counts.
    """
    width = max(int(number.max(initial=0)), int(query_number.max(initial=0))) + 1
    keys = ticker.astype(np.int64) * width + number
    order = np.argsort(keys, kind="stable")
    pairs = query_ticker.astype(np.int64) * width + query_number
    at = np.minimum(np.searchsorted(keys[order], pairs), len(keys) - 1)
    return np.where(keys[order][at] == pairs, order[at], -1)


def match_latest(
    ticker: np.ndarray, known_at: np.ndarray, query_ticker: np.ndarray, decided_at: np.ndarray
) -> np.ndarray:
    """Return for each decision its ticker's row that was known last, strictly before it, (decisions,), or -1.

    Of two rows that were known at one instant, the later one in the table counts.
    """
    distinct = np.unique(known_at)
    width = len(distinct) + 1
    keys = ticker.astype(np.int64) * width + np.searchsorted(distinct, known_at)
    order = np.argsort(keys, kind="stable")
    before = query_ticker.astype(np.int64) * width + count_usable(distinct, decided_at)
    at = np.searchsorted(keys[order], before, side="left") - 1
    same = (at >= 0) & (ticker[order][np.maximum(at, 0)] == query_ticker)
    return np.where(same, order[np.maximum(at, 0)], -1)
