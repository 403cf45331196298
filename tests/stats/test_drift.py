"""Drift statistics against scipy, hand-made cases, and their rate of false alarms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from adapterhub_fin.stats import drift
from adapterhub_fin.stats.undefined import Undefined


def test_psi_by_hand() -> None:
    p, q = np.array([50.5, 30.5, 20.5]) / 101.5, np.array([20.5, 30.5, 50.5]) / 101.5
    expected = ((q - p) * np.log(q / p)).sum()
    assert drift.population_stability([50, 30, 20], [20, 30, 50]) == pytest.approx(expected, rel=1e-12)
    assert drift.population_stability([50, 30, 20], [50, 30, 20]) == 0
    assert np.isfinite(drift.population_stability([100, 0], [0, 100]))


def test_bins_hold_equal_shares_and_ties_join_them() -> None:
    values = np.arange(100.0)
    assert drift.counts_by(values, drift.quantile_edges(values)).tolist() == [10] * 10
    assert drift.counts_by([1, 1, 2, 3], drift.quantile_edges([1, 1, 1, 2])).sum() == 4
    assert drift.counts_by([-9, 9], drift.quantile_edges([5, 5])).tolist() == [1, 1]


def test_the_expected_psi_is_its_mean_without_drift() -> None:
    rng, found = np.random.default_rng(0), []
    for _ in range(400):
        counts = (rng.multinomial(rows, np.full(10, 0.1)) for rows in (400, 200))
        found.append(drift.population_stability(*counts))
    assert np.mean(found) == pytest.approx(drift.expected_stability(10, 400, 200), rel=0.06)


def test_kolmogorov_smirnov_is_scipys() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=80), rng.normal(0.3, size=60)
    expected = stats.ks_2samp(a, b)
    assert drift.kolmogorov_smirnov(a, b) == drift.Shift(expected.statistic, expected.pvalue)


def test_category_shift_is_chi_squared_and_its_p_fishers_for_two() -> None:
    table = [[30, 10, 8], [12, 14, 9]]
    found = drift.category_shift(*table)
    expected = stats.chi2_contingency(table, correction=False)
    assert found.statistic == pytest.approx(expected.statistic, rel=1e-12)
    assert found.p == pytest.approx(expected.pvalue, abs=0.01)
    two = drift.category_shift([3, 9], [8, 2], draws=50_000)
    assert two.p == pytest.approx(stats.fisher_exact([[3, 9], [8, 2]]).pvalue, abs=0.005)


def test_energy_distance_in_one_dimension_is_scipys() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=30), rng.normal(1, size=20)
    found = drift.energy_distance(a[:, None], b[:, None])
    across = np.abs(a[:, None] - b[None]).mean()
    assert found.statistic == pytest.approx(stats.energy_distance(a, b) ** 2 / (2 * across), rel=1e-10)
    assert found.p <= 0.02


def test_permutations_count_the_observed_one() -> None:
    far = drift.energy_distance(np.zeros((9, 2)), np.ones((9, 2)), draws=99)
    assert far.p == 0.01 and far.statistic == 1
    assert drift.energy_distance(np.eye(4), np.eye(4)[::-1], draws=99).p == 1


def test_calibration_test_by_hand() -> None:
    sure, right = np.array([0.9, 0.8, 0.7, 0.6]), np.array([1.0, 0.0, 1.0, 1.0])
    weights = 1 - 2 * sure
    z = (((right - sure) * weights).sum()) / np.sqrt((weights**2 * sure * (1 - sure)).sum())
    found = drift.calibration_test(sure, right)
    assert abs(found.statistic) == pytest.approx(abs(z), rel=1e-12)
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-12)
    assert drift.calibration_test(np.full(200, 0.9), np.zeros(200)).statistic < -10


def test_mean_shift_is_scipys_permutation_test() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=25), rng.normal(0.6, size=20)

    def change(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.mean(y) - np.mean(x))

    expected = stats.permutation_test((a, b), change, n_resamples=9999, rng=np.random.default_rng(5))
    found = drift.mean_shift(a, b)
    assert found.statistic == pytest.approx(expected.statistic, rel=1e-12)
    assert found.p == pytest.approx(expected.pvalue, abs=0.01)


def _means(rng: np.random.Generator) -> float:
    a, b = rng.exponential(size=80), rng.exponential(size=50)
    return drift.mean_shift(a, b, draws=399, seed=int(rng.integers(2**31))).p


def _gauss(rng: np.random.Generator) -> float:
    return drift.kolmogorov_smirnov(rng.normal(size=120), rng.normal(size=90)).p


def _classes(rng: np.random.Generator) -> float:
    counts = (rng.multinomial(rows, [0.6, 0.3, 0.1]) for rows in (150, 80))
    return drift.category_shift(*counts, draws=399, seed=int(rng.integers(2**31))).p


def _vectors(rng: np.random.Generator) -> float:
    a, b = rng.normal(size=(40, 5)), rng.normal(size=(30, 5))
    return drift.energy_distance(a, b, draws=199, seed=int(rng.integers(2**31))).p


def _calibration(rng: np.random.Generator) -> float:
    sure = rng.uniform(0.4, 0.99, size=300)
    return drift.calibration_test(sure, rng.random(300) < sure).p


def _share(rng: np.random.Generator) -> float:
    return drift.share_shift((int(rng.binomial(300, 0.8)), 300), (int(rng.binomial(200, 0.8)), 200)).p


@pytest.mark.parametrize("p_value", [_gauss, _classes, _vectors, _means, _calibration, _share])
@pytest.mark.parametrize("level", [0.05, 0.1])
def test_without_drift_a_test_alarms_as_often_as_its_level_says(
    p_value: Callable[[np.random.Generator], float], level: float
) -> None:
    """Within the 99 % bound of a binomial; Fisher's test and the ties of chi-squared make rarer alarms."""
    rng, runs = np.random.default_rng(7), 500
    alarms = sum(p_value(rng) <= level for _ in range(runs))
    low, high = stats.binom.interval(0.99, runs, level)
    assert alarms <= high
    assert p_value is _share or alarms >= low


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: drift.population_stability([0, 0], [1, 2]), "no row"),
        (lambda: drift.kolmogorov_smirnov([1.0], []), "needs at least 1"),
        (lambda: drift.kolmogorov_smirnov([np.nan], [1.0]), "NaN"),
        (lambda: drift.category_shift([5, 0], [3, 0]), "one answer"),
        (lambda: drift.category_shift([5, 1], [0, 0]), "no row"),
        (lambda: drift.energy_distance(np.ones((3, 2)), np.ones((3, 2))), "are equal"),
        (lambda: drift.energy_distance(np.ones((1, 2)), np.ones((3, 2))), "one vector"),
        (lambda: drift.energy_distance(np.full((2, 2), np.nan), np.ones((3, 2))), "NaN"),
        (lambda: drift.calibration_test([1.0, 1.0], [1.0, 0.0]), "no variance"),
        (lambda: drift.share_shift((0, 0), (1, 2)), "no row"),
        (lambda: drift.mean_shift([1.0, 1.0], [1.0]), "do not vary"),
    ],
)
def test_what_is_undefined_gives_a_reason(call: Callable[[], object], reason: str) -> None:
    with pytest.raises(Undefined, match=reason):
        call()
