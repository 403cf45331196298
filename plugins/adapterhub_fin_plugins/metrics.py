"""Compute metrics from two arrays with one row for each prediction: the truth and the prediction.

An undefined metric is NaN, which is never recorded, neither as a value nor as the end of an interval. Unless said
otherwise the arrays have shape (rows,).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]  # label numbers
Numbers = NDArray[np.float64]


def accuracy(truth: Labels, predicted: Labels) -> float:
    """Return the share of correct predictions; of label sets (rows, labels), the share of rows with no label wrong."""
    right = truth == predicted
    return float(np.mean(right if right.ndim == 1 else right.all(1)))


def _confusion(truth: Labels, predicted: Labels, labels: Labels | None = None) -> NDArray[np.float64]:
    """Return counts (labels, labels) by truth and prediction, over `labels` and those in either array, sorted."""
    extra = np.array([], dtype=np.int64) if labels is None else labels
    unique, codes = np.unique(np.concatenate([truth, predicted, extra]), return_inverse=True)
    table = np.zeros((len(unique), len(unique)))
    np.add.at(table, (codes[: len(truth)], codes[len(truth) : 2 * len(truth)]), 1)
    return table


def macro_f1(truth: Labels, predicted: Labels, labels: Labels | None = None) -> float:
    """Return the mean over the head's labels of F1, the harmonic mean of precision and recall.

    A label that is never predicted correctly counts as 0, even if no row and no prediction has it: otherwise a resample
    without a rare label would average over fewer labels. Of label sets (rows, labels), a label's rows are those that
    have it.
    """
    if truth.ndim == 2:
        both = (truth & predicted).sum(0)
        counts = truth.sum(0) + predicted.sum(0)
        return float(np.mean(2 * both / np.where(counts, counts, 1)))
    table = _confusion(truth, predicted, labels)
    counts = table.sum(0) + table.sum(1)
    return float(np.mean(2 * np.diag(table) / np.where(counts, counts, 1)))


def micro_f1(truth: Labels, predicted: Labels) -> float:
    """Return F1 over all labels of all rows (rows, labels); 0 if none applies and none is predicted."""
    counts = truth.sum() + predicted.sum()
    return float(2 * (truth & predicted).sum() / counts) if counts else 0.0


def mcc(truth: Labels, predicted: Labels) -> float:
    """Return the Matthews correlation for any number of labels (Gorodkin 2004); 0 if either array is constant.

    A label that occurs in neither array has no influence.
    """
    table = _confusion(truth, predicted)
    predictions, true, correct, rows = table.sum(0), table.sum(1), np.trace(table), table.sum()
    spread = np.sqrt((rows**2 - predictions @ predictions) * (rows**2 - true @ true))
    return float((correct * rows - predictions @ true) / spread) if spread else 0.0


def r2(truth: Numbers, predicted: Numbers) -> float:
    """Return 1 - squared error / variance of the targets; NaN if all targets are equal."""
    if alike(truth):
        return float("nan")
    deviations = truth - np.mean(truth)
    scale = np.max(np.abs(deviations))  # both are divided by it, so that no square overflows or underflows
    return float(1 - np.sum(((truth - predicted) / scale) ** 2) / np.sum((deviations / scale) ** 2))


def mse(truth: Numbers, predicted: Numbers) -> float:
    """Return the mean squared error, in squared units of the target."""
    return float(np.mean((truth - predicted) ** 2))


def mae(truth: Numbers, predicted: Numbers) -> float:
    """Return the mean absolute error, in units of the target."""
    return float(np.mean(np.abs(truth - predicted)))


def spearman(truth: Numbers, predicted: Numbers) -> float:
    """Return the Pearson correlation of the ranks; equal values share their mean rank.

    NaN if all targets are equal or a value is not finite; 0 if all predictions are equal.
    """
    if alike(truth) or not (np.isfinite(truth).all() and np.isfinite(predicted).all()):
        return float("nan")
    if alike(predicted):
        return 0.0
    first, second = (ranks - np.mean(ranks) for ranks in (_ranks(truth), _ranks(predicted)))
    return float(first @ second / np.sqrt((first @ first) * (second @ second)))


def alike(values: NDArray[np.floating[Any]]) -> bool:
    """Return whether all values (n,) are equal, exactly; their variance may be nonzero by rounding."""
    return len(values) == 0 or bool(np.min(values) == np.max(values))


def _ranks(values: Numbers) -> Numbers:
    _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: Numbers = (last - (counts - 1) / 2)[codes]
    return mean


def loss(truth: Numbers, predicted: Numbers) -> float:
    """Return the mean loss per token, in nats; NaN without any token.

    `predicted` has shape (texts, 2): each text's mean loss and its number of tokens.
    """
    means, tokens = predicted[:, 0], predicted[:, 1]
    return float(np.average(means, weights=tokens)) if np.any(tokens) else float("nan")


def perplexity(truth: Numbers, predicted: Numbers) -> float:
    """Return the exponential of the mean loss per token; `predicted` is as for `loss`."""
    return float(np.exp(loss(truth, predicted)))


def preference_loss(truth: Numbers, predicted: Numbers) -> float:
    """Return the mean of -log sigmoid(margin), the loss of DPO, in nats.

    `predicted` is beta * (log p(chosen) - log p(rejected)) of each pair, and `truth` that of the reference model.
    """
    return float(np.mean(np.logaddexp(0, truth - predicted)))


def reward_accuracy(truth: Numbers, predicted: Numbers) -> float:
    """Return the share of pairs with a positive margin; the arrays are those of `preference_loss`."""
    return float(np.mean(predicted > truth))


def reward_margin(truth: Numbers, predicted: Numbers) -> float:
    """Return the mean margin, in nats times beta; the arrays are those of `preference_loss`."""
    return float(np.mean(predicted - truth))


def mrr(truth: Numbers, predicted: Numbers) -> float:
    """Return the mean reciprocal rank; `predicted` has the rank of each row's right answer, 1 for the best."""
    return float(np.mean(1 / predicted))


def ndcg_at_10(truth: Numbers, predicted: Numbers) -> float:
    """Return the mean of 1 / log2(1 + rank) for ranks up to ten, 0 for others; `predicted` is as for `mrr`."""
    return float(np.mean(np.where(predicted <= 10, 1 / np.log2(1 + predicted), 0)))


def accuracy_at_1(truth: Numbers, predicted: Numbers) -> float:
    """Return the share of rows whose rank is one; `predicted` is as for `mrr`."""
    return float(np.mean(predicted == 1))
