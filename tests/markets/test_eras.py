"""Predictions are scored era by era, by Numerai's figures and by figures made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub_fin.stats.undefined import Undefined
from adapterhub_fin_markets.scoring.eras import (
    by_era,
    neutralised,
    numerai_contribution,
    numerai_correlation,
    rank_ic,
)

PREDICTED, TARGET, META = [0.1, 0.4, 0.4, 0.8, 0.9], [0, 0.5, 0.25, 0.75, 1], [0.2, 0.1, 0.6, 0.5, 0.9]


def test_the_figures_of_numerai_s_own_tools() -> None:
    assert numerai_correlation(PREDICTED, TARGET) == pytest.approx(0.981056861934, abs=1e-12)
    assert numerai_correlation(PREDICTED, TARGET, heavy_tails=False) == pytest.approx(0.953153646, abs=5e-10)
    assert numerai_contribution(PREDICTED, META, TARGET) == pytest.approx(0.777215444, abs=5e-10)
    assert numerai_contribution(PREDICTED, META, TARGET, quarters=False) == pytest.approx(0.777215444 / 4, abs=5e-10)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(5, 40))
def test_only_the_order_of_predictions_counts(seed: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    predicted, target, meta = rng.normal(size=(3, rows))
    for score in (numerai_correlation, rank_ic):
        assert score(predicted, target) == pytest.approx(score(np.exp(predicted), target), abs=1e-9)
        assert score(-predicted, target) == pytest.approx(-score(predicted, target), abs=1e-9)
    assert numerai_contribution(meta, np.exp(meta), target) == pytest.approx(0, abs=1e-9)
    left = neutralised(predicted, meta)
    assert abs(left @ meta) < 1e-6 * rows and left.mean() == pytest.approx(0, abs=1e-9)
    assert left.std() == pytest.approx(1)


def test_eras_are_scored_apart_and_in_their_order() -> None:
    scored = by_era(rank_ic, ["2021-02", "2021-01", "2021-02", "2021-01"], [1, 1, 2, 2], [3, 9, 4, 8])
    assert scored.eras == ("2021-01", "2021-02") and scored.scores == pytest.approx([-1, 1])
    assert (scored.mean, scored.ratio) == (0, 0) and scored.sd == pytest.approx(2**0.5)
    alone = by_era(rank_ic, ["a", "a"], [1, 2], [1, 2])
    assert (alone.sd, alone.ratio) == (None, None)


@pytest.mark.parametrize(
    ("predicted", "target", "message"),
    [
        ([1, 1, 1], [1, 2, 3], "all predictions are equal"),
        ([1, 2, 3], [1, 1, 1], "all targets are equal"),
        ([1, 2], [1, 2, 3], "2 predictions and 3 targets"),
        ([1], [1], "it needs at least 2"),
        ([1, float("nan")], [1, 2], "NaN or infinite"),
    ],
)
def test_what_has_no_score_says_why(predicted: Any, target: Any, message: str) -> None:
    for score in (numerai_correlation, rank_ic, lambda one, other: numerai_contribution(one, one, other)):
        with pytest.raises(Undefined, match=message):
            score(predicted, target)


def test_an_era_without_a_score_is_named_and_not_left_out() -> None:
    with pytest.raises(Undefined, match="era 2021-02: all predictions are equal"):
        by_era(rank_ic, ["2021-01", "2021-01", "2021-02", "2021-02"], [1, 2, 3, 3], [1, 2, 3, 4])
    with pytest.raises(Undefined, match="nothing is left"):
        neutralised([1, 2, 3], np.eye(3))
