"""Metrics: functions of two arrays with one row an answer, the truth and what was said."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]  # label numbers
Figures = NDArray[np.float64]


def accuracy(truth: Labels, predicted: Labels) -> float:
    """Share of right answers."""
    return float(np.mean(truth == predicted))


def _confusion(truth: Labels, predicted: Labels) -> NDArray[np.float64]:
    """Counts by (truth, predicted) over the labels that occur in either."""
    labels, places = np.unique(np.concatenate([truth, predicted]), return_inverse=True)
    table = np.zeros((len(labels), len(labels)))
    np.add.at(table, (places[: len(truth)], places[len(truth) :]), 1)
    return table


def macro_f1(truth: Labels, predicted: Labels) -> float:
    """Mean over labels of the harmonic mean of precision and recall; a label never named counts as 0."""
    table = _confusion(truth, predicted)
    return float(np.mean(2 * np.diag(table) / (table.sum(0) + table.sum(1))))


def mcc(truth: Labels, predicted: Labels) -> float:
    """Matthews correlation for any number of labels (Gorodkin 2004); 0 where either side is constant."""
    table = _confusion(truth, predicted)
    said, true, right, rows = table.sum(0), table.sum(1), np.trace(table), table.sum()
    spread = np.sqrt((rows**2 - said @ said) * (rows**2 - true @ true))
    return float((right * rows - said @ true) / spread) if spread else 0.0


def r2(truth: Figures, predicted: Figures) -> float:
    """1 - squared error / variance of the targets; NaN where the targets are all alike."""
    spread = np.sum((truth - np.mean(truth)) ** 2)
    return float(1 - np.sum((truth - predicted) ** 2) / spread) if spread else float("nan")


def mse(truth: Figures, predicted: Figures) -> float:
    """Mean of the squared differences, in squared units of the target."""
    return float(np.mean((truth - predicted) ** 2))


def mae(truth: Figures, predicted: Figures) -> float:
    """Mean of the absolute differences, in units of the target."""
    return float(np.mean(np.abs(truth - predicted)))


def spearman(truth: Figures, predicted: Figures) -> float:
    """Pearson correlation of the ranks, ties sharing their mean rank; 0 where either side is constant."""
    sides = [_ranks(np.asarray(side, float)) for side in (truth, predicted)]
    spreads = [np.std(side) for side in sides]
    if not all(spreads):
        return 0.0
    return float(np.mean((sides[0] - sides[0].mean()) * (sides[1] - sides[1].mean())) / (spreads[0] * spreads[1]))


def _ranks(values: Figures) -> Figures:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: Figures = (last - (counts - 1) / 2)[places]
    return mean


def loss(truth: Figures, predicted: Figures) -> float:
    """Mean loss a token; each row of `predicted` holds a text's mean loss and its tokens."""
    return float(np.average(predicted[:, 0], weights=predicted[:, 1]))


def perplexity(truth: Figures, predicted: Figures) -> float:
    """exp of the mean loss a token."""
    return float(np.exp(loss(truth, predicted)))
