"""What each rule does to an account, by hand."""

from __future__ import annotations

import re
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapterhub_fin import LookAhead
from adapterhub_fin.plugin import BadRecipe
from adapterhub_fin.plugin.options import checked
from adapterhub_fin_markets.backtest.account import CASH, VOLUME
from adapterhub_fin_markets.backtest.ledger import Ledger, run_ledger
from adapterhub_fin_markets.backtest.orders import Orders
from adapterhub_fin_markets.backtest.rules import Rules
from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.prices.panel import Prices

DAY, NAN = np.timedelta64(1, "D"), np.nan
FREE = Rules(costs_bp=0, capital=1000, size_at="fill")


def flat(levels: Any, **columns: Any) -> Prices:
    """Return days that open and close at the same level, (times, tickers)."""
    levels = np.array(levels, float)
    starts = np.datetime64("2024-01-01T14:30", "us") + np.arange(len(levels)) * DAY
    arrays: dict[str, Any] = {name: levels.copy() for name in ("open", "high", "low", "close")}
    arrays["volume"] = np.where(np.isnan(levels), NAN, 1e6)
    return Prices(
        tickers=tuple("XYZ"[: levels.shape[1]]),
        starts_at=starts,
        closes_at=starts + np.timedelta64(390, "m"),
        calendar="XNYS",
        **{
            **arrays,
            **{
                name: np.array(values, float) if name != "split_adjusted" else values
                for name, values in columns.items()
            },
        },
    )


def run(prices: Prices, weights: Any, rules: Rules = FREE, **changed: Any) -> Ledger:
    """Return the ledger of weights by the bar that fills them, each decided at the close before."""
    weights = np.array(weights, float)
    rules = rules.model_copy(update=changed)
    sized = np.arange(len(weights))[:, None] - np.ones(weights.shape, np.int64)
    return run_ledger(prices, Orders(weights, sized, rules.fill), rules)


def test_shares_are_sized_at_the_close_of_the_decision_and_cut_at_the_fill_to_the_cash_there_is() -> None:
    prices = flat([[100], [100], [100]])
    prices.open[1] = 125.0
    prices.close[1:] = 110.0
    by_close = run(prices, [[NAN], [0.5], [NAN]], size_at="decision")
    assert by_close.shares[1, 0] == 5 and by_close.cash[1] == 375 and by_close.equity.tolist() == [1000, 925, 925]
    by_fill = run(prices, [[NAN], [0.5], [NAN]])
    assert by_fill.shares[1, 0] == 4
    all_of_it = run(prices, [[NAN], [1.0], [NAN]], size_at="decision")
    assert all_of_it.shares[1, 0] == pytest.approx(8) and all_of_it.cash[1] >= 0
    assert all_of_it.unfilled == {"cash": 1} and all_of_it.trades.ordered[0] == 10


def test_an_order_is_sent_where_the_weight_changes_and_hold_keeps_the_shares() -> None:
    prices = flat([[100], [100], [200], [400]])
    weights = [[NAN], [0.5], [0.5], [NAN]]
    changed = run(prices, weights)
    assert changed.shares[:, 0].tolist() == [0, 5, 5, 5] and len(changed.trades) == 1
    every = run(prices, weights, rebalance="every_bar")
    assert every.shares[:, 0].tolist() == [0, 5, 3.75, 2.8125] and len(every.trades) == 3


def test_every_bar_is_sized_at_the_close_before_it() -> None:
    prices = flat([[100], [100], [100], [100]])
    prices.close[1] = 125.0
    ledger = run(prices, [[NAN], [0.5], [NAN], [NAN]], rebalance="every_bar", size_at="decision")
    assert ledger.shares[2, 0] == pytest.approx(0.5 * 1125 / 125)


