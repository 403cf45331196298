"""Paired tests, effect sizes, corrections: values of scipy, statsmodels and by hand, and every degenerate input."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests

from adapterhub_fin.stats.bayes import jzs
from adapterhub_fin.stats.corrections import benjamini_hochberg, bonferroni, holm
from adapterhub_fin.stats.effect_sizes import cliffs_delta, cohens_d, cohens_dz, hedges_g
from adapterhub_fin.stats.paired import mcnemar, paired_t, shapiro_wilk, sign_flip, swap, wilcoxon
from adapterhub_fin.stats.sample_size import smallest_difference
from adapterhub_fin.stats.undefined import Undefined

DATA = np.array([0.8, 0.3, -0.1, 0.5, 0.9, 0.2, 0.4, -0.3, 0.6, 0.7])
ZEROS = np.zeros(10)
PAIRED: list[Callable[[Any, Any], Any]] = [
    paired_t,
    wilcoxon,
    shapiro_wilk,
    mcnemar,
    lambda a, b: sign_flip(np.asarray(a) - np.asarray(b)),
    jzs,
    cohens_d,
    hedges_g,
    cohens_dz,
    cliffs_delta,
]


def numbers(result: Any) -> list[float]:
    if isinstance(result, float):
        return [result]
    values = [value for value in vars(result).values() if not isinstance(value, str) and value is not None]
    return [number for value in values for number in (value if isinstance(value, tuple) else (value,))]


def test_ten_rows_by_hand() -> None:
    t, w, flips = paired_t(DATA, ZEROS), wilcoxon(DATA, ZEROS), sign_flip(DATA)
    assert (t.statistic, t.p) == (pytest.approx(3.278150, abs=1e-6), pytest.approx(0.009557, abs=1e-6))
    assert (w.statistic, w.p) == (4.5, pytest.approx(0.015625))
    assert (flips.p, flips.error) == (18 / 1024, None)
    assert cohens_dz(DATA, ZEROS) == pytest.approx(1.036642, abs=1e-6)


@pytest.mark.parametrize("n", [3, 12, 200])
def test_scipy_gives_the_same(n: int) -> None:
    rng = np.random.default_rng(n)
    a, b = rng.normal(0.3, 1, n), rng.normal(0, 2, n)
    for ours, theirs in [
        (paired_t(a, b), scipy_stats.ttest_rel(a, b)),
        (wilcoxon(a, b), scipy_stats.wilcoxon(a, b)),
        (shapiro_wilk(a, b), scipy_stats.shapiro(a - b)),
    ]:
        assert (ours.p, ours.statistic) == (
            pytest.approx(theirs.pvalue, abs=1e-10),
            pytest.approx(theirs.statistic, abs=1e-10),
        )
    if n <= 12:
        theirs = scipy_stats.permutation_test((a - b,), np.sum, permutation_type="samples", n_resamples=np.inf)
        assert sign_flip(a - b).p == pytest.approx(theirs.pvalue, abs=1e-10)
    every = [np.sign(x - y) for x, y in itertools.product(a, b)]
    assert cliffs_delta(a, b) == pytest.approx(np.mean(every), abs=1e-12)
    pooled = math.sqrt(((n - 1) * a.var(ddof=1) + (n - 1) * b.var(ddof=1)) / (2 * n - 2))
    assert cohens_d(a, b) == pytest.approx((a.mean() - b.mean()) / pooled, abs=1e-12)
    factor = math.gamma(n - 1) / (math.sqrt(n - 1) * math.gamma(n - 1.5)) if n < 150 else 1 - 3 / (4 * (2 * n - 2) - 1)
    assert hedges_g(a, b) == pytest.approx(cohens_d(a, b) * factor, abs=1e-10 if n < 150 else 1e-6)


@pytest.mark.parametrize(("only_a", "only_b"), [(5, 15), (15, 5), (10, 25), (0, 4), (7, 7), (120, 90)])
def test_mcnemar_is_the_binomial(only_a: int, only_b: int) -> None:
    a = [1] * only_a + [0] * only_b + [1, 0]
    b = [0] * only_a + [1] * only_b + [1, 0]
    theirs = statsmodels_mcnemar([[1, only_a], [only_b, 1]], exact=True)
    assert mcnemar(a, b).p == pytest.approx(min(theirs.pvalue, 1.0), abs=1e-10)
    middle = mcnemar(a, b, mid_p=True).p
    observed = scipy_stats.binom.pmf(only_a, only_a + only_b, 0.5)
    assert middle == pytest.approx(1.0 if only_a == only_b else mcnemar(a, b).p - observed, abs=1e-12)


def test_mcnemar_as_printed() -> None:
    assert mcnemar([1] * 5 + [0] * 15, [0] * 5 + [1] * 15).p == pytest.approx(0.0413895, abs=1e-7)
    assert mcnemar([1] * 10 + [0] * 25, [0] * 10 + [1] * 25, mid_p=True).p == pytest.approx(0.0113310, abs=1e-7)


@pytest.mark.parametrize("n", [4, 40])
def test_swapping_answers_is_flipping_signs_where_the_metric_is_a_mean(n: int) -> None:
    rng = np.random.default_rng(n)
    a, b = rng.normal(0.3, 1, n), rng.normal(0, 1, n)

    def difference(mask: np.ndarray) -> float:
        return float(np.mean(np.where(mask, b, a)) - np.mean(np.where(mask, a, b)))

    swapped, flipped = swap(difference, np.arange(n), rounds=4000), sign_flip(a - b, rounds=4000)
    assert swapped.p == pytest.approx(flipped.p, abs=1e-12 if n <= 16 else 5 * (swapped.error or 0))
    assert (swapped.error is None) == (n <= 16)


def test_rows_of_a_unit_swap_together() -> None:
    """Of three documents there are eight patterns, however many rows they have: no p can be below a quarter."""
    a, b, units = np.arange(30) + 5.0, np.arange(30.0), np.repeat([4, 9, 2], 10)

    def difference(mask: np.ndarray) -> float:
        assert all(len(set(mask[units == unit])) == 1 for unit in (2, 4, 9))
        return float(np.mean(np.where(mask, b, a)) - np.mean(np.where(mask, a, b)))

    assert swap(difference, units).p == 0.25


def test_units_whose_answers_are_alike_are_not_tried_both_ways() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.normal(0.3, 1, 12), rng.normal(0, 1, 12)
    units, asked = np.repeat(np.arange(6), 2), [0]
    b[units % 2 == 0] = a[units % 2 == 0]
    b[2] = a[2]  # one row of a unit whose other row differs

    def difference(mask: np.ndarray) -> float:
        asked[0] += 1
        return float(np.mean(np.where(mask, b, a)) - np.mean(np.where(mask, a, b)))

    whole = swap(difference, units)
    assert asked == [1 + 2**6]
    assert swap(difference, units, differ=a != b) == whole and asked == [1 + 2**6 + 1 + 2**3]
    assert swap(difference, units, differ=np.zeros(12, dtype=bool)).p == 1


def test_a_monte_carlo_p_is_never_zero_and_its_error_is_right() -> None:
    far = sign_flip(np.ones(100), rounds=999)
    assert far.p == 1 / 1000 and far.error == pytest.approx(math.sqrt(far.p * (1 - far.p) / 999))
    differences = np.random.default_rng(0).normal(0.2, 1, 40)
    several = [sign_flip(differences, rounds=500, seed=seed) for seed in range(200)]
    assert np.std([each.p for each in several]) == pytest.approx(
        np.mean([each.error or 0 for each in several]), rel=0.2
    )
    assert sign_flip(differences, seed=3) == sign_flip(differences, seed=3) != sign_flip(differences, seed=4)


@pytest.mark.parametrize("p", [[0.01, 0.04, 0.03, 0.005], [0.2], [], [0.0, 1.0, 0.04, 0.04], [0.5] * 7])
def test_corrections_are_those_of_statsmodels(p: list[float]) -> None:
    for ours, name in [(bonferroni, "bonferroni"), (holm, "holm"), (benjamini_hochberg, "fdr_bh")]:
        theirs = multipletests(p, method=name)[1] if p else []
        assert ours(p) == pytest.approx(np.array(theirs), abs=1e-12)
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([0.5, float("nan")])


def test_corrections_by_hand() -> None:
    p = [0.01, 0.04, 0.03, 0.005]
    assert bonferroni(p) == pytest.approx([0.04, 0.16, 0.12, 0.02])
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert benjamini_hochberg(p) == pytest.approx([0.02, 0.04, 0.04, 0.02])


def test_pairs_that_are_equal_count_for_neither_side() -> None:
    assert (
        cliffs_delta([1, 2], [2, 2]) == -0.5
        and cliffs_delta([2, 2], [2, 2]) == 0.0
        and cliffs_delta([3], [1, 2]) == 1.0
    )


@pytest.mark.parametrize(
    ("score", "reason"), [(math.inf, "NaN or infinite"), (math.nan, "NaN or infinite"), (1e200, "beyond")]
)
def test_scores_that_can_t_be_computed_with_are_named(score: float, reason: str) -> None:
    for function in PAIRED:
        with pytest.raises(Undefined, match=reason):
            function(np.array([score, 0.0, 1.0]), np.zeros(3))


def test_the_smallest_difference_is_found_so_often() -> None:
    """A z-test of two sides finds it in as many draws as its power says, and half as often per side of the level."""
    for level, power, comparisons in [(0.95, 0.8, 1), (0.99, 0.5, 1), (0.95, 0.9, 10)]:
        true = smallest_difference(2.0, level=level, power=power, comparisons=comparisons)
        limit = 2.0 * scipy_stats.norm.ppf(1 - (1 - level) / comparisons / 2)
        assert scipy_stats.norm.sf(limit, true, 2.0) == pytest.approx(power)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(*[st.sampled_from([0.0, 1.0, 0.1, 0.1 + 1e-17, -3.5, 1e300, 1e-300, math.nan, math.inf])] * 2),
        max_size=6,
    )
)
def test_degenerate_scores_give_a_reason_or_finite_numbers(rows: list[tuple[float, float]]) -> None:
    a, b = (np.array([row[side] for row in rows]) for side in (0, 1))
    for function in PAIRED:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("error")
            try:
                result = function(a, b)
            except Undefined as reason:
                assert str(reason)[-1] != "." and len(str(reason)) > 10
                continue
        assert all(math.isfinite(number) for number in numbers(result)), (function, result)


@pytest.mark.parametrize("function", PAIRED)
def test_rows_of_two_lengths_are_refused(function: Callable[[Any, Any], Any]) -> None:
    if function in (cohens_d, hedges_g, cliffs_delta):
        return  # these take two samples
    with pytest.raises((Undefined, ValueError), match=r"pairs need one|broadcast"):
        function(DATA, DATA[:4])
