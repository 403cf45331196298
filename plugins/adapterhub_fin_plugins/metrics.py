"""Compute metrics from two arrays with one row for each prediction: the truth and the prediction.

An undefined metric is NaN, which is never recorded, neither as a value nor as the end of an interval. Unless said
otherwise the arrays have shape (rows,). A metric that is a mean over rows stands below the function that scores them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]  # label numbers
Numbers = NDArray[np.float64]


def correct(truth: Labels, predicted: Labels) -> Numbers:
    """Return 1 for each correct prediction, and 0 for the others; a label set (rows, labels) is correct as a whole."""
    right = truth == predicted
    scores: Numbers = (right if right.ndim == 1 else right.all(1)).astype(np.float64)
    return scores


def accuracy(truth: Labels, predicted: Labels) -> float:
    """Return the share of correct predictions; of label sets (rows, labels), the share of rows with no label wrong."""
    return float(np.mean(correct(truth, predicted)))


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


def squared_errors(truth: Numbers, predicted: Numbers) -> Numbers:
    """Return the squared error of each row, in squared units of the target."""
    errors: Numbers = (truth - predicted) ** 2
    return errors


def mse(truth: Numbers, predicted: Numbers) -> float:
    """Return the mean squared error, in squared units of the target."""
    return float(np.mean(squared_errors(truth, predicted)))


def absolute_errors(truth: Numbers, predicted: Numbers) -> Numbers:
    """Return the absolute error of each row, in units of the target."""
    errors: Numbers = np.abs(truth - predicted)
    return errors


def mae(truth: Numbers, predicted: Numbers) -> float:
    """Return the mean absolute error, in units of the target."""
    return float(np.mean(absolute_errors(truth, predicted)))


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


def losses(truth: Numbers, predicted: Numbers) -> tuple[Numbers, Numbers]:
    """Return each text's mean loss per token, in nats, and its number of tokens, which weighs it.

    `predicted` has shape (texts, 2), and holds both.
    """
    return predicted[:, 0], predicted[:, 1]


def loss(truth: Numbers, predicted: Numbers) -> float:
    """Return the mean loss per token, in nats; NaN without any token. `predicted` is as for `losses`."""
    means, tokens = losses(truth, predicted)
    return float(np.average(means, weights=tokens)) if np.any(tokens) else float("nan")


def perplexity(truth: Numbers, predicted: Numbers) -> float:
    """Return the exponential of the mean loss per token; `predicted` is as for `loss`."""
    return float(np.exp(loss(truth, predicted)))


def preference_losses(truth: Numbers, predicted: Numbers) -> Numbers:
    """Return -log sigmoid(margin) of each pair, the loss of DPO, in nats.

    `predicted` is beta * (log p(chosen) - log p(rejected)) of each pair, and `truth` that of the reference model.
    """
    pairs: Numbers = np.logaddexp(0, truth - predicted)
    return pairs


def preference_loss(truth: Numbers, predicted: Numbers) -> float:
    """Return the mean loss of DPO, in nats; the arrays are those of `preference_losses`."""
    return float(np.mean(preference_losses(truth, predicted)))


def reward_correct(truth: Numbers, predicted: Numbers) -> Numbers:
    """Return 1 for each pair with a positive margin, 0 for the others; the arrays are those of `preference_losses`."""
    return (predicted > truth).astype(np.float64)


def reward_accuracy(truth: Numbers, predicted: Numbers) -> float:
    """Return the share of pairs with a positive margin; the arrays are those of `preference_losses`."""
    return float(np.mean(reward_correct(truth, predicted)))


def reward_margins(truth: Numbers, predicted: Numbers) -> Numbers:
    """Return the margin of each pair, in nats times beta; the arrays are those of `preference_losses`."""
    margins: Numbers = predicted - truth
    return margins


def reward_margin(truth: Numbers, predicted: Numbers) -> float:
    """Return the mean margin, in nats times beta; the arrays are those of `preference_losses`."""
    return float(np.mean(reward_margins(truth, predicted)))


def reciprocal_ranks(truth: Numbers, predicted: Numbers) -> Numbers:
    """Return 1 / rank of each row; `predicted` has the rank of each row's right answer, 1 for the best."""
    reciprocals: Numbers = 1 / predicted
    return reciprocals


def mrr(truth: Numbers, predicted: Numbers) -> float:
    """Return the mean reciprocal rank; `predicted` is as for `reciprocal_ranks`."""
    return float(np.mean(reciprocal_ranks(truth, predicted)))


def gains_at_10(truth: Numbers, predicted: Numbers) -> Numbers:
    """Return 1 / log2(1 + rank) of each rank up to ten, 0 for others; `predicted` is as for `reciprocal_ranks`."""
    gains: Numbers = np.where(predicted <= 10, 1 / np.log2(1 + predicted), 0)
    return gains


def ndcg_at_10(truth: Numbers, predicted: Numbers) -> float:
    """Return the mean gain of the first ten; `predicted` is as for `reciprocal_ranks`."""
    return float(np.mean(gains_at_10(truth, predicted)))


def first(truth: Numbers, predicted: Numbers) -> Numbers:
    """Return 1 for each rank that is one, 0 for the others; `predicted` is as for `reciprocal_ranks`."""
    scores: Numbers = (predicted == 1).astype(np.float64)
    return scores


def accuracy_at_1(truth: Numbers, predicted: Numbers) -> float:
    """Return the share of rows whose rank is one; `predicted` is as for `reciprocal_ranks`."""
    return float(np.mean(first(truth, predicted)))
