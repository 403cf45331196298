"""Measure the words that an answer shares with the truth: ROUGE, exact match and token F1, from 0 to 1."""

from __future__ import annotations

import re
import string
from collections import Counter
from functools import cache
from typing import Any

from adapterhub_fin_plugins.written.arrays import Scores, Texts, by_row, mean


@cache
def _scorer(kind: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([kind], use_stemmer=False)


def _rouge(kind: str, truth: Texts, predicted: Texts) -> Scores:
    scorer = _scorer(kind)
    return by_row(lambda true, answer: float(scorer.score(true, answer)[kind].fmeasure), truth, predicted)


def rouge1_rows(truth: Texts, predicted: Texts) -> Scores:
    """Return the F-measure of shared words of each row."""
    return _rouge("rouge1", truth, predicted)


def rouge1(truth: Texts, predicted: Texts) -> float:
    """Return the mean F-measure of shared words (Lin 2004), as rouge-score counts them, without stemming.

    Its words are runs of the letters a to z and of digits; a text in another script has none, and scores 0.
    """
    return mean(rouge1_rows(truth, predicted))


def rouge2_rows(truth: Texts, predicted: Texts) -> Scores:
    """Return the F-measure of shared pairs of words of each row."""
    return _rouge("rouge2", truth, predicted)


def rouge2(truth: Texts, predicted: Texts) -> float:
    """Return the mean F-measure of shared pairs of neighbouring words, as `rouge1` counts words."""
    return mean(rouge2_rows(truth, predicted))


def rouge_l_rows(truth: Texts, predicted: Texts) -> Scores:
    """Return the F-measure of the longest common subsequence of each row."""
    return _rouge("rougeL", truth, predicted)


def rouge_l(truth: Texts, predicted: Texts) -> float:
    """Return the mean F-measure of the longest common subsequence of words, as `rouge1` counts words."""
    return mean(rouge_l_rows(truth, predicted))


def normalized(text: str) -> str:
    """Return a text as SQuAD's evaluation compares it: in lower case, without punctuation, articles and extra spaces.

    Source: `evaluate-v1.1.py` and `evaluate-v2.0.py` of SQuAD (Rajpurkar et al. 2016, 2018), which agree in this.
    """
    bare = "".join(character for character in text.lower() if character not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def _match(true: str, answer: str) -> float:
    return float(normalized(true) == normalized(answer))


def exact_match_rows(truth: Texts, predicted: Texts) -> Scores:
    """Return 1 for each row whose answer is the truth, else 0."""
    return by_row(_match, truth, predicted)


def exact_match(truth: Texts, predicted: Texts) -> float:
    """Return the share of answers that are the truth, compared as SQuAD's evaluation does."""
    return mean(exact_match_rows(truth, predicted))


def _f1(true: str, answer: str) -> float:
    wanted, given = normalized(true).split(), normalized(answer).split()
    if not wanted or not given:
        return float(wanted == given)
    shared = sum((Counter(wanted) & Counter(given)).values())
    return 2 * shared / (len(wanted) + len(given))


def token_f1_rows(truth: Texts, predicted: Texts) -> Scores:
    """Return SQuAD's F1 of each row."""
    return by_row(_f1, truth, predicted)


def token_f1(truth: Texts, predicted: Texts) -> float:
    """Return the mean F1 of words, compared as SQuAD's evaluation does."""
    return mean(token_f1_rows(truth, predicted))
