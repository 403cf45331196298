"""Compare the numbers of an answer with those of the truth, as quantities with units."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

import numpy as np

from adapterhub_fin_plugins.written.arrays import Texts, Weighted, weighted_mean
from adapterhub_fin_plugins.written.quantities import Quantity, quantities


@lru_cache(maxsize=100_000)
def _counted(text: str) -> Counter[Quantity]:
    return Counter(quantities(text))


def _shared(truth: Texts, predicted: Texts, of: Texts) -> Weighted:
    """Return the share of the quantities of `of` that both texts have, and how many they are, (rows,) each."""
    pairs = [(_counted(str(true)), _counted(str(answer))) for true, answer in zip(truth, predicted, strict=True)]
    shared = np.array([(true & answer).total() for true, answer in pairs], np.float64)
    weights = np.array([_counted(str(text)).total() for text in of], np.float64)
    return shared / np.where(weights, weights, 1), weights


def number_accuracy_rows(truth: Texts, predicted: Texts) -> Weighted:
    """Return the share of each truth's quantities that its answer has, and how many they are."""
    return _shared(truth, predicted, truth)


def number_accuracy(truth: Texts, predicted: Texts) -> float:
    """Return the share of the truth's quantities that the answers have; NaN where the truth has none.

    A quantity is right if value and unit agree: `$1.2bn` is `1,200 million dollars`, and neither `1.2 billion` nor
    `EUR 1.2bn`. Each one of the answer counts once.
    """
    return weighted_mean(*number_accuracy_rows(truth, predicted))


def number_precision_rows(truth: Texts, predicted: Texts) -> Weighted:
    """Return the share of each answer's quantities that its truth has, and how many they are."""
    return _shared(truth, predicted, predicted)


def number_precision(truth: Texts, predicted: Texts) -> float:
    """Return the share of the answers' quantities that the truth has; NaN where the answers have none.

    The others were made up, or are wrong. Quantities are compared as by `number_accuracy`.
    """
    return weighted_mean(*number_precision_rows(truth, predicted))
