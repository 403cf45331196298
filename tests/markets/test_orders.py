"""Orders: a decision fills at the first price strictly later, or is counted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from adapterhub_fin.plugin import BadRecipe
from adapterhub_fin_markets.backtest.fills import fill_prices, last_closes
from adapterhub_fin_markets.backtest.orders import Orders, place
from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.timing import decided_after
from adapterhub_fin_markets.testing import random_bars

DAY, NAN = np.timedelta64(1, "D"), np.nan


def exchange(bars: int = 8) -> Prices:
    """Return days that open at 14:30 and close at 21:00."""
    starts = np.datetime64("2024-01-01T14:30", "us") + np.arange(bars) * DAY
    closes = starts + np.timedelta64(390, "m")
    return Prices(tickers=("a", "b"), starts_at=starts, closes_at=closes, calendar="XNYS", **random_bars(0, bars, 2))


def always(bars: int = 8) -> Prices:
    """Return days of a market that never closes."""
    prices = exchange(bars)
    starts = prices.starts_at.astype("M8[D]").astype("M8[us]")
    return replace(prices, starts_at=starts, closes_at=starts + DAY, calendar="24/7")


def decided(prices: Prices, row: int, fill: Any = "next_open", at: Any = None) -> Orders:
    """Return the order of one decision about the first ticker, at the close of a row or at another instant."""
    at = decided_after(prices.closes_at[row]) if at is None else np.datetime64(at, "us")
    return place(np.array([at]), np.array([0]), np.array([0.5]), prices, fill)


def filled_at(orders: Orders) -> list[int]:
    return np.flatnonzero(~np.isnan(orders.weight[:, 0])).tolist()


@pytest.mark.parametrize(
    ("prices", "fill", "bar"),
    [
        (exchange(), "next_open", 4),
        (exchange(), "close", 4),
        (exchange(), "same_instant", 4),
        (always(), "next_open", 5),
        (always(), "close", 4),
        (always(), "same_instant", 4),
    ],
)
def test_a_decision_at_a_close_fills_by_the_rule(prices: Prices, fill: Any, bar: int) -> None:
    orders = decided(prices, 3, fill)
    assert filled_at(orders) == [bar] and orders.sized_at[bar, 0] == 3 and orders.fill == fill
    assert last_closes(prices, fill)[bar] == 3


def test_vwap_fills_in_a_bar_that_starts_later_at_its_turnover_over_volume() -> None:
    prices = exchange()
    average = (prices.low + prices.high) / 2
    prices = replace(prices, turnover=prices.volume * average)
    assert filled_at(decided(prices, 3, "vwap")) == [4]
    assert filled_at(decided(prices, 3, "vwap", "2024-01-05T15:00")) == [5]
    assert np.allclose(fill_prices(prices, "vwap"), average, rtol=1e-12)
    prices.volume[4, 0] = 0.0
    assert filled_at(decided(prices, 3, "vwap")) == [5]


@pytest.mark.parametrize(
    ("at", "fill", "bar", "sized"),
    [
        ("2024-01-04T14:29:59.999999", "next_open", 3, 2),
        ("2024-01-04T14:30", "next_open", 4, 2),  # an open at the very instant is not later
        ("2024-01-04T20:59:59.999999", "close", 3, 2),
        ("2024-01-04T21:00", "close", 4, 2),  # and that close is not known strictly before it
        ("2024-01-04T21:00:00.000001", "close", 4, 3),
        ("2023-12-31T00:00", "next_open", 0, -1),
    ],
)
def test_what_was_known_and_what_is_later_are_strict(at: str, fill: Any, bar: int, sized: int) -> None:
    orders = decided(exchange(), 0, fill, at)
    assert filled_at(orders) == [bar] and orders.sized_at[bar, 0] == sized


def test_a_halted_ticker_fills_when_it_has_a_price_again_and_late_ones_when_they_list() -> None:
    prices = exchange()
    prices.open[4:6, 0] = NAN
    orders = decided(prices, 3)
    assert filled_at(orders) == [6] and orders.sized_at[6, 0] == 3
    prices.open[6, 0] = 0.0  # nobody trades at nothing
    assert filled_at(decided(prices, 3)) == [7]


def test_what_no_bar_fills_is_counted_by_its_reason() -> None:
    prices = exchange()
    prices.open[5:, 0] = NAN  # delisted
    at = decided_after(prices.closes_at)[[1, 2, 4, 5, 7, 2]]
    orders = place(at, np.array([0, 0, 0, 1, 1, -1]), np.full(6, 0.1), prices)
    assert orders.unfilled == {"no-later-price": 1, "no-later-bar": 1, "not-in-prices": 1}
    first, second = prices.tickers[:2]
    assert orders.tickers_of == {"no-later-price": {first: 1}, "no-later-bar": {second: 1}}
    assert np.argwhere(~np.isnan(orders.weight)).tolist() == [[2, 0], [3, 0], [6, 1]]


def test_a_later_decision_overtakes_one_that_has_not_filled() -> None:
    prices = exchange()
    prices.open[4:6, 0] = NAN
    at = decided_after(prices.closes_at)[[5, 3]]
    orders = place(at, np.array([0, 0]), np.array([0.2, 0.1]), prices)
    assert filled_at(orders) == [6] and orders.weight[6, 0] == 0.2 and orders.sized_at[6, 0] == 5
    assert orders.unfilled == {"overtaken": 1}
    both = place(at[[0, 0]], np.array([0, 1]), np.array([0.2, 0.1]), prices)  # of two tickers: neither overtakes
    assert both.weight[6].tolist() == [0.2, 0.1] and not both.unfilled


def test_same_instant_is_marked_where_it_has_an_effect_and_said_to_have_none_elsewhere() -> None:
    (marked,) = decided(always(), 3, "same_instant").notes
    assert "1 of 1 decisions fill at the very instant of the close" in marked
    (without,) = decided(exchange(), 3, "same_instant").notes
    assert "has no effect here: no bar on XNYS opens at the instant of a close" in without
    assert not decided(always(), 3).notes


AT = decided_after(exchange().closes_at)[:2]


@pytest.mark.parametrize(
    ("at", "ticker", "weight", "message"),
    [
        (AT[:0], [], [], "there is no decision to place"),
        (AT, [0], [0.1], "2 instants, 1 tickers, 1 weights"),
        (AT, [-1, -1], [0.1, 0.1], "no decision is about a ticker of the prices"),
        (AT, [0, 1], [0.1, NAN], "the weight of decision 2 is nan: give finite weights"),
        (AT, [0, 1], [np.inf, 0], "the weight of decision 1 is inf"),
        (np.array(["NaT", "2024-01-01"], "M8[us]"), [0, 1], [0, 0], "decision 1 has no instant"),
        (AT, [0, 2], [0, 0], "column 2, and the prices have 2"),
        (AT[[0, 0]], [1, 1], [0, 0], "two decisions about b at 2024-01-01T21:00:00.000001: keep one"),
    ],
)
def test_bad_decisions_are_refused_in_one_sentence(at: Any, ticker: Any, weight: Any, message: str) -> None:
    with pytest.raises((BadRecipe, BadPrices), match=message) as caught:
        place(at, np.array(ticker, int), np.array(weight, float), exchange())
    assert "\n" not in str(caught.value)


def test_two_decisions_at_once_about_what_is_not_in_the_prices_are_only_counted() -> None:
    orders = place(AT[[0, 0, 1]], np.array([-1, -1, 0]), np.zeros(3), exchange())
    assert orders.unfilled == {"not-in-prices": 2}


@pytest.mark.parametrize(
    ("changed", "fill", "message"),
    [
        (
            {"open": np.full((8, 2), NAN)},
            "next_open",
            "the prices have no opens to fill orders at",
        ),
        ({"close": np.full((8, 2), NAN)}, "close", "the prices have no closes to fill orders at"),
        ({}, "vwap", "the prices have no turnover, which fill vwap needs"),
        ({"turnover": np.full((8, 2), 1.0)}, "vwap", "a: turnover / volume on .* outside of .* of other units"),
    ],
)
def test_prices_that_lack_what_a_fill_needs_are_refused(changed: Any, fill: Any, message: str) -> None:
    with pytest.raises(BadPrices, match=message):
        decided(replace(exchange(), **changed), 3, fill)


def test_prices_without_bars_are_refused() -> None:
    with pytest.raises(BadPrices, match="the prices have no bar"):
        place(AT, np.array([0, 0]), np.zeros(2), exchange(0))


def test_the_last_close_to_decide_at_is_the_one_that_a_decision_would_fill_from() -> None:
    """For every bar and rule: a decision at that close fills there or before, and one a bar later fills later."""
    tight = replace(always(), closes_at=always().closes_at - np.timedelta64(1, "us"))  # opens when it is decided
    for prices in (exchange(), always(), tight):
        for fill in ("next_open", "close", "same_instant"):
            last: Any = last_closes(prices, fill)
            for bar in range(8):
                if last[bar] >= 0:
                    assert filled_at(decided(prices, int(last[bar]), fill))[0] <= bar
                if last[bar] + 1 < 8:
                    later = filled_at(decided(prices, int(last[bar]) + 1, fill))
                    assert not later or later[0] > bar


def test_a_table_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="sized_at has shape"):
        Orders(np.zeros((3, 2)), np.zeros((3, 1), np.int64))
