"""Compare the tickers of one row with one another: ranks and z-scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, Literal

import numpy as np

from adapterhub_fin_markets.features.table import Features

How = Literal["rank", "z-score"]


def across(features: Features, how: How) -> Features:
    """Return each feature as its rank, in (0, 1), or z-score among the tickers that have it in that row.

    Ties share their mean rank, (rank - 0.5) / count. A row is NaN where fewer than two tickers have the feature, and a
    z-score (ddof 0) where all are equal. A cell is known when the last one it is compared with is: the maximum over the
    row.
    """
    present = np.zeros(features.known_at.shape, bool)
    for column in features.columns.values():
        present |= np.isfinite(column)
    instants = features.known_at.astype(np.int64)
    none = np.iinfo(np.int64).min + 1  # before all others; the least number is NaT
    latest = np.where(present, instants, none).max(1, keepdims=True, initial=none)
    known = np.maximum(instants, latest).astype("datetime64[us]")
    return replace(
        features, columns={name: WAYS[how](column) for name, column in features.columns.items()}, known_at=known
    )


def rank(values: np.ndarray) -> np.ndarray:
    """Return (rank - 0.5) / count along each row of (times, tickers)."""
    from scipy.stats import rankdata

    count = np.isfinite(values).sum(1, keepdims=True)
    ranks = rankdata(values, axis=1, nan_policy="omit")
    return np.where(count > 1, (ranks - 0.5) / np.maximum(count, 1), np.nan)


def z_score(values: np.ndarray) -> np.ndarray:
    """Return (value - mean) / standard deviation along each row of (times, tickers)."""
    present = np.isfinite(values)
    count = np.maximum(present.sum(1, keepdims=True), 1)
    mean = np.where(present, values, 0.0).sum(1, keepdims=True) / count
    apart = values - mean
    squares = np.where(present, apart * apart, 0.0).sum(1, keepdims=True)
    lowest = np.where(present, values, np.inf).min(1, keepdims=True, initial=np.inf)
    equal = values == lowest  # where all are, rounding of the mean must not become a score
    equal = (equal | ~present).all(1, keepdims=True)
    scale = np.sqrt(squares / count)
    scores: np.ndarray = np.divide(apart, scale, out=np.full(values.shape, np.nan), where=~equal & (scale > 0))
    return scores


WAYS: Final[dict[str, Callable[[np.ndarray], np.ndarray]]] = {"rank": rank, "z-score": z_score}
