"""Intervals: as wide as theory says, drawn by whole units, the same again under a seed."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from sklearn.metrics import f1_score

from adapterhub_fin.stats.bootstrap import (
    Metric,
    bca,
    left_out,
    means_left_out,
    percentile,
    resampled,
    resampled_means,
    stationary,
)
from adapterhub_fin.stats.undefined import Undefined
from adapterhub_fin_plugins.metrics import macro_f1, r2, spearman


def share(truth: np.ndarray, said: np.ndarray) -> float:
    return float(np.mean(truth == said))


def drawn(metric: Metric, truth: Any, said: Any, units: Any = None, **options: Any) -> Any:
    truth, said = np.array(truth), np.array(said)
    units = np.arange(len(truth)) if units is None else np.array(units)
    level = options.pop("level", 0.95)
    options = {"resamples": 2000, "seed": 0, **options}
    return percentile(resampled({"metric": metric}, truth, said, units, **options)["metric"], level)


def test_the_interval_of_a_share_is_that_of_the_binomial() -> None:
    right = np.arange(400) < 280
    low, high = drawn(share, np.ones(400), right)
    width = 2 * 1.96 * np.sqrt(0.7 * 0.3 / 400)
    assert abs((low + high) / 2 - 0.7) < 0.005 and abs((high - low) / width - 1) < 0.1
    narrow = drawn(share, np.ones(400), right, level=0.5)
    assert low < narrow[0] < narrow[1] < high


def test_answers_of_one_unit_are_drawn_together() -> None:
    """Four copies of each answer are no more evidence than one, unless each is taken for a unit of its own."""
    right = np.random.default_rng(1).random(100) < 0.7
    copied, units = np.repeat(right, 4), np.repeat(np.arange(100), 4)
    assert drawn(share, np.ones(400), copied, units) == drawn(share, np.ones(100), right)
    low, high = drawn(share, np.ones(400), copied)
    once = drawn(share, np.ones(100), right)
    assert abs((once[1] - once[0]) / (high - low) - 2) < 0.3


def test_units_of_any_size_and_order_come_whole() -> None:
    rng = np.random.default_rng(2)
    units = rng.permutation(np.repeat([7, 3, 40, 11], [1, 2, 3, 5]))
    seen: list[np.ndarray] = []

    def record(truth: np.ndarray, said: np.ndarray) -> float:
        seen.append(truth)
        return 0.0

    drawn(record, np.arange(len(units)), np.zeros(len(units)), units, resamples=50)
    assert len(seen) == 50 and len({len(rows) for rows in seen}) > 1
    for rows in seen:
        counts = np.bincount(rows, minlength=len(units))
        for unit in np.unique(units):
            assert len(set(counts[units == unit])) == 1, "a part of a unit was drawn without the rest"
        assert sum(counts[units == unit][0] for unit in np.unique(units)) == 4


def test_the_seed_decides_and_every_draw_is_told() -> None:
    def error(truth: np.ndarray, said: np.ndarray) -> float:
        return float(np.mean((truth - said) ** 2))

    truth, said = np.random.default_rng(3).normal(size=(2, 60))
    told: list[int] = []
    first, again, other = (drawn(error, truth, said, seed=seed, advance=told.append) for seed in (0, 0, 1))
    assert first == again != other and sum(told) == 6000
    widths = [high - low for low, high in (drawn(error, truth, said, level=level) for level in (0.5, 0.8, 0.95))]
    assert all(a < b for a, b in pairwise(widths))


def test_a_metric_that_a_resample_leaves_undefined_has_no_interval() -> None:
    def spread(truth: np.ndarray, said: np.ndarray) -> float:
        return float(np.std(truth)) or float("nan")

    assert drawn(spread, [1.0, 2.0], [0.0, 0.0]) is None
    assert drawn(spread, np.arange(50.0), np.zeros(50)) is not None


@settings(max_examples=20, deadline=None)
@given(st.integers(3, 5), st.integers(1, 2), st.integers(40, 80), st.integers(0, 9), st.booleans())
def test_a_rare_label_counts_in_resamples_that_miss_it(
    labels: int, rare: int, rows: int, seed: int, right: bool
) -> None:
    """G 6: of the labels that happen to occur, a resample without the rare one has a better mean than all rows."""
    rng = np.random.default_rng(seed)
    truth = np.concatenate([rng.integers(labels - 1, size=rows), np.full(rare, labels - 1)])
    said = np.where(rng.random(len(truth)) < 0.9, truth, rng.integers(labels - 1, size=len(truth)))
    said[rows:] = labels - 1 if right else 0
    every = np.arange(labels)
    point = f1_score(truth, said, labels=every, average="macro", zero_division=0)
    metric = partial(macro_f1, labels=every)
    low, high = drawn(metric, truth, said, resamples=400, seed=seed)
    assert low <= point <= high
    assert high <= 1 if right else high <= (labels - 1) / labels + 1e-9
    assert drawn(metric, truth, said, resamples=400, seed=seed) == (low, high)


@settings(max_examples=30, deadline=None)
@given(st.floats(-1e6, 1e6, allow_nan=False), st.integers(3, 12), st.integers(0, 9))
def test_targets_that_a_resample_leaves_alike_give_no_interval(value: float, rows: int, seed: int) -> None:
    """G 36: one target of many differs, and a third of the resamples lack it; no end may be rounding over rounding."""
    truth = np.full(rows, value)
    truth[0] = value + 1 + abs(value)
    said = np.random.default_rng(seed).normal(size=rows)
    assert drawn(r2, truth, said, resamples=60) is None and drawn(spearman, truth, said, resamples=60) is None


@pytest.mark.parametrize("rows", [1, 2])
def test_few_rows_do_not_break_it(rows: int) -> None:
    low, high = drawn(share, np.ones(rows), np.ones(rows))
    assert (low, high) == (1.0, 1.0)


@pytest.mark.parametrize("units", [list(range(60)), [3, 3, 9] * 20, [1] + [2] * 59])
def test_means_by_sums_see_the_resamples_of_any_metric(units: list[int]) -> None:
    rng, clusters = np.random.default_rng(5), np.array(units)
    scores, weights = rng.normal(size=(60, 3)), rng.random((60, 3)) + 0.1
    metrics = {
        str(column): lambda truth, answers, column=column: np.average(answers[:, column], weights=truth[:, column])
        for column in range(3)
    }
    slow = resampled(metrics, weights, scores, clusters, resamples=40, seed=3)
    fast = resampled_means(scores, weights, clusters, resamples=40, seed=3)
    assert np.column_stack([slow[name] for name in "012"]) == pytest.approx(fast, abs=1e-12)
    by_hand = left_out(metrics["1"], weights, scores, clusters)
    assert means_left_out(scores[:, 1], weights[:, 1], clusters) == pytest.approx(by_hand, abs=1e-12)


def test_many_resamples_of_means_are_drawn_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(0).normal(size=(50, 2))
    options: dict[str, Any] = {"resamples": 101, "seed": 1}
    whole = resampled_means(scores, np.ones((50, 2)), np.arange(50), **options)
    monkeypatch.setattr("adapterhub_fin.stats.bootstrap._CHUNK", 700)
    assert (resampled_means(scores, np.ones((50, 2)), np.arange(50), **options) == whole).all() and whole.shape == (
        101,
        2,
    )


def test_bca_is_scipy_s_on_the_same_resamples() -> None:
    skewed = np.random.default_rng(4).exponential(size=40)
    theirs: Any = scipy_stats.bootstrap((skewed,), np.mean, method="BCa", n_resamples=999, rng=7)
    jackknife = means_left_out(skewed, np.ones(40), np.arange(40))
    ours = bca(theirs.bootstrap_distribution, float(skewed.mean()), jackknife, 0.95)
    assert ours == pytest.approx(tuple(theirs.confidence_interval), abs=1e-12)
    assert ours != pytest.approx(percentile(theirs.bootstrap_distribution, 0.95), abs=0.005)


def test_bca_without_variance_has_a_reason() -> None:
    with pytest.raises(Undefined, match="one side"):
        bca(np.ones(50), 0.5, np.ones(4), 0.95)
    with pytest.raises(Undefined, match="NaN"):
        bca(np.array([1.0, np.nan]), 0.5, np.ones(4), 0.95)
    assert bca(np.ones(50), 1.0, np.ones(4), 0.95) == (1.0, 1.0)


def test_a_series_has_the_interval_of_its_blocks() -> None:
    """Of an autoregression of .8 the mean varies (1 + .8) / (1 - .8) = 9 times as much as of independent days."""
    rng, rows = np.random.default_rng(8), 3000
    noise, series = rng.normal(size=rows), np.zeros(rows)
    for day in range(1, rows):
        series[day] = 0.8 * series[day - 1] + noise[day]
    (low, high), block = stationary(series, seed=1)
    independent = percentile(
        resampled_means(series[:, None], np.ones((rows, 1)), np.arange(rows), resamples=2000, seed=1)[:, 0], 0.95
    )
    assert independent is not None and block > 5
    assert 2.3 < (high - low) / (independent[1] - independent[0]) < 3.5
    assert stationary(series, seed=1) == ((low, high), block) != stationary(series, seed=2)
    assert stationary(noise, statistic=lambda days: float(np.std(days)))[0][0] > 0.9
    for wrong, reason in [(np.ones(50), "vary"), (np.ones(3), "at least 8"), ([np.nan] * 9, "NaN")]:
        with pytest.raises(Undefined, match=reason):
            stationary(wrong)
