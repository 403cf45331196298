"""Properties of the ledger over random markets: gaps, late listings, delistings, splits, dividends, every rule."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub_fin_markets.backtest.account import CUTS
from adapterhub_fin_markets.backtest.ledger import Ledger, run_ledger
from adapterhub_fin_markets.backtest.orders import Orders, place
from adapterhub_fin_markets.backtest.rules import Rules
from adapterhub_fin_markets.backtest.sizing import orders_of
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.timing import decided_after
from adapterhub_fin_markets.signals.table import Signals

CASES = int(os.environ.get("AHF_CASES", "0"))  # of each property, where `make properties` asks for more
DAY, NAN = np.timedelta64(1, "D"), np.nan
LEVELS = ("open", "high", "low", "close")
RULES = st.builds(
    Rules,
    fill=st.sampled_from(["next_open", "close", "vwap", "same_instant"]),
    size_at=st.sampled_from(["decision", "fill"]),
    rebalance=st.sampled_from(["on_change", "every_bar"]),
    positions=st.sampled_from(["long-only", "long-short"]),
    size=st.sampled_from([0.3, 1.0, "equal", "confidence", "inverse_volatility"]),
    max_gross=st.sampled_from([0.5, 1.0]),
    volatility_bars=st.just(2),
    hold=st.sampled_from(["keep", "flat"]),
    lot=st.sampled_from([0.0, 1.0, 0.01, 10.0]),
    costs_bp=st.sampled_from([0.0, 10.0, 200.0]),
    slippage_bp=st.sampled_from([0.0, 5.0, 100.0]),
    borrow_bp_year=st.sampled_from([0.0, 300.0]),
    funding_bp=st.sampled_from([0.0, 1.0, -1.0]),
    max_volume_share=st.sampled_from([None, 0.001, 0.1]),
    delisting_loss=st.sampled_from([0.0, 0.5, 1.0]),
    delisted_after=st.sampled_from([1, 3, 20]),
    cash_rate=st.sampled_from([0.0, 0.04]),
    capital=st.just(10_000.0),
)


def market(seed: int, bars: int, tickers: int, *, pauses: bool) -> Prices:
    """Return raw bars: some missing, some tickers listed late or gone early, with splits and dividends."""
    rng = np.random.default_rng(seed)
    shape = bars, tickers
    splits = np.where(rng.random(shape) < 0.05, rng.choice([2, 3, 1.5, 0.1], shape), 1.0)
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.05, shape), 0)) / np.cumprod(splits, 0)
    opened = close * np.exp(rng.normal(0, 0.02, shape))
    levels = {"open": opened, "high": np.fmax(opened, close), "low": np.fmin(opened, close), "close": close}
    rows = np.arange(bars)[:, None]
    first, end = rng.integers(-bars, bars, tickers), rng.integers(1, 3 * bars, tickers)
    there = (rng.random(shape) > 0.15) & (rows >= first) & (rows < end)
    there[0, 0] = True
    volume = np.where(there, rng.uniform(0, 5000, shape), NAN)
    starts = np.datetime64("2024-01-01T14:30", "us") + np.arange(bars) * DAY
    return Prices(
        tickers=tuple("ABCDEFG"[:tickers]),
        starts_at=starts,
        closes_at=starts + (np.timedelta64(390, "m") if pauses else DAY),
        calendar="XNYS" if pauses else "24/7",
        **{name: np.where(there, values, NAN) for name, values in levels.items()},
        volume=volume,
        turnover=volume * (opened + close) / 2,
        dividends=np.where(rng.random(shape) < 0.1, close * 0.05, 0.0),
        splits=splits,
        split_adjusted=False,
    )


def spliced(before: Prices, after: Prices, row: int) -> Prices:
    """Return the bars up to a row of one market, and those after it of another."""
    names = (*LEVELS, "volume", "turnover", "dividends", "splits")
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(before, name)[: row + 1], getattr(after, name)[row + 1 :]]) for name in names
    }
    return replace(before, **joined)


def decisions(prices: Prices, seed: int, *, short: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    bars, tickers = prices.close.shape
    rows, columns = _some(rng, bars + 1, tickers)
    weight = rng.uniform(-1 if short else 0, 1, len(rows)) / tickers * rng.choice([0, 1, 1, 1.3], len(rows))
    before = prices.starts_at[:1] - np.timedelta64(1, "h")  # when no close was known
    return np.concatenate([before, decided_after(prices.closes_at)])[rows], columns, weight


def _some(rng: np.random.Generator, bars: int, tickers: int) -> tuple[np.ndarray, np.ndarray]:
    chosen = rng.random((bars, tickers)) < 0.6
    chosen[0, 0] = True
    rows, columns = np.nonzero(chosen)
    return rows, columns


def signals(prices: Prices, seed: int) -> Signals:
    rng = np.random.default_rng(seed)
    bars, tickers = prices.close.shape
    rows, columns = _some(rng, bars, tickers)
    at, count = decided_after(prices.closes_at)[rows], len(rows)
    return Signals(
        at=at,
        ticker=columns.astype(np.int32),
        tickers=prices.tickers,
        signal=rng.integers(-1, 2, count).astype(np.int8),
        score=np.zeros(count),
        confidence=rng.random(count),
        actionable=rng.random(count) < 0.7,
        probabilities=np.full((count, 3), NAN),
        texts=[()] * count,
        text_at=np.full(count, np.datetime64("NaT"), "M8[us]"),
        known_at=at - 1,
        adapters=[()] * count,
    )


def placed(prices: Prices, seed: int, rules: Rules) -> Orders:
    return place(*decisions(prices, seed, short=rules.positions == "long-short"), prices, rules.fill)


MARKETS = {
    "seed": st.integers(0, 2**32),
    "bars": st.integers(3, 25),
    "tickers": st.integers(1, 5),
    "pauses": st.booleans(),
    "rules": RULES,
}


def near(one: np.ndarray, other: np.ndarray, scale: np.ndarray | float) -> bool:
    return bool((np.abs(one - other) <= 1e-9 * np.maximum(1, scale)).all())


@given(**MARKETS)
@settings(max_examples=CASES or 150, deadline=None)
def test_money_is_conserved_at_every_step(seed: int, bars: int, tickers: int, pauses: bool, rules: Rules) -> None:
    prices = market(seed, bars, tickers, pauses=pauses)
    ledger = run_ledger(prices, placed(prices, seed + 1, rules), rules)
    assert prices.splits is not None and prices.dividends is not None
    closed = np.zeros((bars, tickers))
    for row, column, shares in ledger.delistings:
        closed[row, column] += shares
    carried = ledger.shares + closed - ledger.filled  # after splits, before trades
    before = np.concatenate([np.zeros((1, tickers)), ledger.shares[:-1]])
    level = np.concatenate([np.zeros((1, tickers)), ledger.level[:-1]])
    if not rules.lot:
        assert near(carried, before * prices.splits, np.abs(before).max())
    else:
        lots = before * prices.splits / rules.lot
        assert near(carried, np.trunc(lots + np.sign(lots) * 1e-9) * rules.lot, np.abs(before).max())
    moves = (carried * (ledger.level - level / prices.splits)).sum(1)
    moves += (ledger.filled * (ledger.level - ledger.price)).sum(1)
    paid = ledger.commission + ledger.slippage + ledger.borrow + ledger.delisted
    change = np.diff(ledger.equity, prepend=rules.capital)
    scale = np.abs(ledger.equity) + (np.abs(carried) * ledger.level).sum(1) + ledger.traded
    assert near(change, moves + ledger.dividends + ledger.interest - paid, scale)
    assert near(ledger.dividends, (carried * prices.dividends).sum(1), scale)
    worth = np.abs(ledger.filled) * ledger.price * (1 + np.sign(ledger.filled) * rules.slippage_bp / 1e4)
    assert near(ledger.commission, worth.sum(1) * rules.costs_bp / 1e4, scale)
    short = (np.maximum(-before, 0) * level).sum(1)
    days = (np.arange(bars) > 0) * 1.0
    owed = short * days * (rules.borrow_bp_year / 1e4 / 360 + 3 * rules.funding_bp / 1e4)
    assert near(ledger.borrow, owed, scale)
    cash = np.concatenate([[0.0], ledger.cash[:-1]])
    assert near(ledger.interest, cash * rules.cash_rate / 360, scale)


@given(**MARKETS)
@settings(max_examples=CASES or 150, deadline=None)
def test_an_account_stays_within_its_rules(seed: int, bars: int, tickers: int, pauses: bool, rules: Rules) -> None:
    prices = market(seed, bars, tickers, pauses=pauses)
    orders = placed(prices, seed + 1, rules)
    ledger = run_ledger(prices, orders, rules)
    if rules.positions == "long-only":
        assert (ledger.cash >= 0).all() and (ledger.shares >= 0).all()
    if rules.lot:
        assert near(ledger.shares, np.rint(ledger.shares / rules.lot) * rules.lot, np.abs(ledger.shares).max())
    fillable = ledger.price > 0
    assert not ledger.filled[~fillable].any()
    assert np.isfinite(ledger.equity).all()
    if rules.max_volume_share is not None:
        assert (np.abs(ledger.filled) <= rules.max_volume_share * np.nan_to_num(prices.volume) * (1 + 1e-9)).all()
    assert not ledger.shares[-1][~np.isfinite(prices.close[-1])].any()
    trades = ledger.trades
    assert np.array_equal(trades.filled, ledger.filled[trades.row, trades.ticker])
    assert np.count_nonzero(ledger.filled) == np.count_nonzero(trades.filled)
    assert (np.abs(trades.filled) <= np.abs(trades.ordered) * (1 + 1e-9)).all()
    for code, reason in CUTS.items():
        assert ledger.unfilled.get(reason, 0) == np.count_nonzero(trades.cut == code)
    if rules.rebalance == "on_change":
        assert not ledger.filled[np.isnan(orders.weight)].any()


@given(**MARKETS, data=st.data())
@settings(max_examples=CASES or 150, deadline=None)
def test_the_future_changes_no_past(seed: int, bars: int, tickers: int, pauses: bool, rules: Rules, data: Any) -> None:
    """Later bars, splits, dividends and decisions become others; what the account had stays, to the last bit."""
    row = data.draw(st.integers(0, bars - 2))
    one = market(seed, bars, tickers, pauses=pauses)
    two = spliced(one, market(seed + 5, bars, tickers, pauses=pauses), row)
    assert same_past(
        run_ledger(one, placed(one, seed + 1, rules), rules),
        run_ledger(two, changed_later(one, two, seed, rules, row), rules),
        row,
    )


@given(**MARKETS, fill=st.sampled_from(["next_open", "close", "same_instant"]), data=st.data())
@settings(max_examples=CASES or 150, deadline=None)
def test_a_fill_knows_no_close_that_its_decision_did_not(
    seed: int, bars: int, tickers: int, pauses: bool, rules: Rules, fill: Any, data: Any
) -> None:
    """Change the close of the bar that fills, and that before it where the fill is at that very instant."""
    changed = {"fill": fill, "size_at": "decision", "positions": "long-short", "max_volume_share": None}
    rules = rules.model_copy(update=changed)
    row = data.draw(st.integers(0, bars - 1))
    one = market(seed, bars, tickers, pauses=pauses)
    first = row if pauses or fill != "next_open" else max(0, row - 1)
    close = one.close.copy()
    close[first : row + 1] *= data.draw(st.floats(0.5, 2))
    two = replace(one, close=close)
    fills = [run_ledger(prices, placed(prices, seed + 1, rules), rules).filled for prices in (one, two)]
    assert np.array_equal(fills[0][: row + 1], fills[1][: row + 1])


def changed_later(one: Prices, two: Prices, seed: int, rules: Rules, row: int) -> Orders:
    """Return the decisions of one market up to the close of a row, and others after it, placed on another market."""
    short = rules.positions == "long-short"
    early, late = decisions(one, seed + 1, short=short), decisions(two, seed + 9, short=short)
    until = decided_after(one.closes_at)[row]
    first, second = early[0] < until, late[0] >= until
    at, ticker, weight = (np.concatenate([a[first], b[second]]) for a, b in zip(early, late, strict=True))
    return place(at, ticker, weight, two, rules.fill)


@given(**MARKETS, data=st.data())
@settings(max_examples=CASES or 150, deadline=None)
def test_the_future_changes_no_size(seed: int, bars: int, tickers: int, pauses: bool, rules: Rules, data: Any) -> None:
    """The same with signals, whose weights are made by rule."""
    row = data.draw(st.integers(0, bars - 2))
    one = market(seed, bars, tickers, pauses=pauses)
    two = spliced(one, market(seed + 5, bars, tickers, pauses=pauses), row)
    early, late = signals(one, seed + 1), signals(two, seed + 9)
    until = decided_after(one.closes_at)[row]
    first, second = early.at < until, late.at >= until
    names = ("at", "ticker", "signal", "score", "confidence", "actionable", "probabilities", "text_at", "known_at")
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(early, name)[first], getattr(late, name)[second]]) for name in names
    }
    empty = [()] * len(joined["at"])
    both = replace(early, **joined, texts=empty, adapters=empty)
    assert same_past(
        run_ledger(one, orders_of(early, one, rules), rules), run_ledger(two, orders_of(both, two, rules), rules), row
    )


def same_past(one: Ledger, two: Ledger, row: int) -> bool:
    names = ("equity", "cash", "shares", "filled", "commission", "borrow", "dividends")
    return all(np.array_equal(getattr(one, name)[: row + 1], getattr(two, name)[: row + 1]) for name in names)


@given(**MARKETS)
@settings(max_examples=CASES or 150, deadline=None)
def test_signals_stay_within_their_gross_exposure(
    seed: int, bars: int, tickers: int, pauses: bool, rules: Rules
) -> None:
    prices = market(seed, bars, tickers, pauses=pauses)
    weight = orders_of(signals(prices, seed), prices, rules).weight
    assert (np.abs(np.nan_to_num(weight)) <= rules.max_gross + 1e-12).all()
    if rules.positions == "long-only":
        assert not (weight < 0).any()


@given(seed=st.integers(0, 2**32), rules=RULES)
@settings(max_examples=CASES or 100, deadline=None)
def test_the_order_of_decisions_does_not_matter(seed: int, rules: Rules) -> None:
    prices = market(seed, 15, 4, pauses=True)
    at, ticker, weight = decisions(prices, seed, short=rules.positions == "long-short")
    order = np.random.default_rng(seed).permutation(len(at))
    one, two = (
        run_ledger(prices, place(at[rows], ticker[rows], weight[rows], prices, rules.fill), rules)
        for rows in (slice(None), order)
    )
    assert np.array_equal(one.equity, two.equity) and one.unfilled == two.unfilled
