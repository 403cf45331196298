"""Targets: what a decision could have earned, from its first possible fill on."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub_fin.plugin import BadRecipe, sessions
from adapterhub_fin_markets.features.targets import direction_targets, directions, fit_flat
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.testing import random_bars

CASES = int(os.environ.get("AHF_CASES", "0"))  # of each property, where `make properties` asks for more
NAN, DAY = np.nan, np.timedelta64(1, "D")


def exchange(bars: int = 60, seed: int = 0) -> Prices:
    """Days of an exchange that is open from 14:30 to 21:00."""
    return panel(np.datetime64("2024-01-01T14:30", "us") + np.arange(bars) * DAY, np.timedelta64(390, "m"), seed)


def always(bars: int = 60, seed: int = 0) -> Prices:
    """Days of a market that never closes."""
    return panel(np.datetime64("2024-01-01", "us") + np.arange(bars) * DAY, DAY, seed)


def panel(starts: np.ndarray, length: np.timedelta64, seed: int) -> Prices:
    bars = random_bars(seed, len(starts), 2)
    return Prices(tickers=("a", "b"), starts_at=starts, closes_at=starts + length, calendar="24/7", **bars)


def test_an_exchange_fills_at_the_next_open() -> None:
    prices = exchange()
    made = direction_targets(prices, 5)
    assert made.decided_at[30] == prices.closes_at[30] + np.timedelta64(1, "us")
    assert made.filled_at[30, 0] == prices.starts_at[31]
    assert made.label_known_at[30, 0] == prices.starts_at[36]
    expected = prices.open[36, 0] / prices.open[31, 0] - 1
    assert made.returns[30, 0] == pytest.approx(expected)
    close = prices.close[:, 0]
    volatility = np.std((close[1:] / close[:-1] - 1)[10:30], ddof=1)
    assert made.targets[30, 0] == pytest.approx(np.clip(expected / volatility / 5**0.5, -3, 3))


def test_a_market_that_never_closes_fills_a_bar_later() -> None:
    """Its next bar opens at the instant of the close, a microsecond before the decision."""
    prices = always()
    made = direction_targets(prices, 1)
    assert made.filled_at[30, 0] == prices.starts_at[32]
    assert made.returns[30, 0] == pytest.approx(prices.open[33, 0] / prices.open[32, 0] - 1)


def test_an_open_at_the_very_instant_of_the_decision_is_too_early() -> None:
    prices = panel(np.datetime64("2024-01-01", "us") + np.arange(60) * DAY, DAY - np.timedelta64(1, "us"), 0)
    made = direction_targets(prices, 1)
    assert made.decided_at[30] == prices.starts_at[31] and made.filled_at[30, 0] == prices.starts_at[32]


def test_a_halted_ticker_is_filled_when_it_opens_again() -> None:
    prices = exchange()
    prices.open[31:34, 0] = NAN
    made = direction_targets(prices, 2)
    assert made.filled_at[30, 0] == prices.starts_at[34] and made.label_known_at[30, 0] == prices.starts_at[36]
    assert made.filled_at[30, 1] == prices.starts_at[31]


def test_a_decision_that_can_t_be_sold_has_no_target() -> None:
    prices = exchange()
    prices.open[40:, 1] = NAN  # delisted
    made = direction_targets(prices, 5)
    assert np.isnan(made.targets[-6:, 0]).all() and np.isfinite(made.targets[20:-6, 0]).all()
    assert np.isnan(made.targets[34:, 1]).all() and np.isfinite(made.targets[33, 1])
    assert np.isnat(made.label_known_at[-6:]).all() and np.isnan(made.targets[:20]).all()


def test_flat_prices_have_no_target() -> None:
    prices = exchange()
    prices.close[:] = 5.0
    assert np.isnan(direction_targets(prices).targets).all()


def test_targets_are_clipped() -> None:
    prices = exchange()
    prices.open[36:] *= 100
    assert direction_targets(prices, 5).targets[30, 0] == 3
    assert direction_targets(prices, 5, clip=1.5).targets[30, 0] == 1.5


@pytest.mark.parametrize("wrong", [{"horizon": 0}, {"volatility": 1}, {"clip": 0.0}, {"clip": NAN}])
def test_what_can_t_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadRecipe, match="a target needs"):
        direction_targets(exchange(), **wrong)


def test_half_days_mourning_and_clock_changes() -> None:
    """Decisions at the close of the exchange's own calendar are filled at its next open."""
    days = sessions("XNYS", np.datetime64("2024-06-24").item(), np.datetime64("2025-02-15").item())
    instants = [[moment.replace(tzinfo=None) for moment in each] for each in (days.opens, days.closes)]
    starts, closes = (np.array(each, "datetime64[us]") for each in instants)
    prices = replace(panel(starts, DAY, 0), closes_at=closes, calendar="XNYS")
    made = direction_targets(prices, 1)
    for close, opening in (
        ("2024-07-03T17:00", "2024-07-05T13:30"),
        ("2024-11-29T18:00", "2024-12-02T14:30"),
        ("2025-01-08T21:00", "2025-01-10T14:30"),
        ("2024-07-31T20:00", "2024-08-01T13:30"),
    ):
        (row,) = np.flatnonzero(closes == np.datetime64(close))
        assert made.filled_at[row, 0] == np.datetime64(opening)


@given(seed=st.integers(0, 2**32), data=st.data(), horizon=st.integers(1, 6), open_always=st.booleans())
@settings(max_examples=CASES or 300, deadline=None)
def test_a_target_knows_nothing_after_its_label(seed: int, data: Any, horizon: int, open_always: bool) -> None:
    prices = (always if open_always else exchange)(40, seed)
    rng = np.random.default_rng(seed)
    prices.open[rng.random(prices.open.shape) < 0.2] = NAN
    before = direction_targets(prices, horizon, volatility=5)
    row = data.draw(st.integers(1, 39))
    for column in (prices.open, prices.close):
        column[row:] = rng.permutation(column[row:]) * 2
    after = direction_targets(prices, horizon, volatility=5)
    early = before.label_known_at < prices.starts_at[row]
    assert np.array_equal(before.targets[early], after.targets[early])
    filled = ~np.isnat(after.filled_at)
    decided = np.broadcast_to(after.decided_at[:, None], filled.shape)
    assert (after.filled_at[filled] > decided[filled]).all()
    assert (after.label_known_at[filled] > after.filled_at[filled]).all()


def test_flat_is_fitted_without_the_zeros() -> None:
    targets = np.array([0.0] * 100 + [-3.0, -2, -1, 1, 2, 3, NAN])
    assert fit_flat(targets) == pytest.approx(np.quantile([1, 1, 2, 2, 3, 3], 0.33))
    assert directions(np.array([-3.0, -1, 0, 1, 2.5]), 1.0).tolist() == [0, 1, 1, 1, 2]
    with pytest.raises(BadRecipe, match="all training targets are zero"):
        fit_flat(np.zeros(5))
