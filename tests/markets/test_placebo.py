"""Placebos: a true null is rejected as often as the level says, for fast signals and slow ones."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from adapterhub_fin.stats.undefined import Undefined
from adapterhub_fin_markets.backtest.placebo import placebo
from adapterhub_fin_markets.backtest.vector_form import vector_returns

CASES = int(os.environ.get("AHF_CASES", "0"))  # of each property, where `make properties` asks for more
SEEDS, PERIODS = 300, 500


def test_the_figures_made_by_hand() -> None:
    net = vector_returns(np.array([0.0, 1, 1, 0, -1, -1]), np.array([0, 0.01, -0.02, 0.03, 0.01, -0.01]), 10)
    assert net == pytest.approx([0, 0, -0.021, 0.03, -0.001, 0.009], abs=1e-15)
    assert np.prod(1 + net) - 1 == pytest.approx(0.016427885, abs=5e-10)


def test_tickers_add_up_and_one_without_a_price_earns_nothing() -> None:
    weights, returns = np.array([[0.5, -0.5], [0.5, 0.0]]), np.array([[0.1, 0.02], [np.nan, 0.03]])
    assert vector_returns(weights, returns, 10, lag=0) == pytest.approx([0.05 - 0.01 - 0.001, -0.0005])


def random_case(seed: int, tickers: int, periods: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    weights, returns = rng.choice([-1.0, 0, 0.5, 1], (periods, tickers)), rng.normal(0, 0.02, (periods, tickers))
    returns[rng.random(returns.shape) < 0.05] = np.nan
    return (weights[:, 0], returns[:, 0]) if tickers == 1 else (weights, returns)


@settings(max_examples=CASES or 30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.sampled_from([0, 1, 2]), st.sampled_from([0.0, 25.0]))
def test_a_shift_is_the_vector_form_of_rolled_weights(seed: int, tickers: int, lag: int, costs_bp: float) -> None:
    weights, returns = random_case(seed, tickers)
    of = placebo(weights, returns, costs_bp, lag=lag, shifts=100, seed=seed)
    assert len(of.shifted) == len(weights) - 1, "there are no more shifts than that"
    rolled = [vector_returns(np.roll(weights, by, axis=0), returns, costs_bp, lag) for by in range(1, len(weights))]
    assert sorted(of.shifted) == pytest.approx(sorted(net.mean() / net.std(ddof=1) for net in rolled), abs=1e-12)
    own = vector_returns(weights, returns, costs_bp, lag)
    assert of.sharpe == pytest.approx(own.mean() / own.std(ddof=1), abs=1e-12)


def signals(rng: np.random.Generator, slow: bool) -> np.ndarray:
    """Random long and short signals: of each day its own, or each of 20 days."""
    if slow:
        return np.repeat(rng.choice([-1.0, 1.0], PERIODS // 20), 20)
    return rng.choice([-1.0, 0.0, 1.0], PERIODS)


def null_cases(slow: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(signals(rng := np.random.default_rng(seed), slow), rng.normal(0, 0.01, PERIODS)) for seed in range(SEEDS)]


@pytest.mark.parametrize("slow", [False, True])
def test_a_true_null_is_rejected_as_often_as_the_level_says(slow: bool) -> None:
    costs_bp = 10.0 if slow else 0.0
    p = np.array([placebo(*case, costs_bp, shifts=99).p for case in null_cases(slow)])
    rejected = int(np.count_nonzero(p <= 0.05))
    assert stats.binomtest(rejected, SEEDS, 0.05).pvalue > 0.001, rejected
    assert stats.kstest(p, "uniform").pvalue > 0.001


def test_permuting_days_one_by_one_rejects_a_true_null_of_slow_signals_too_often() -> None:
    rejected = 0
    for seed, (weights, returns) in enumerate(null_cases(slow=True)):
        rng = np.random.default_rng(seed)
        drawn = [vector_returns(weights, returns, 10)]
        drawn += [vector_returns(rng.permutation(weights), returns, 10) for _ in range(99)]
        own, *others = [net.mean() / net.std() for net in drawn]
        rejected += (1 + sum(other >= own for other in others)) / 100 <= 0.05
    assert rejected > 0.15 * SEEDS, rejected


def test_signals_shifted_in_time_give_the_distribution_of_the_null() -> None:
    """Of signals that know tomorrow: at their own time far beyond it, at any other within it."""
    returns = np.random.default_rng(9).normal(0, 0.01, 2000)
    of = placebo(np.sign(np.append(returns[1:], 1.0)), returns, shifts=400)
    assert of.p == pytest.approx(1 / 401) and of.sharpe > 1
    assert stats.kstest(of.shifted * 2000**0.5, "norm").pvalue > 0.001


def test_all_tickers_are_shifted_alike() -> None:
    """Two tickers that hedge each other stay hedged: what a shift earns is small beside one of them alone."""
    rng = np.random.default_rng(2)
    market, side = rng.normal(0, 0.02, 400), rng.choice([-1.0, 1.0], 400)
    returns = np.stack([market + rng.normal(0, 1e-4, 400), market + rng.normal(0, 1e-4, 400)], axis=1)
    of = placebo(np.stack([side, -side], axis=1), returns, 1.0)
    assert np.abs(of.shifted).min() > 0.3, "costs without the market's noise"


def test_the_seed_draws_shifts_and_never_none() -> None:
    weights, returns = random_case(4, 2, 300)
    first = placebo(weights, returns, shifts=50, seed=1)
    assert (first.shifted == placebo(weights, returns, shifts=50, seed=1).shifted).all()
    assert set(first.shifted) != set(placebo(weights, returns, shifts=50, seed=2).shifted)
    assert first.sharpe not in placebo(weights, returns, shifts=299).shifted
    assert first.document()["as_good"] + 1 == pytest.approx(first.p * 51)


def test_what_has_no_placebo_says_why() -> None:
    weights, returns = random_case(4, 2)
    with pytest.raises(Undefined, match="never change"):
        placebo(np.ones((40, 2)), returns)
    with pytest.raises(Undefined, match="at least 20"):
        placebo(weights[:19], returns[:19])
    with pytest.raises(ValueError, match="one of each"):
        placebo(weights, returns[:, :1])
    with pytest.raises(ValueError, match="NaN or infinite"):
        placebo(np.where(weights == 0, np.nan, weights), returns)
