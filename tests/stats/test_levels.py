"""Under no difference each test rejects as often as its level says, corrected ones less; under one, they find it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats as scipy_stats

from adapterhub_fin.stats.bayes import jzs
from adapterhub_fin.stats.corrections import benjamini_hochberg, holm
from adapterhub_fin.stats.paired import mcnemar, paired_t, sign_flip, swap, wilcoxon

Test = Callable[[np.ndarray, np.ndarray], float]
LEVEL, TIMES, ROWS = 0.05, 400, 80


def macro_f1(truth: np.ndarray, answers: np.ndarray) -> float:
    both = [np.sum((truth == label) & (answers == label)) for label in (0, 1)]
    counts = [np.sum(truth == label) + np.sum(answers == label) for label in (0, 1)]
    return float(np.mean(2 * np.array(both) / np.maximum(counts, 1)))


def swapped_f1(right_a: np.ndarray, right_b: np.ndarray) -> float:
    truth = np.arange(len(right_a)) % 2
    a, b = (np.where(right, truth, 1 - truth) for right in (right_a, right_b))

    def difference(mask: np.ndarray) -> float:
        return macro_f1(truth, np.where(mask, b, a)) - macro_f1(truth, np.where(mask, a, b))

    return swap(difference, np.arange(len(truth)), rounds=400).p


TESTS: dict[str, Test] = {
    "mcnemar": lambda a, b: mcnemar(a, b).p,
    "mid-p": lambda a, b: mcnemar(a, b, mid_p=True).p,
    "sign flip": lambda a, b: sign_flip(a - b, rounds=500).p,
    "paired t": lambda a, b: paired_t(a, b).p if (a != b).any() and len(set(a - b)) > 1 else 1.0,
    "wilcoxon": lambda a, b: wilcoxon(a, b).p if (a != b).any() else 1.0,
}


def binomial_bound(times: int, level: float) -> int:
    return int(scipy_stats.binom.ppf(0.995, times, level))


def answers(rng: np.random.Generator, gain: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return whether each side is right on each row: under a gain of 0 a coin says which answer is whose."""
    a, b = (rng.random(ROWS) < 0.7 + gain).astype(float), (rng.random(ROWS) < 0.7).astype(float)
    coin = rng.random(ROWS) < 0.5
    return (a, b) if gain else (np.where(coin, b, a), np.where(coin, a, b))


@pytest.mark.parametrize("name", TESTS)
def test_false_alarms_stay_within_the_level(name: str) -> None:
    rng = np.random.default_rng(0)
    alarms = sum(TESTS[name](*answers(rng)) < LEVEL for _ in range(TIMES))
    assert 0 < alarms <= binomial_bound(TIMES, LEVEL), f"{alarms} of {TIMES}"


@pytest.mark.parametrize("name", TESTS)
def test_a_planted_effect_is_found(name: str) -> None:
    rng = np.random.default_rng(1)
    assert sum(TESTS[name](*answers(rng, gain=0.2)) < LEVEL for _ in range(60)) > 40


def test_a_test_of_a_metric_that_is_no_mean_keeps_its_level_and_finds_effects() -> None:
    rng = np.random.default_rng(2)
    alarms = sum(swapped_f1(*answers(rng)) < LEVEL for _ in range(120))
    assert 0 < alarms <= binomial_bound(120, LEVEL)
    assert sum(swapped_f1(*answers(rng, gain=0.2)) < LEVEL for _ in range(12)) > 7


@pytest.mark.parametrize("correct", [holm, benjamini_hochberg])
def test_a_family_of_nulls_rarely_has_a_rejection(correct: Callable[[list[float]], np.ndarray]) -> None:
    rng = np.random.default_rng(3)
    families = [[mcnemar(*answers(rng), mid_p=True).p for _ in range(8)] for _ in range(TIMES)]
    alarms = sum(bool((correct(family) < LEVEL).any()) for family in families)
    raw = sum(min(family) < LEVEL for family in families)
    assert alarms <= binomial_bound(TIMES, LEVEL) < raw, f"{alarms} corrected, {raw} raw"


def test_dependent_rows_are_one_unit() -> None:
    """Ten copies of each row are no more evidence: tested row by row, a null is rejected often."""
    rng, units = np.random.default_rng(4), np.repeat(np.arange(20), 10)
    by_row = by_unit = 0
    for _ in range(200):
        difference = rng.normal(size=20)
        by_row += sign_flip(difference[units], rounds=200).p < LEVEL
        by_unit += sign_flip(np.bincount(units, difference[units]), rounds=200).p < LEVEL
    assert by_unit <= binomial_bound(200, LEVEL) < 50 < by_row


def test_a_bayes_factor_rarely_misleads() -> None:
    """P(BF > 3 | H0) is at most 1 / 3, and in fact far less."""
    rng = np.random.default_rng(5)
    factors = [jzs(rng.normal(size=30), np.zeros(30)).factor or np.inf for _ in range(40)]
    assert sum(factor > 3 for factor in factors) <= 3 and np.median(factors) < 0.5


def test_a_large_p_needs_few_rounds_and_is_the_same_to_its_error() -> None:
    rng = np.random.default_rng(6)
    a, b, drawn = rng.normal(0.02, 1, 60), rng.normal(0, 1, 60), []

    def difference(mask: np.ndarray) -> float:
        drawn.append(1)
        return float(np.mean(np.where(mask, b, a)) - np.mean(np.where(mask, a, b)))

    early = swap(difference, np.arange(60), rounds=10_000)
    exact = sign_flip(a - b, rounds=50_000)
    assert len(drawn) < 4000 and early.error is not None and abs(early.p - exact.p) < 4 * early.error
    assert early.error < 0.11 * early.p, "a hundred that reach it give p to a tenth"
