"""Measure how many of the truth's finance terms an answer has."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from adapterhub_fin.plugin import count_terms
from adapterhub_fin_plugins.written.arrays import Texts, Weighted, weighted_mean


@lru_cache(maxsize=100_000)
def terms_in(text: str) -> frozenset[str]:
    """Return the finance terms of a text; one that stands only within a longer term is not among them."""
    return frozenset(count_terms(text))


def term_recall_rows(truth: Texts, predicted: Texts) -> Weighted:
    """Return the share of each truth's finance terms that its answer has, and how many they are."""
    pairs = [(terms_in(str(true)), terms_in(str(answer))) for true, answer in zip(truth, predicted, strict=True)]
    weights = np.array([len(true) for true, _ in pairs], np.float64)
    shared = np.array([len(true & answer) for true, answer in pairs], np.float64)
    return shared / np.where(weights, weights, 1), weights


def term_recall(truth: Texts, predicted: Texts) -> float:
    """Return the share of the truth's finance terms that the answers have; NaN where the truth has none."""
    return weighted_mean(*term_recall_rows(truth, predicted))