def test_sales_pay_for_buys_of_the_same_bar_and_buys_are_cut_in_one_proportion() -> None:
    prices = flat([[100, 10, 20]] * 3)
    ledger = run(prices, [[1.0, NAN, NAN], [0.0, 0.5, 1.0], [NAN] * 3])
    assert ledger.cash[0] == 0 and ledger.shares[1, 0] == 0
    assert ledger.shares[1, 1:] == pytest.approx([100 / 3, 100 / 3]) and ledger.cash[1] == pytest.approx(0)
    assert ledger.unfilled == {"cash": 2}
    lots = run(prices, [[1.0, NAN, NAN], [0.0, 0.5, 1.0], [NAN] * 3], lot=1)
    assert lots.shares[1].tolist() == [0, 33, 33] and lots.cash[1] == pytest.approx(10)


@pytest.mark.parametrize(("weight", "shares"), [(0.077, 7), (-0.077, -7), (0.03, 0), (-0.03, 0)])
def test_lots_are_rounded_toward_zero(weight: float, shares: float) -> None:
    ledger = run(flat([[10.0], [10.0]]), [[weight], [NAN]], positions="long-short", lot=7 if abs(weight) > 0.05 else 5)
    assert ledger.shares[0, 0] == shares


def test_rounding_of_numbers_takes_no_lot() -> None:
    ledger = run(flat([[0.1], [0.1]]), [[0.3], [NAN]], positions="long-short", lot=1)
    assert 1000 * (0.3 / 0.1) < 3000 and ledger.shares[0, 0] == 3000


def test_a_long_only_order_leaves_room_for_its_own_costs() -> None:
    ledger = run(flat([[100], [100]]), [[0.5], [NAN]], costs_bp=100, slippage_bp=200)
    assert ledger.shares[0, 0] == pytest.approx(500 / (100 * 1.02 * 1.01)) and ledger.cash[0] == pytest.approx(500)
    free = run(flat([[100], [100]]), [[0.5], [NAN]], costs_bp=100, slippage_bp=200, positions="long-short")
    assert free.shares[0, 0] == 5


def test_commission_is_on_the_value_after_slippage() -> None:
    rules = Rules(costs_bp=10, slippage_bp=50, capital=1000, size_at="fill", positions="long-short")
    ledger = run(flat([[100], [100]]), [[0.5], [0.0]], rules)
    assert ledger.slippage.tolist() == [2.5, 2.5]
    assert ledger.commission == pytest.approx([0.5025, 0.4975])
    assert ledger.trades.price == pytest.approx([100.5, 99.5]) and ledger.equity[1] == pytest.approx(994)


def test_shorts_pay_for_every_day_between_closes_and_funding_at_every_eight_hours() -> None:
    prices = flat([[100], [120], [120]])
    starts = np.array(["2024-01-05T14:30", "2024-01-08T14:30", "2024-01-09T14:30"], "M8[us]")  # over a weekend
    prices = replace(prices, starts_at=starts, closes_at=starts + np.timedelta64(390, "m"))
    ledger = run(prices, [[-1.0], [NAN], [NAN]], positions="long-short", borrow_bp_year=360)
    assert ledger.borrow == pytest.approx([0, 1000 * 1e-4 * 3, 1200 * 1e-4])
    funded = run(prices, [[-1.0], [NAN], [NAN]], positions="long-short", funding_bp=1)
    assert funded.borrow == pytest.approx([0, 0.1 * 9, 0.12 * 3])
    assert run(prices, [[1.0], [NAN], [NAN]], borrow_bp_year=360, funding_bp=1).borrow.tolist() == [0, 0, 0]


def test_cash_earns_its_rate_and_debts_pay_it() -> None:
    prices = flat([[100], [100], [100]])
    assert run(prices, [[NAN], [NAN], [NAN]], cash_rate=0.036).interest == pytest.approx([0, 0.1, 0.10001])
    owed = run(prices, [[1.5], [NAN], [NAN]], positions="long-short", cash_rate=0.036)
    assert owed.interest[1] == pytest.approx(-0.05)


