"""Sharpe ratios are judged by what was tried: against the papers' figures and figures made by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub_fin.stats.undefined import Undefined
from adapterhub_fin_markets.backtest.overfitting import probability_of_overfitting, sharpe_ratios
from adapterhub_fin_markets.backtest.sharpe import (
    Moments,
    deflated_sharpe,
    expected_maximum,
    haircut_sharpe,
    minimum_periods,
    moments,
    probabilistic_sharpe,
)

PAPER = Moments(2.5 / 250**0.5, 1250, -3, 10)  # Bailey and Lopez de Prado 2014: an annual ratio of 2.5 over five years
RETURNS = [0.01, -0.02, 0.03, 0, -0.01, 0.02]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (probabilistic_sharpe(Moments(0.1, 252)), 0.942986861),
        (probabilistic_sharpe(Moments(0.1, 252, -1, 6)), 0.933459001),
        (expected_maximum(100, 0.5 / 250), 0.113172002),
        (deflated_sharpe(PAPER, 100, 0.5 / 250), 0.900396834),
        (deflated_sharpe(PAPER, 46, 0.5 / 250), 0.950501707),
        (deflated_sharpe(Moments(2.5 / 250**0.5, 1250), 88, 0.5 / 250), 0.950490817),
        (expected_maximum(10, 1), 1.574598301),
        (expected_maximum(1000, 1), 3.255121514),
        (minimum_periods(Moments(0.1, 1, -1, 6)) / 1e4, 0.030199171),
        (moments(RETURNS).sharpe, 0.267261242),
        (moments(RETURNS).kurtosis, 1.731428571),
        (probabilistic_sharpe(moments(RETURNS)), 0.723660111),
        (haircut_sharpe(1, 120, 20, a_year=12), 0.657560316),
    ],
)
def test_published_figures(value: float, expected: float) -> None:
    assert value == pytest.approx(expected, abs=5e-10)


def test_one_trial_deflates_nothing() -> None:
    assert deflated_sharpe(PAPER, 1, 0.5) == probabilistic_sharpe(PAPER)
    ratios = [deflated_sharpe(PAPER, trials, 0.5 / 250) for trials in (1, 2, 10, 100, 1000)]
    assert all(first > second for first, second in pairwise(ratios))


def test_a_haircut_takes_more_of_more_trials_and_keeps_the_sign() -> None:
    assert haircut_sharpe(1, 120, 1, a_year=12) == pytest.approx(1)
    assert haircut_sharpe(-1, 120, 20, a_year=12) == -haircut_sharpe(1, 120, 20, a_year=12)
    assert haircut_sharpe(0.1, 120, 20, a_year=12) == 0


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (lambda: moments([0.01]), "it needs at least 2"),
        (lambda: moments([0.01, 0.01, 0.01]), "do not vary"),
        (lambda: moments([0.01, float("nan")]), "NaN or infinite"),
        (lambda: probabilistic_sharpe(Moments(0.1, 1)), "one period"),
        (lambda: probabilistic_sharpe(Moments(1.0, 10, 2.5, 1.0)), "no variance"),
        (lambda: expected_maximum(0, 1), "it needs one trial"),
        (lambda: minimum_periods(Moments(-0.1, 100)), "not above the benchmark"),
        (lambda: haircut_sharpe(1, 1, 1, a_year=12), "it needs 2 and 1"),
        (lambda: probability_of_overfitting(np.zeros((8, 1)), 4), "two strategies or more"),
        (lambda: probability_of_overfitting(np.zeros((8, 2)), 3), "an even number"),
        (lambda: probability_of_overfitting(np.zeros((3, 2)), 4), "a time for each block"),
        (lambda: probability_of_overfitting([[1, np.inf], [1, 2]], 2), "NaN or infinite"),
    ],
)
def test_what_has_no_value_says_why(compute: object, message: str) -> None:
    with pytest.raises(Undefined, match=message):
        compute()  # type: ignore[operator]


def test_overfitting_of_a_choice_made_by_hand() -> None:
    returns = [[3, 1, -1], [1, 1, 1], [-1, 2, 1], [-3, 1, 3]]
    estimate = probability_of_overfitting(returns, 4, lambda rows: rows.mean(0))
    logits = [-1.098612, 0, 1.098612, 0.510826, -1.098612, -1.098612]
    assert estimate.logits == pytest.approx(logits, abs=5e-7) and estimate.probability == pytest.approx(4 / 6)


def test_overfitting_of_eight_days_and_of_noise_with_one_skilled() -> None:
    days = [
        [0.02, 0.01, -0.01],
        [0.03, 0, 0.01],
        [-0.01, 0.01, 0.02],
        [-0.02, 0.02, 0.01],
        [0.01, 0.01, 0],
        [0.02, -0.01, 0.01],
        [-0.03, 0.01, 0.03],
        [-0.01, 0, 0.02],
    ]
    estimate = probability_of_overfitting(days, 4)
    assert estimate.logits == pytest.approx([0, -1.098612, 0, 0, -0.510826, 0], abs=5e-7) and estimate.probability == 1
    noise = np.random.default_rng(7).normal(0, 0.01, (64, 5))
    noise[:, 2] += 0.002
    skilled = probability_of_overfitting(noise, 8)
    assert skilled.probability == 5 / 70 and np.median(skilled.logits) == pytest.approx(1.6094379)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(17, 40), st.sampled_from([2, 6, 8]))
def test_merged_moments_judge_as_the_returns_themselves(seed: int, times: int, blocks: int) -> None:
    """With strategies that tie, one that never varies, and one that does nothing for half of the time."""
    returns = np.random.default_rng(seed).normal(0, 0.01, (times, 5))
    returns[:, 1], returns[:, 2], returns[: times // 2, 3] = returns[:, 0], 0.1, 0
    merged = probability_of_overfitting(returns, blocks)
    assert merged.logits == pytest.approx(
        probability_of_overfitting(returns, blocks, lambda rows: sharpe_ratios(rows)).logits
    )
    assert (sharpe_ratios(returns)[[0, 2]] == [sharpe_ratios(returns)[1], 0]).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10))
def test_units_change_no_judgement(seed: int, scale: float) -> None:
    returns = np.random.default_rng(seed).standard_t(4, (24, 3))
    first, second = moments(returns[:, 0]), moments(returns[:, 0] * scale)
    assert probabilistic_sharpe(first) == pytest.approx(probabilistic_sharpe(second), abs=1e-9)
    divided = probability_of_overfitting(returns, 6)
    assert np.allclose(divided.logits, probability_of_overfitting(returns * scale, 6).logits)
