"""Intervals of measures: those of the measures themselves, of blocks, and never of a made-up number."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from adapterhub_fin.stats.bootstrap import stationary, stationary_draws
from adapterhub_fin.stats.undefined import Undefined
from adapterhub_fin_markets.backtest.annualisation import periods_a_year
from adapterhub_fin_markets.backtest.intervals import NAMES, bootstrap_intervals, equity_band
from adapterhub_fin_markets.backtest.measures import measures
from adapterhub_fin_markets.prices.tables import read_prices

NOISE = np.random.default_rng(3).normal(0.0005, 0.01, 500)


@pytest.mark.parametrize("cash_rate", [0.0, 0.05])
@pytest.mark.parametrize("name", NAMES)
def test_an_interval_is_of_the_measure(name: str, cash_rate: float) -> None:
    """Each resample has the very number that `measures` gives of it."""
    ours = bootstrap_intervals(NOISE, a_year=252, cash_rate=cash_rate, block=5.0, resamples=50, seed=4)
    theirs, block = stationary(
        NOISE,
        statistic=lambda days: getattr(measures(days, a_year=252, cash_rate=cash_rate), name),
        block=5.0,
        resamples=50,
        seed=4,
    )
    assert getattr(ours, name) == pytest.approx(theirs, abs=1e-9) and block == ours.block == 5


def test_what_cash_earned_is_drawn_with_its_period() -> None:
    interest = np.where(np.arange(500) % 5, 0.0001, 0.0003)
    plain = bootstrap_intervals(NOISE, a_year=252, block=3.0, resamples=100)
    over = bootstrap_intervals(NOISE + interest, a_year=252, cash=interest, block=3.0, resamples=100)
    assert over.sharpe == pytest.approx(plain.sharpe) and over.annual_return != plain.annual_return


def test_a_fall_from_the_start_counts() -> None:
    """Returns that only ever fall have a drawdown of all of them."""
    falling = -np.random.default_rng(1).uniform(0.001, 0.002, 60)
    of = bootstrap_intervals(falling, a_year=252, resamples=100)
    assert of.max_drawdown is not None and of.annual_return is not None
    assert (1 + of.annual_return[0]) ** (60 / 252) - 1 == pytest.approx(of.max_drawdown[0], abs=1e-9)


def test_the_same_seed_draws_the_same() -> None:
    first = bootstrap_intervals(NOISE, a_year=252, seed=1)
    assert first == bootstrap_intervals(NOISE, a_year=252, seed=1) != bootstrap_intervals(NOISE, a_year=252, seed=2)
    assert first.block is not None and first.block >= 1
    assert json.loads(json.dumps(first.document(), allow_nan=False))["resamples"] == 2000


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Of 200 series whose true Sharpe ratio is 1, between 90 and 99 % of the intervals hold it."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(200):
        days = rng.normal(0.01 / 252**0.5, 0.01, 250)
        interval = bootstrap_intervals(days, a_year=252, resamples=200, block=1.0).sharpe
        held += interval is not None and interval[0] <= 1 <= interval[1]
    assert 180 <= held <= 198


def test_slow_returns_have_wider_intervals_than_their_shuffled_days() -> None:
    slow = np.convolve(np.random.default_rng(5).normal(0, 0.01, 2020), np.ones(20) / 20, "valid")
    shuffled = np.random.default_rng(0).permutation(slow)
    first, second = (bootstrap_intervals(days, a_year=252).sharpe for days in (slow, shuffled))
    assert first is not None and second is not None
    assert first[1] - first[0] > 2 * (second[1] - second[0])


@pytest.mark.parametrize(
    ("returns", "reason"),
    [
        (np.zeros(50), "the returns do not vary"),
        ([0.01, -0.01], "2 periods: it needs at least 8"),
        ([0.01, -1.5] * 8, "the equity was zero or below from period 2 on"),
        ([np.nan] * 9, "a return is NaN, infinite or beyond 1e+100"),
    ],
)
def test_what_has_no_interval_has_a_reason(returns: list[float], reason: str) -> None:
    of = bootstrap_intervals(returns, a_year=252)
    assert of.sharpe is of.annual_return is of.max_drawdown is None
    assert of.reasons == dict.fromkeys(NAMES, reason)
    with pytest.raises(Undefined):
        equity_band(returns)


def test_a_measure_that_some_resamples_leave_undefined_has_a_reason() -> None:
    one = np.zeros(10)
    one[3] = 0.01
    of = bootstrap_intervals(one, a_year=252, resamples=200)
    assert of.sharpe is None and "of 200 resamples" in of.reasons["sharpe"] and of.annual_return is not None
    cash = 100_000 * 1.0001 ** np.arange(10)  # a resample of its returns alone varies by rounding
    interest = bootstrap_intervals(np.append(np.diff(cash) / cash[:-1], 0.01), a_year=252, resamples=200)
    assert interest.sharpe is None and "of 200 resamples" in interest.reasons["sharpe"]


def test_the_band_is_around_the_middle_and_widens() -> None:
    low, high = equity_band(NOISE, seed=3)
    assert (low < high).all() and high[-1] - low[-1] > 3 * (high[10] - low[10])
    assert low[-1] < np.prod(1 + NOISE) < high[-1]
    drawn, _ = stationary_draws(NOISE, lambda days: np.log1p(days).sum(), resamples=500, seed=3)
    assert np.log([low[-1], high[-1]]) == pytest.approx(np.quantile(drawn, [0.025, 0.975]))


def test_rows_of_several_columns_are_drawn_together() -> None:
    both = np.stack([NOISE, NOISE], axis=1)
    drawn, block = stationary_draws(both, lambda days: days.mean(0), resamples=20)
    assert drawn.shape == (20, 2) and (drawn[:, 0] == drawn[:, 1]).all() and np.ptp(drawn[:, 0]) > 0
    slow = np.convolve(np.random.default_rng(5).normal(0, 0.01, 519), np.ones(20) / 20, "valid")
    assert stationary_draws(np.stack([NOISE, slow], 1), np.mean)[1] == stationary_draws(slow, np.mean)[1] > 2 * block
    with pytest.raises(Undefined, match="vary"):
        stationary_draws(np.stack([NOISE, np.ones(500)], 1), np.mean)


def test_holding_bitcoin_has_the_figures_of_an_independent_computation(shared: Path) -> None:
    """385 days from December 2022 on, in blocks of 10: +154.4 %, a ratio of 2.26 [.21, 4.10], a fall of 20 %."""
    path = shared / "data" / "market_api" / "BTCUSDT_1d.csv"
    prices = read_prices(path, calendar="24/7", allow=["interpolated"])
    first = int(np.searchsorted(prices.starts_at, np.datetime64("2022-11-30")))
    closes = prices.close[first : first + 386, 0]
    days = np.diff(closes) / closes[:-1]
    of = measures(days, a_year=periods_a_year(prices.calendar, prices.interval))
    assert of.sharpe is not None and of.max_drawdown is not None and of.total_return is not None
    figures = (round(of.total_return, 3), round(of.sharpe, 2), round(of.max_drawdown, 2), of.periods)
    assert figures == (1.544, 2.26, -0.2, 385)
    interval = bootstrap_intervals(days, a_year=365, block=10.0, seed=0).sharpe
    assert interval is not None and np.round(interval, 2).tolist() == [0.21, 4.1]
