"""Measure BLEU and chrF of a whole set of answers, from 0 to 100, as sacrebleu does."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any, Literal

import numpy as np

from adapterhub_fin_plugins.written.arrays import Texts

Kind = Literal["BLEU", "CHRF"]


@cache
def _metric(kind: Kind) -> Any:
    from sacrebleu import metrics

    return getattr(metrics, kind)()


@lru_cache(maxsize=100_000)
def _counts(kind: Kind, true: str, answer: str) -> tuple[float, ...]:
    """Return the counts of one pair, whose sums over the rows make the score: a resample only adds them up again."""
    extracted: Sequence[Sequence[float]] = _metric(kind)._extract_corpus_statistics([answer], [[true]])
    return tuple(extracted[0])


def _corpus_score(kind: Kind, truth: Texts, predicted: Texts) -> float:
    if not len(truth):
        return float("nan")
    counts = [_counts(kind, str(true), str(answer)) for true, answer in zip(truth, predicted, strict=True)]
    summed = np.sum(np.array(counts), axis=0).tolist()
    return float(_metric(kind)._compute_score_from_stats(summed).score)


def bleu(truth: Texts, predicted: Texts) -> float:
    """Return BLEU of all rows together, 0 to 100 (Papineni et al. 2002): sacrebleu's, tokenized by 13a, smoothed exp.

    It is a score of the whole set, and not the mean of the rows' scores.
    """
    return _corpus_score("BLEU", truth, predicted)


def chrf(truth: Texts, predicted: Texts) -> float:
    """Return chrF of all rows together, 0 to 100 (Popovic 2015): sacrebleu's chrF2, of 1 to 6 characters."""
    return _corpus_score("CHRF", truth, predicted)