def test_splits_change_shares_and_fractions_of_a_lot_are_paid_in_cash() -> None:
    prices = flat([[30], [30], [20], [20]], splits=[[1], [1], [1.5], [1]], split_adjusted=False)
    whole = run(prices, [[NAN], [0.33], [NAN], [NAN]], lot=1)
    assert whole.shares[:, 0].tolist() == [0, 11, 16, 16]
    assert whole.cash[2] - whole.cash[1] == pytest.approx(0.5 * 20) and whole.equity[-1] == pytest.approx(1000)
    parts = run(prices, [[NAN], [0.33], [NAN], [NAN]])
    assert parts.shares[2, 0] == pytest.approx(16.5) and parts.cash[2] == parts.cash[1]
    adjusted = run(replace(prices, split_adjusted=True), [[NAN], [0.33], [NAN], [NAN]])
    assert adjusted.shares[2, 0] == pytest.approx(11)


def test_an_order_that_was_sized_before_a_split_buys_what_it_meant() -> None:
    prices = flat([[30], [15], [15]], splits=[[1], [2], [1]], split_adjusted=False)
    ledger = run(prices, [[NAN], [0.3], [NAN]], size_at="decision")
    assert ledger.shares[1, 0] == pytest.approx(20)


def test_a_split_while_a_ticker_is_halted_keeps_its_value() -> None:
    prices = flat([[30], [NAN], [15]], splits=[[1], [2], [1]], split_adjusted=False)
    ledger = run(prices, [[0.3], [NAN], [NAN]])
    assert ledger.shares[:, 0].tolist() == [10, 20, 20] and ledger.equity.tolist() == [1000, 1000, 1000]


def test_equity_at_a_fill_counts_a_halted_position_that_was_split() -> None:
    prices = flat([[30, 10], [NAN, 10], [15, 10]], splits=[[1, 1], [2, 1], [1, 1]], split_adjusted=False)
    ledger = run(prices, [[0.3, NAN], [NAN, 0.5], [NAN, NAN]])
    assert ledger.shares[1].tolist() == [20, 50]


def test_dividends_move_cash_on_their_day_and_shorts_pay_them() -> None:
    prices = flat([[100], [100], [99], [99]], dividends=[[0], [0], [1], [0]])
    long = run(prices, [[NAN], [0.5], [NAN], [NAN]])
    assert long.dividends.tolist() == [0, 0, 5, 0] and long.equity[-1] == pytest.approx(1000)
    short = run(prices, [[NAN], [-0.5], [NAN], [NAN]], positions="long-short")
    assert short.dividends.tolist() == [0, 0, -5, 0] and short.equity[-1] == pytest.approx(1000)
    late = run(prices, [[NAN], [NAN], [0.5], [NAN]])  # bought on the day without it
    assert not late.dividends.any()
    adjusted = run(replace(prices, dividend_adjusted=True, adjusted_as_of="2024-01-03"), [[NAN], [0.5], [NAN], [NAN]])
    assert not adjusted.dividends.any()


def test_a_dividend_after_a_split_of_its_day_is_on_the_new_shares() -> None:
    prices = flat([[30], [14]], splits=[[1], [2]], dividends=[[0], [1]], split_adjusted=False)
    assert run(prices, [[0.3], [NAN]]).dividends.tolist() == [0, 20]


def test_the_volume_caps_an_order_and_the_rest_is_left_unfilled() -> None:
    prices = flat([[10], [10], [10]], volume=[[100], [100], [NAN]])
    ledger = run(prices, [[0.5], [0.4], [0.0]], max_volume_share=0.1)
    assert ledger.shares[:, 0].tolist() == [10, 20, 20] and ledger.unfilled == {"volume": 3}
    assert ledger.trades.ordered.tolist() == [50, 30, -20] and ledger.trades.cut.tolist() == [VOLUME] * 3
    every = run(prices, [[0.5], [NAN], [NAN]], max_volume_share=0.1, rebalance="every_bar")
    assert every.shares[:, 0].tolist() == [10, 20, 20]
    assert run(prices, [[0.5], [NAN], [NAN]], max_volume_share=0.1, lot=3).shares[0, 0] == 9


def test_cash_is_why_what_volume_left_was_cut_again() -> None:
    ledger = run(flat([[10], [10]], volume=[[2000], [2000]]), [[3.0], [NAN]], max_volume_share=0.1)
    assert ledger.shares[0, 0] == pytest.approx(100) and ledger.trades.cut.tolist() == [CASH]


