"""Compute what the report draws of answers: calibration, confusion, and scores by class, length and time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy

if TYPE_CHECKING:
    import numpy as np
else:
    np = Lazy("numpy")

BINS = 10
_Z = 1.959964  # of a 95 % interval


@dataclass(frozen=True)
class Bin:
    """Hold the answers whose confidence lies in one bin: their number, mean confidence and share that is right."""

    rows: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Group:
    """Hold the mean score of some rows with its 95 % interval; `low` and `high` bound what they were grouped by."""

    low: Any
    high: Any
    rows: int
    score: float
    interval: tuple[float, float]


def calibration(confidence: Sequence[float], right: Sequence[float], bins: int = BINS) -> tuple[list[Bin], float]:
    """Return the bins that hold answers, and the expected calibration error (ECE, arXiv 1706.04599).

    Bins have one width, over 0 to 1. The error is the mean over the answers of how far their bin's mean confidence is
    from the share of it that is right.
    """
    places = np.minimum((np.asarray(confidence) * bins).astype(int), bins - 1)
    found = []
    for place in range(bins):
        inside = places == place
        if rows := int(inside.sum()):
            found.append(
                Bin(rows, float(np.mean(np.asarray(confidence)[inside])), float(np.mean(np.asarray(right)[inside])))
            )
    return found, sum(each.rows * abs(each.confidence - each.accuracy) for each in found) / len(confidence)


def confusion(truth: Sequence[str], given: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """Return the number of rows by true label (rows) and label given (columns): (labels, labels)."""
    places = {label: place for place, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), dtype=int)
    for true, answer in zip(truth, given, strict=True):
        counts[places[true], places[answer]] += 1
    return counts


def class_scores(counts: np.ndarray) -> dict[str, list[float]]:
    """Return precision, recall and F1 of each class of a confusion matrix, (classes, classes).

    Each is 0 where it is undefined, as in scikit-learn.
    """
    right = np.diag(counts).astype(float)
    precision = right / np.maximum(counts.sum(0), 1)
    recall = right / np.maximum(counts.sum(1), 1)
    f1 = 2 * right / np.maximum(counts.sum(0) + counts.sum(1), 1)
    return {"precision": precision.tolist(), "recall": recall.tolist(), "F1": f1.tolist()}


def grouped(scores: Sequence[float], keys: Sequence[Any], most: int, *, shares: bool) -> list[Group]:
    """Return the mean score by key, in at most `most` groups of like size; rows with one key stay in one group.

    With `shares` the scores are 0 or 1, and the intervals Wilson's; else they are those of a normal mean.
    """
    order = sorted(range(len(keys)), key=lambda row: (keys[row], row))
    size = math.ceil(len(order) / most)
    groups, start = [], 0
    while start < len(order):
        end = min(start + size, len(order))
        if len(order) - end < size / 2:  # what is left is no group of like size
            end = len(order)
        while end < len(order) and keys[order[end]] == keys[order[end - 1]]:
            end += 1
        rows = order[start:end]
        values = [scores[row] for row in rows]
        mean = math.fsum(values) / len(values)
        interval = _wilson(mean, len(values)) if shares else _normal(values, mean)
        groups.append(Group(keys[rows[0]], keys[rows[-1]], len(rows), mean, interval))
        start = end
    return groups


def _wilson(share: float, rows: int) -> tuple[float, float]:
    centre = (share + _Z**2 / (2 * rows)) / (1 + _Z**2 / rows)
    half = _Z * math.sqrt(share * (1 - share) / rows + _Z**2 / (4 * rows**2)) / (1 + _Z**2 / rows)
    return min(centre - half, share), max(centre + half, share)  # which rounding may put beside the share


def _normal(values: Sequence[float], mean: float) -> tuple[float, float]:
    if len(values) < 2:
        return mean, mean
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
    half = _Z * deviation / math.sqrt(len(values))
    return mean - half, mean + half
