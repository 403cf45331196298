"""Regimes: told by the past alone, at bounds that are stated."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from adapterhub_fin.plugin import BadRecipe
from adapterhub_fin_markets.backtest.measures import measures
from adapterhub_fin_markets.backtest.regimes import (
    BEAR,
    BULL,
    REGIMES,
    SIDEWAYS,
    UNKNOWN,
    RegimeOptions,
    label_regimes,
    measures_by_regime,
)
from adapterhub_fin_markets.prices.panel import COLUMNS, Prices
from adapterhub_fin_markets.testing import random_bars

CASES = int(os.environ.get("AHF_CASES", "0"))  # of each property, where `make properties` asks for more
DAY = np.timedelta64(1, "D")


def panel(closes: Any, hours: float = 6.5) -> Prices:
    """Days of an exchange that is open for so long, or that never pauses with 24 hours."""
    closes = np.array(closes, float)
    closes = closes[:, None] if closes.ndim == 1 else closes
    starts = np.datetime64("2024-01-01T14:30", "us") + np.arange(len(closes)) * DAY
    columns: dict[str, Any] = dict.fromkeys(COLUMNS, closes)
    return Prices(
        tickers=tuple("abc"[: closes.shape[1]]),
        starts_at=starts,
        closes_at=starts + np.timedelta64(int(hours * 60), "m"),
        calendar="24/7",
        **columns,
    )


def of_bars(bars: Any, hours: float) -> Prices:
    return replace(panel(bars["close"], hours), **bars)


TWO_DAYS = RegimeOptions(window="2d", bull=0.1, bear=-0.1)


def test_a_bar_is_labelled_by_the_closes_before_it() -> None:
    prices = panel([100, 100, 111, 111, 105, 99, 80])
    assert label_regimes(prices, TWO_DAYS).tolist() == [UNKNOWN] * 3 + [BULL, BULL, SIDEWAYS, BEAR]


def test_where_bars_follow_without_a_pause_the_close_of_the_same_instant_is_not_known() -> None:
    """The bar that opens at a close can't fill what was decided at it."""
    prices = panel([100, 100, 111, 111, 105, 99, 80, 80], hours=24)
    assert label_regimes(prices, TWO_DAYS).tolist() == [UNKNOWN] * 4 + [BULL, BULL, SIDEWAYS, BEAR]


def test_the_market_is_the_mean_of_members_or_one_ticker() -> None:
    prices = panel([[100, 100], [100, 100], [130, 80], [130, 80]])
    assert label_regimes(prices, TWO_DAYS)[3] == SIDEWAYS
    assert label_regimes(prices, TWO_DAYS.model_copy(update={"of": "a"}))[3] == BULL
    members = replace(prices, members=np.array([[False, True]] * 4))
    assert label_regimes(members, TWO_DAYS)[3] == BEAR


def test_a_split_is_no_bear_market() -> None:
    splits = np.array([[1.0], [1], [2], [1]])
    prices = replace(panel([100, 100, 50, 50]), splits=splits, split_adjusted=False)
    assert label_regimes(prices, TWO_DAYS)[3] == SIDEWAYS


@settings(max_examples=CASES or 50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 79), st.sampled_from([6.5, 24]), st.sampled_from(["5d", "30h", "20d"]))
def test_no_later_price_changes_an_earlier_regime(seed: int, row: int, hours: float, window: str) -> None:
    """Of bars that start when the first changed price is not known yet."""
    options = RegimeOptions(window=window, bull=0.02, bear=-0.02)
    bars, later = random_bars(seed, 80, 3), random_bars(seed + 1, 80, 3)
    before = of_bars(bars, hours)
    after = of_bars({name: np.concatenate([bars[name][:row], later[name][row:]]) for name in COLUMNS}, hours)
    unchanged = before.starts_at <= before.closes_at[row]
    assert unchanged[: row + 1].all()
    first, second = label_regimes(before, options), label_regimes(after, options)
    assert (first[unchanged] == second[unchanged]).all()
    shorter = of_bars({name: bars[name][: row + 1] for name in COLUMNS}, hours)  # nor does whether there is a later bar
    assert (label_regimes(shorter, options) == first[: row + 1]).all()


def test_measures_are_of_the_periods_of_a_regime() -> None:
    labels = np.array([UNKNOWN, BULL, BULL, BEAR, BULL], np.int8)
    returns, turnover = np.array([0.5, 0.1, -0.05, -0.2, 0.02]), np.arange(5.0)
    by_name = measures_by_regime(labels, returns, turnover, a_year=252, cash_rate=0.02, benchmark=2 * returns)
    bull = labels == BULL
    interest = np.arange(5) / 1e4
    over = measures_by_regime(labels, returns, a_year=252, cash=interest)["bull"]
    assert over == measures(returns[bull], a_year=252, cash=interest[bull])
    expected = measures(returns[bull], turnover[bull], a_year=252, cash_rate=0.02, benchmark=2 * returns[bull])
    assert by_name["bull"] == expected and set(by_name) == set(REGIMES)
    assert sum(of.periods for of in by_name.values()) == 5
    assert by_name["sideways"].reasons["total_return"] == "0 periods: it needs at least 1"
    with pytest.raises(ValueError, match="one of each a period"):
        measures_by_regime(labels, returns[1:], a_year=252)


def test_wrong_options_say_what_to_do() -> None:
    with pytest.raises(ValidationError, match="bear must be below bull"):
        RegimeOptions(bull=-0.1, bear=0.1)
    with pytest.raises(ValidationError, match="pattern"):
        RegimeOptions(window="60B")
    with pytest.raises(BadRecipe, match="name one of a, b"):
        label_regimes(panel([[1, 2], [1, 2]]), RegimeOptions(of="z"))