def test_a_position_without_a_price_is_valued_at_its_last_and_can_t_be_traded() -> None:
    ledger = run(flat([[100], [NAN], [NAN], [120]]), [[0.5], [NAN], [0.0], [NAN]])
    assert ledger.equity.tolist() == [1000, 1000, 1000, 1100] and ledger.unfilled == {"no-price": 1}


@pytest.mark.parametrize(("weight", "after", "closed"), [(0.5, 2, 3), (0.5, 20, 5), (-0.5, 2, 3)])
def test_a_delisted_position_is_closed_at_its_last_price_less_the_loss(weight: float, after: int, closed: int) -> None:
    prices = flat([[100, 1], [80, 1], *[[NAN, 1]] * 4])
    rules = FREE.model_copy(update={"positions": "long-short", "delisted_after": after, "delisting_loss": 0.25})
    ledger = run(prices, [[weight, NAN], *[[NAN, NAN]] * 5], rules)
    assert ledger.delistings == ((closed, 0, weight * 10),)
    assert ledger.delisted[closed] == weight * 10 * 80 * 0.25
    assert ledger.equity[closed - 1] == 1000 - weight * 200 and not ledger.shares[-1].any()
    assert ledger.equity[-1] == ledger.cash[-1] == 1000 - weight * 200 - weight * 200


def test_what_lists_late_can_t_be_sized_before_its_first_close() -> None:
    prices = flat([[NAN], [100], [100]])
    assert run(prices, [[NAN], [0.5], [NAN]], size_at="decision").unfilled == {"no-close": 1}
    assert run(prices, [[NAN], [0.5], [NAN]]).shares[1, 0] == 5


def test_a_decision_before_the_first_bar_has_no_close_to_size_by() -> None:
    ledger = run(flat([[100], [100]]), [[0.5], [NAN]], size_at="decision")
    assert ledger.unfilled == {"no-close": 1} and not ledger.shares.any()


def test_an_account_that_lost_everything_buys_nothing_and_says_so() -> None:
    ledger = run(flat([[100], [300], [300]]), [[-1.0], [NAN], [0.5]], positions="long-short")
    assert ledger.equity.tolist() == [1000, -1000, -1000] and ledger.shares[:, 0].tolist() == [-10, -10, 0]
    assert ledger.notes == ("the account had lost all of its money by 2024-01-02T21:00:00.000000 UTC",)
    assert ledger.returns[:2].tolist() == [0, -2] and np.isnan(ledger.returns[2]) and np.isnan(ledger.weights[1]).all()


def test_lots_of_adjusted_shares_are_noted() -> None:
    prices = replace(flat([[100], [100]]), adjusted_as_of="2024-05-01")
    assert run(prices, [[0.5], [NAN]], lot=1).notes == (
        "lots are of shares as adjusted as of 2024-05-01, which nobody traded",
    )


def test_turnover_and_weights() -> None:
    ledger = run(flat([[100], [200]]), [[0.5], [0.0]])
    assert ledger.turnover.tolist() == [0.5, 1.0] and ledger.weights[:, 0].tolist() == [0.5, 0]
    assert ledger.returns.tolist() == [0, 0.5]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"capital": 0}, "capital: Input should be greater than 0"),
        ({"capital": -5}, "capital: Input should be greater than 0"),
        ({"fill": "same_bar"}, "fill: Input should be 'next_open', 'close', 'vwap' or 'same_instant'"),
        ({"lot": -1}, "lot: Input should be greater than or equal to 0"),
        (
            {"size": 0},
            "rules: size: a size is a number above 0, or one of equal, confidence, inverse_vol",
        ),
        ({"size": "kelly"}, "a size is a number above 0, or one of"),
        ({"cost_bp": 1}, "did you mean costs_bp"),
        ({"max_volume_share": 2}, "max_volume_share: Input should be less than or equal to 1"),
    ],
)
def test_rules_that_can_t_be_are_refused(changed: Any, message: str) -> None:
    with pytest.raises(BadRecipe, match=message):
        checked(Rules, changed, "rules")


