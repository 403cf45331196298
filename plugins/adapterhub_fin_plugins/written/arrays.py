"""Name the arrays that these metrics take and give, and average rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Texts = NDArray[Any]  # of strings, (rows,)
Scores = NDArray[np.float64]  # (rows,)
Weighted = tuple[Scores, Scores]  # scores and the weight of each row


def by_row(score: Callable[[str, str], float], truth: Texts, predicted: Texts) -> Scores:
    """Return a score of each pair of texts, (rows,)."""
    return np.array([score(str(true), str(answer)) for true, answer in zip(truth, predicted, strict=True)], np.float64)


def mean(scores: Scores) -> float:
    """Return the mean of row scores; NaN without a row."""
    return float(np.mean(scores)) if len(scores) else float("nan")


def weighted_mean(scores: Scores, weights: Scores) -> float:
    """Return the mean of row scores by their weights; NaN where no row has any."""
    total = float(np.sum(weights))
    return float(np.sum(scores * weights) / total) if total else float("nan")
