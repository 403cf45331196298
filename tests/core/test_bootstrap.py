"""Intervals: as wide as theory says, drawn by whole units, the same again under a seed."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from adapterhub_fin.engine.bootstrap import Metric, intervals


def share(truth: np.ndarray, said: np.ndarray) -> float:
    return float(np.mean(truth == said))


def drawn(metric: Metric, truth: Any, said: Any, units: Any = None, **options: Any) -> Any:
    truth, said = np.array(truth), np.array(said)
    units = np.arange(len(truth)) if units is None else np.array(units)
    options = {"resamples": 2000, "seed": 0, "level": 0.95, **options}
    return intervals({"metric": metric}, truth, said, units, **options)["metric"]


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


@pytest.mark.parametrize("rows", [1, 2])
def test_few_rows_do_not_break_it(rows: int) -> None:
    low, high = drawn(share, np.ones(rows), np.ones(rows))
    assert (low, high) == (1.0, 1.0)
