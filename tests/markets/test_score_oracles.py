"""Scores of an era agree with the libraries that define them."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numerai_tools import scoring as numerai
from scipy import stats
from sklearn.metrics import matthews_corrcoef

from adapterhub_fin.stats.undefined import Undefined
from adapterhub_fin_markets.scoring.direction import direction_mcc
from adapterhub_fin_markets.scoring.eras import neutralised, numerai_contribution, numerai_correlation, rank_ic

CASES = int(os.environ.get("AHF_CASES", "0"))  # of each property, where `make properties` asks for more


def drawn(seed: int, rows: int, ties: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions, a target and a meta model of one era."""
    rng = np.random.default_rng(seed)
    predicted, target, meta = rng.normal(size=(3, rows))
    if ties:
        predicted, target, meta = predicted.round(0), np.clip((target + 2) / 4, 0, 1).round(2), meta.round(1)
    for column in (predicted, target, meta):
        column[:2] = (0, 1)  # so that it varies
    return predicted, target, meta


@settings(max_examples=CASES or 60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(5, 60), st.booleans())
def test_scores_are_numerai_s_and_scipy_s(seed: int, rows: int, ties: bool) -> None:
    predicted, target, meta = drawn(seed, rows, ties)
    frame, truth, other = pd.DataFrame({"p": predicted}), pd.Series(target, name="t"), pd.Series(meta)
    assert numerai_correlation(predicted, target) == pytest.approx(numerai.numerai_corr(frame, truth)["p"], abs=1e-12)
    expected = numerai.correlation_contribution(frame, other, truth)["p"]
    quarters = bool((target >= 0).all() and (target <= 1).all())
    assert numerai_contribution(predicted, meta, target, quarters=quarters) == pytest.approx(expected, abs=1e-12)
    assert rank_ic(predicted, target) == pytest.approx(stats.spearmanr(predicted, target).statistic, abs=1e-12)
    ranks = numerai.gaussian(numerai.tie_kept_rank(frame))
    neutral = numerai.variance_normalize(numerai.neutralize(ranks, pd.DataFrame({"meta": meta})))["p"].to_numpy()
    assert neutralised(predicted, meta) == pytest.approx(neutral, abs=1e-9)


@settings(max_examples=CASES or 60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.sampled_from([0.0, 0.5]), st.booleans())
def test_directions_are_scored_as_scikit_learn_does(seed: int, rows: int, flat_below: float, hold: bool) -> None:
    rng = np.random.default_rng(seed)
    signals, target = rng.integers(-1, 2, rows) if hold else rng.choice([-1, 1], rows), rng.normal(size=rows)
    came = np.where(np.abs(target) <= flat_below, 0, np.sign(target)).astype(int)
    if len(set(signals.tolist())) == 1 or len(set(came.tolist())) == 1:
        with pytest.raises(Undefined, match="have one direction"):
            direction_mcc(signals, target, flat_below)
        return
    expected = matthews_corrcoef(came, signals)
    assert direction_mcc(signals, target, flat_below) == pytest.approx(expected, abs=1e-12)
    assert direction_mcc(signals * rng.uniform(0.1, 9, rows), target, flat_below) == pytest.approx(expected, abs=1e-12)


def test_a_target_of_just_the_size_is_flat() -> None:
    signals, target = [1, 0, -1, 0, 1], [0.9, 0.5, -0.9, -0.5, 0.51]
    assert direction_mcc(signals, target, 0.5) == pytest.approx(1)
    assert direction_mcc(signals, target, 0.49) < 0.9
    assert direction_mcc([1, 0, -1], [2, 0, -2]) == pytest.approx(1)
