"""Metrics of classification, from two arrays of label numbers of one length."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]


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
