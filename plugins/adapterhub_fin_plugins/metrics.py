"""Metrics: functions of two arrays with one row an answer, the truth and what was said.

One that is undefined gives NaN, which is never recorded: neither as a figure, nor as the end of an interval.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]  # label numbers
Figures = NDArray[np.float64]


def accuracy(truth: Labels, predicted: Labels) -> float:
    """Share of right answers."""
    return float(np.mean(truth == predicted))


def _confusion(truth: Labels, predicted: Labels, labels: Labels | None = None) -> NDArray[np.float64]:
    """Counts by (truth, predicted) over `labels` and those that occur in either, sorted."""
    given = np.array([], dtype=np.int64) if labels is None else labels
    found, places = np.unique(np.concatenate([truth, predicted, given]), return_inverse=True)
    table = np.zeros((len(found), len(found)))
    np.add.at(table, (places[: len(truth)], places[len(truth) : 2 * len(truth)]), 1)
    return table


def macro_f1(truth: Labels, predicted: Labels, labels: Labels | None = None) -> float:
    """Mean over the head's labels of the harmonic mean of precision and recall.

    A label that is never answered right counts as 0, also where no row has it and no answer names it: with the labels
    that happen to occur, the mean would be over fewer of them in a resample that misses a rare one.
    """
    table = _confusion(truth, predicted, labels)
    named = table.sum(0) + table.sum(1)
    return float(np.mean(2 * np.diag(table) / np.where(named, named, 1)))


def mcc(truth: Labels, predicted: Labels) -> float:
    """Matthews correlation for any number of labels (Gorodkin 2004); 0 where either side is constant.

    A label that neither side names adds nothing to it.
    """
    table = _confusion(truth, predicted)
    said, true, right, rows = table.sum(0), table.sum(1), np.trace(table), table.sum()
    spread = np.sqrt((rows**2 - said @ said) * (rows**2 - true @ true))
    return float((right * rows - said @ true) / spread) if spread else 0.0


def r2(truth: Figures, predicted: Figures) -> float:
    """1 - squared error / variance of the targets; NaN where the targets are all alike."""
    if alike(truth):
        return float("nan")
    apart = truth - np.mean(truth)
    size = np.max(np.abs(apart))  # by which both are divided, so that no square overflows or vanishes
    return float(1 - np.sum(((truth - predicted) / size) ** 2) / np.sum((apart / size) ** 2))


def mse(truth: Figures, predicted: Figures) -> float:
    """Mean of the squared differences, in squared units of the target."""
    return float(np.mean((truth - predicted) ** 2))


def mae(truth: Figures, predicted: Figures) -> float:
    """Mean of the absolute differences, in units of the target."""
    return float(np.mean(np.abs(truth - predicted)))


def spearman(truth: Figures, predicted: Figures) -> float:
    """Pearson correlation of the ranks, ties sharing their mean rank.

    NaN where the targets are all alike or an answer is no number; 0 where the answers are all alike, and rank nothing.
    """
    if alike(truth) or not (np.isfinite(truth).all() and np.isfinite(predicted).all()):
        return float("nan")
    if alike(predicted):
        return 0.0
    first, second = (ranks - np.mean(ranks) for ranks in (_ranks(truth), _ranks(predicted)))
    return float(first @ second / np.sqrt((first @ first) * (second @ second)))


def alike(values: NDArray[np.floating[Any]]) -> bool:
    """Return whether there are no two different values: their variance may be rounding that is not zero."""
    return len(values) == 0 or bool(np.min(values) == np.max(values))


def _ranks(values: Figures) -> Figures:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: Figures = (last - (counts - 1) / 2)[places]
    return mean


def loss(truth: Figures, predicted: Figures) -> float:
    """Mean loss a token; each row of `predicted` holds a text's mean loss and its tokens. NaN without any token."""
    means, tokens = predicted[:, 0], predicted[:, 1]
    return float(np.average(means, weights=tokens)) if np.any(tokens) else float("nan")


def perplexity(truth: Figures, predicted: Figures) -> float:
    """exp of the mean loss a token."""
    return float(np.exp(loss(truth, predicted)))
