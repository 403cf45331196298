"""Compare texts by the hidden states of their tokens: BERTScore, and the similarity of their means.

The arrays are of `TokenStates`, one a row; their scores are of rows, and a metric is the mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapterhub_fin.plugin import TokenStates
from adapterhub_fin_plugins.written.arrays import Scores, mean

States = NDArray[Any]  # of TokenStates, (rows,)


def _cosines(true: TokenStates, answer: TokenStates) -> NDArray[np.float64]:
    """Return the cosine of each token of an answer with each of the truth, (answer's, truth's)."""
    return _unit(answer.states) @ _unit(true.states).T


def _unit(vectors: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    double = np.asarray(vectors, np.float64)
    lengths = np.linalg.norm(double, axis=-1, keepdims=True)
    return np.asarray(double / np.where(lengths, lengths, 1))


def _precision(true: TokenStates, answer: TokenStates) -> float:
    if not (answer.counts.any() and true.counts.any()):
        return 0.0
    return float(np.mean(_cosines(true, answer).max(1)[answer.counts]))


def _recall(true: TokenStates, answer: TokenStates) -> float:
    return _precision(answer, true)


def _f1(true: TokenStates, answer: TokenStates) -> float:
    precision, recall = _precision(true, answer), _recall(true, answer)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _similarity(true: TokenStates, answer: TokenStates) -> float:
    if not (answer.counts.any() and true.counts.any()):
        return 0.0
    first, second = (_unit(text.states.astype(np.float64).mean(0)) for text in (true, answer))
    return float(first @ second)


def _rows(score: Callable[[TokenStates, TokenStates], float], truth: States, predicted: States) -> Scores:
    return np.array([score(true, answer) for true, answer in zip(truth, predicted, strict=True)], np.float64)


def bertscore_precision_rows(truth: States, predicted: States) -> Scores:
    """Return, for each row, the mean over the answer's tokens of the best cosine with a token of the truth."""
    return _rows(_precision, truth, predicted)


def bertscore_precision(truth: States, predicted: States) -> float:
    """Return the mean BERTScore precision (Zhang et al. 2020), without idf and without rescaling.

    Special tokens are matched and not counted, as bert-score has it; an empty answer scores 0.
    """
    return mean(bertscore_precision_rows(truth, predicted))


def bertscore_recall_rows(truth: States, predicted: States) -> Scores:
    """Return, for each row, the mean over the truth's tokens of the best cosine with a token of the answer."""
    return _rows(_recall, truth, predicted)


def bertscore_recall(truth: States, predicted: States) -> float:
    """Return the mean BERTScore recall; see `bertscore_precision`."""
    return mean(bertscore_recall_rows(truth, predicted))


def bertscore_f1_rows(truth: States, predicted: States) -> Scores:
    """Return the harmonic mean of each row's precision and recall."""
    return _rows(_f1, truth, predicted)


def bertscore_f1(truth: States, predicted: States) -> float:
    """Return the mean BERTScore F1; see `bertscore_precision`."""
    return mean(bertscore_f1_rows(truth, predicted))


def semantic_similarity_rows(truth: States, predicted: States) -> Scores:
    """Return the cosine of each row's two mean vectors."""
    return _rows(_similarity, truth, predicted)


def semantic_similarity(truth: States, predicted: States) -> float:
    """Return the mean cosine, -1 to 1, of the means of both texts' token states; an empty answer scores 0."""
    return mean(semantic_similarity_rows(truth, predicted))