def test_orders_that_are_not_of_the_rules_are_refused() -> None:
    prices = flat([[100], [100]])
    with pytest.raises(BadRecipe, match="placed by fill close, and the rules say next_open"):
        run_ledger(prices, Orders(np.zeros((2, 1)), np.zeros((2, 1), np.int64), "close"), FREE)
    with pytest.raises(BadRecipe, match="the orders are of 3 bars and 1 tickers, and the prices of 2 and 1"):
        run(prices, [[0], [0], [0]])
    with pytest.raises(BadRecipe, match="the weight of X at bar 2 is -0.5, and positions are long-only"):
        run(prices, [[0], [-0.5]])
    with pytest.raises(BadRecipe, match="a weight is infinite"):
        run(prices, [[0], [np.inf]])


@pytest.mark.parametrize(("fill", "sized", "right"), [("next_open", 1, 0), ("close", 1, 0), ("same_instant", 1, 0)])
def test_an_order_that_is_sized_by_the_bar_that_fills_it_is_refused(fill: Any, sized: int, right: int) -> None:
    prices, weights = flat([[100], [100]]), np.array([[NAN], [0.5]])
    rules = FREE.model_copy(update={"fill": fill})
    with pytest.raises(LookAhead, match="the order of X at bar 2 is sized by the close of bar 2, which is not known"):
        run_ledger(prices, Orders(weights, np.full((2, 1), sized), fill), rules)
    assert run_ledger(prices, Orders(weights, np.full((2, 1), right), fill), rules).shares[1, 0] == 5
    always = replace(prices, closes_at=prices.starts_at + DAY, calendar="24/7")
    with nullcontext() if fill != "next_open" else pytest.raises(LookAhead, match="sized by the close of bar 1"):
        run_ledger(always, Orders(weights, np.full((2, 1), right), fill), rules)


def test_orders_of_less_than_a_lot_are_counted_by_ticker() -> None:
    prices = flat([[100, 30]] * 4)
    ledger = run(prices, [[NAN, NAN], [0.5, 0.5], [0.05, 0.4], [0.5, 0.05]], lot=10, positions="long-short")
    assert ledger.shares[:, 0].tolist() == [0, 0, 0, 0] and ledger.shares[:, 1].tolist() == [0, 10, 10, 0]
    assert ledger.unfilled == {"lot": 3} and ledger.unfilled_tickers == {"lot": {"X": 3}}
    assert run(prices, [[NAN, NAN], [0.5, 0.5], [0.05, 0.4], [0.5, NAN]]).unfilled == {}


def test_what_is_not_filled_names_its_ticker() -> None:
    prices = flat([[100, 100], [100, NAN], [100, 100]])
    ledger = run(prices, [[NAN, NAN], [0.5, 0.5], [NAN, NAN]], max_volume_share=1e-6)
    assert ledger.unfilled == {"no-price": 1, "volume": 1}
    assert ledger.unfilled_tickers == {"no-price": {"Y": 1}, "volume": {"X": 1}}


def test_levels_that_leave_splits_open_are_refused() -> None:
    with pytest.raises(BadPrices, match="don't tell whether they reckon with the splits listed, such as X's"):
        run(flat([[30], [30], [17.3]], splits=[[1], [1], [3]]), [[0.3], [NAN], [NAN]])
    with pytest.raises(BadPrices, match="not to reckon with splits, and list none"):
        run(flat([[30], [30]], split_adjusted=False), [[0.3], [NAN]])


def test_the_table_of_rules_in_the_docs_is_that_of_the_options() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "markets.md").read_text(encoding="utf-8")
    section = page.split("## Backtest: ledger\n")[1].split("\n## ")[0]
    listed = dict(re.findall(r"^\| `(\w+)` \| `?([^`|]+?)`? \|", section.split("| `unfilled` |")[0], re.MULTILINE))
    shown = {
        name: str("none" if field.default is None else field.default) for name, field in Rules.model_fields.items()
    }
    assert listed == shown
    assert all(field.description for field in Rules.model_fields.values())
