"""Sizing: what share of equity a signal asks for, by rule, from nothing later than it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from adapterhub_fin.plugin import BadRecipe
from adapterhub_fin_markets.backtest.rules import Rules
from adapterhub_fin_markets.backtest.sizing import Decisions, orders_of, weigh
from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.timing import decided_after
from adapterhub_fin_markets.signals.table import Signals
from adapterhub_fin_markets.testing import random_bars

DAY, NAN = np.timedelta64(1, "D"), np.nan
SIDES = {"B": 1, "S": -1, "-": 0}


def prices(bars: int = 10, tickers: str = "XYZ") -> Prices:
    starts = np.datetime64("2024-01-01T14:30", "us") + np.arange(bars) * DAY
    closes = starts + np.timedelta64(390, "m")
    columns = random_bars(0, bars, len(tickers))
    return Prices(tickers=tuple(tickers), starts_at=starts, closes_at=closes, calendar="XNYS", **columns)


def signals(of: Prices, drawn: dict[str, str], confidence: dict[str, Any] | None = None, **changed: Any) -> Signals:
    """Return signals of a letter a close by ticker: B, S, - for HOLD, b and s below the threshold, . for none."""
    tickers = tuple(sorted(drawn))
    cells = [(row, column) for row in range(len(of)) for column, name in enumerate(tickers) if drawn[name][row] != "."]
    rows, columns = np.array(cells).T
    letters = [drawn[tickers[column]][row] for row, column in cells]
    at = decided_after(of.closes_at)[rows]
    arrays: dict[str, Any] = {
        "signal": np.array([SIDES[letter.upper()] for letter in letters], np.int8),
        "score": np.zeros(len(at)),
        "confidence": np.array([(confidence or {}).get(tickers[c], [0.5] * 30)[r] for r, c in cells], float),
        "actionable": np.array([letter in "BS" for letter in letters]),
        "probabilities": np.full((len(at), 3), NAN),
        "texts": [()] * len(at),
        "text_at": np.full(len(at), np.datetime64("NaT"), "M8[us]"),
        "known_at": at - 1,
        "adapters": [()] * len(at),
    }
    return Signals(at=at, ticker=columns.astype(np.int32), tickers=tickers, **{**arrays, **changed})


def panel(of: Prices, decisions: Decisions) -> list[list[float]]:
    """Return the weights by close and ticker, the last one where none is decided."""
    weights = np.zeros((len(of), len(of.tickers)))
    for at, column, weight in zip(decisions.at, decisions.ticker, decisions.weight, strict=True):
        row = np.flatnonzero(decided_after(of.closes_at) == at)[0]
        weights[row:, column] = weight
    return np.round(weights, 9).tolist()


P = prices(5)
LS = Rules(positions="long-short", size=0.25, max_gross=2)


def test_a_buy_opens_a_sell_turns_and_hold_keeps() -> None:
    made = signals(P, {"X": "B-S.B", "Y": ".sb-B"})
    assert panel(P, weigh(made, P, LS)) == [[0.25, 0, 0], [0.25, 0, 0], [-0.25, 0, 0], [-0.25, 0, 0], [0.25, 0.25, 0]]
    assert len(weigh(made, P, LS).at) == 4  # where a weight changes, and nowhere else


def test_hold_closes_where_it_is_flat_and_silence_keeps() -> None:
    made = signals(P, {"X": "B-S.b"})
    rules = LS.model_copy(update={"hold": "flat"})
    assert [row[0] for row in panel(P, weigh(made, P, rules))] == [0.25, 0, -0.25, -0.25, 0]


def test_a_sell_closes_where_positions_are_long_only() -> None:
    made = signals(P, {"X": "B-S.S", "Y": "S...B"})
    rules = LS.model_copy(update={"positions": "long-only"})
    assert [row[:2] for row in panel(P, weigh(made, P, rules))] == [[0.25, 0], [0.25, 0], [0, 0], [0, 0], [0, 0.25]]


def test_equal_divides_the_gross_exposure_among_the_open_positions() -> None:
    made = signals(P, {"X": "B--.-", "Y": ".S-.B", "Z": "..B.b"})
    rules = Rules(positions="long-short", size="equal", max_gross=0.9)
    third = 0.3
    expected = [[0.9, 0, 0], [0.45, -0.45, 0], [third, -third, third], [third, -third, third], [third, third, third]]
    assert panel(P, weigh(made, P, rules)) == expected


def test_a_number_is_less_where_the_cap_is_passed() -> None:
    made = signals(P, {"X": "B....", "Y": ".B...", "Z": "..B.."})
    rules = Rules(size=0.4, max_gross=1)
    assert panel(P, weigh(made, P, rules))[:3] == [[0.4, 0, 0], [0.4, 0.4, 0], [0.333333333] * 3]


def test_confidence_shares_in_proportion_and_changes_with_it() -> None:
    made = signals(P, {"X": "BB-.B", "Y": "S.b.-"}, {"X": [0.9, 0.3, 0.8, 0, 0], "Y": [0.3, 0, 0.9, 0, 0]})
    rules = Rules(positions="long-short", size="confidence")
    decisions = weigh(made, P, rules)
    assert [row[:2] for row in panel(P, decisions)] == [[0.75, -0.25], [0.5, -0.5], [0.5, -0.5], [0.5, -0.5], [0, -1]]
    assert decisions.left_out == {"no-confidence": 1}


def test_inverse_volatility_looks_at_past_returns_and_is_renewed_when_a_position_is() -> None:
    of = prices(30)
    of.close[:, 2] = 7.0  # does not move: no volatility
    made = signals(of, {"X": "." * 10 + "B" * 20, "Y": "." * 15 + "S" * 15, "Z": "." * 10 + "B" + "." * 19})
    rules = Rules(positions="long-short", size="inverse_volatility", volatility_bars=5)
    weights = np.array(panel(of, weigh(made, of, rules)))
    moves = of.close[1:] / of.close[:-1] - 1
    one, two = 1 / moves[10:15].std(0, ddof=1)[:2]
    assert (weights[10:15, 0] == 1).all() and weights[15:, 0] == pytest.approx(one / (one + two))
    assert weights[15:, 1] == pytest.approx(-two / (one + two)) and not weights[:, 2].any()
    assert weigh(made, of, rules).left_out == {"no-volatility": 1}
    early = signals(of, {"X": "B" + "." * 29})
    assert not len(weigh(early, of, rules).at) and not np.isfinite(orders_of(early, of, rules).weight).any()


def test_a_split_is_no_volatility() -> None:
    of = prices(12, "XY")
    splits = np.ones((12, 2))
    splits[6, 0] = 10
    raw = of.close / np.cumprod(splits, 0)
    split = replace(of, close=raw, splits=splits, split_adjusted=False)
    rules = Rules(size="inverse_volatility", volatility_bars=5)
    made = signals(of, {"X": "." * 9 + "B..", "Y": "." * 9 + "B.."})
    assert weigh(made, split, rules).weight == pytest.approx(weigh(made, of, rules).weight)


def test_what_has_no_close_yet_or_no_more_takes_no_share() -> None:
    of = prices(10)
    of.close[:4, 1] = NAN  # lists late
    of.close[5:, 2] = NAN  # is gone
    made = signals(of, {"X": "B-----------"[:10], "Y": "B" + "." * 9, "Z": "B" + "." * 9})
    decisions = weigh(made, of, Rules(delisted_after=3))
    weights = panel(of, decisions)
    assert weights[0] == [0.5, 0, 0.5] and weights[4] == [0.333333333] * 3 and weights[7] == [0.5, 0.5, 0]
    assert decisions.left_out == {"no-close": 1}


def test_who_is_no_member_of_the_universe_takes_no_share_and_who_leaves_it_is_closed() -> None:
    of = prices(6)
    members = np.ones((6, 3), bool)
    members[:2, 1] = members[3:, 0] = False
    made = signals(of, {"X": "B.....", "Y": "B...-.", "Z": "..B..."})
    decisions = weigh(made, replace(of, members=members), Rules())
    assert [row[0] for row in panel(of, decisions)] == [1, 1, 0.333333333, 0.333333333, 0, 0]
    assert [row[1] for row in panel(of, decisions)] == [0, 0, 0.333333333, 0.333333333, 0.5, 0.5]
    assert decisions.left_out == {"not-a-member": 1} and not weigh(made, of, Rules()).left_out


def test_tickers_without_prices_are_counted_and_none_in_common_is_refused() -> None:
    made = signals(P, {"X": "B....", "Q": "BS..-"})
    decisions = weigh(made, P, LS)
    assert decisions.left_out == {"not-in-prices": 2} and decisions.ticker.tolist() == [0]
    assert orders_of(made, P, LS).unfilled == {"not-in-prices": 2}
    with pytest.raises(BadPrices, match="about Q and the prices of X, Y, Z: they have no ticker in common"):
        weigh(signals(P, {"Q": "B...."}), P, LS)


def test_a_table_without_rows_or_confidence_is_refused_where_it_is_needed() -> None:
    made = signals(P, {"X": "B...."})
    empty = {name: getattr(made, name)[:0] for name in made.__dataclass_fields__ if name not in ("tickers", "facts")}
    with pytest.raises(BadRecipe, match="there is no signal"):
        weigh(replace(made, **empty), P, LS)
    unsure = signals(P, {"X": "B....", "Y": "..B.."}, {"Y": [NAN] * 5})
    with pytest.raises(BadRecipe, match="the signal of Y at 2024-01-03T21:00:00.000001 has no confidence"):
        weigh(unsure, P, Rules(size="confidence"))
    assert len(weigh(unsure, P, LS).at) == 2
