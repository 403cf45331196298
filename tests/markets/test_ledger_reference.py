"""The ledger beside a second one that shares none of its code: loops over bars and tickers, in plain numbers."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub_fin_markets.backtest.ledger import run_ledger
from adapterhub_fin_markets.backtest.orders import place
from adapterhub_fin_markets.backtest.rules import Rules
from adapterhub_fin_markets.prices.panel import Prices

CASES = int(os.environ.get("AHF_CASES", "0"))  # of each property, where `make properties` asks for more
DAY, NAN = 86_400_000_000, math.nan  # microseconds


class Reference:
    """An account that is kept the slow way."""

    def __init__(self, prices: Prices, decisions: list[tuple[int, int, float]], rules: Rules) -> None:
        self.p, self.r = prices, rules
        self.bars, self.tickers = range(len(prices)), range(len(prices.tickers))
        self.starts, self.closes = (
            a.astype("M8[us]").astype(int).tolist() for a in (prices.starts_at, prices.closes_at)
        )
        self.cash, self.shares = rules.capital, [0.0] * len(self.tickers)
        self.last: list[float] = [NAN] * len(self.tickers)
        self.orders: dict[tuple[int, int], tuple[float, int]] = {}
        for at, ticker, weight in sorted(decisions):
            for bar in self.bars:
                if self.fills_at(bar) > at and self.fill_price(bar, ticker) > 0:
                    self.orders[bar, ticker] = weight, sum(close < at for close in self.closes) - 1
                    break

    def fills_at(self, bar: int) -> int:
        return self.closes[bar] if self.r.fill == "close" else self.starts[bar]

    def fill_price(self, bar: int, ticker: int) -> float:
        p = self.p
        if self.r.fill == "vwap":
            volume = p.volume[bar, ticker]
            return float(p.turnover[bar, ticker] / volume) if volume > 0 else NAN  # type: ignore[index]
        return float((p.close if self.r.fill == "close" else p.open)[bar, ticker])

    def lots(self, shares: float) -> float:
        lot = self.r.lot
        return math.copysign(math.floor(abs(shares) / lot + 1e-9) * lot, shares) if lot else shares

    def sent(self, bar: int, ticker: int) -> tuple[float, int] | None:
        """Return the weight that is ordered in a bar, and the bar that it is sized at."""
        earlier = [row for row in range(bar) if (row, ticker) in self.orders]
        standing = self.orders[earlier[-1], ticker][0] if earlier else 0.0
        own = self.orders.get((bar, ticker))
        if self.r.rebalance == "on_change":
            return own if own and own[0] != standing else None
        if own:
            return own
        sized = sum(close + 1 < self.fills_at(bar) for close in self.closes) - 1
        return (standing, sized) if earlier and self.fill_price(bar, ticker) > 0 else None

    def run(self) -> tuple[list[float], list[float]]:
        r, p, equity, levels, cash = self.r, self.p, [], [], []
        for bar in self.bars:
            if bar:
                days = (self.closes[bar] - self.closes[bar - 1]) / DAY
                eights = self.closes[bar] // (DAY // 3) - self.closes[bar - 1] // (DAY // 3)
                short = sum(max(0.0, -n) * last for n, last in zip(self.shares, self.last, strict=True) if n)
                paid = short * (r.borrow_bp_year * days / 360 + r.funding_bp * eights) / 1e4
                self.cash += self.cash * r.cash_rate * days / 360 - paid
            for k in self.tickers:
                ratio = float(p.splits[bar, k])  # type: ignore[index]
                exact, self.last[k] = self.shares[k] * ratio, self.last[k] / ratio
                self.shares[k] = self.lots(exact)
                self.cash += (exact - self.shares[k]) * self.last[k] if exact else 0.0
                self.cash += self.shares[k] * float(p.dividends[bar, k])  # type: ignore[index]
            self.trade(bar, equity, levels)
            for k in self.tickers:
                for price in (p.close[bar, k], self.fill_price(bar, k)):
                    if price > 0:
                        self.last[k] = float(price)
                        break
            for k in self.tickers:
                if self.gone(bar, k) and self.shares[k]:
                    self.cash += self.shares[k] * self.last[k] * (1 - r.delisting_loss)
                    self.shares[k] = 0.0
            equity.append(self.cash + sum(n * last for n, last in zip(self.shares, self.last, strict=True) if n))
            levels.append(list(self.last))
            cash.append(self.cash)
        return equity, cash

    def gone(self, bar: int, ticker: int) -> bool:
        missing = 0
        while missing <= bar and not self.p.close[bar - missing, ticker] > 0:
            missing += 1
        return missing == self.r.delisted_after or (missing > 0 and bar == len(self.bars) - 1)

    def trade(self, bar: int, equity: list[float], levels: list[list[float]]) -> None:
        r, s, c = self.r, self.r.slippage_bp / 1e4, self.r.costs_bp / 1e4
        price = [self.fill_price(bar, k) for k in self.tickers]
        now = [price[k] if price[k] > 0 else self.last[k] for k in self.tickers]
        worth = self.cash + sum(n * level for n, level in zip(self.shares, now, strict=True) if n)
        wanted: dict[int, float] = {}
        for k in self.tickers:
            order = self.sent(bar, k)
            if order is None:
                continue
            (weight, sized), money, level = order, worth, price[k]
            if r.size_at == "decision":
                money = equity[sized] if sized >= 0 else r.capital
                level = levels[sized][k] if sized >= 0 else NAN
                for row in range(sized + 1, bar + 1):
                    level /= float(self.p.splits[row, k])  # type: ignore[index]
            if not level > 0:
                continue
            if r.positions == "long-only":
                level *= (1 + s) * (1 + c)
            shares = self.lots(weight * max(money, 0.0) / level) - self.shares[k]
            if r.max_volume_share is not None:
                most = r.max_volume_share * max(0.0, float(np.nan_to_num(self.p.volume[bar, k])))
                shares = self.lots(math.copysign(min(abs(shares), most), shares)) if abs(shares) > most else shares
            wanted[k] = shares
        for k, shares in wanted.items():
            if shares < 0:
                self.shares[k] += shares
                self.cash -= shares * price[k] * (1 - s) * (1 - c)
        need = sum(shares * price[k] * (1 + s) * (1 + c) for k, shares in wanted.items() if shares > 0)
        part = max(0.0, self.cash) / need if r.positions == "long-only" and need > max(0.0, self.cash) else 1.0
        for k, shares in wanted.items():
            if shares > 0:
                bought = self.lots(shares * part) if part < 1 else shares
                self.shares[k] += bought
                self.cash -= bought * price[k] * (1 + s) * (1 + c)


def market(rng: np.random.Generator, bars: int, tickers: int, pauses: bool) -> Prices:
    shape = bars, tickers
    splits = np.where(rng.random(shape) < 0.06, rng.choice([2, 3, 1.5, 0.1], shape), 1.0)
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.05, shape), 0)) / np.cumprod(splits, 0)
    opened = close * np.exp(rng.normal(0, 0.02, shape))
    there = (rng.random(shape) > 0.15) & (np.arange(bars)[:, None] < rng.integers(2, 2 * bars, tickers))
    there[0, 0] = True
    levels = {"open": opened, "high": np.fmax(opened, close), "low": np.fmin(opened, close), "close": close}
    volume = np.where(there, rng.uniform(0, 5000, shape), NAN)
    starts = np.datetime64("2024-01-05T14:30", "us") + np.arange(bars) * np.timedelta64(1, "D")
    return Prices(
        tickers=tuple("ABCDEFG"[:tickers]),
        starts_at=starts,
        closes_at=starts + (np.timedelta64(390, "m") if pauses else np.timedelta64(1, "D")),
        calendar="XNYS" if pauses else "24/7",
        **{name: np.where(there, values, NAN) for name, values in levels.items()},
        volume=volume,
        turnover=volume * (opened + close) / 2,
        dividends=np.where(rng.random(shape) < 0.1, close * 0.05, 0.0),
        splits=splits,
        split_adjusted=False,
    )


RULES = st.fixed_dictionaries(
    {
        "fill": st.sampled_from(["next_open", "close", "vwap"]),
        "size_at": st.sampled_from(["decision", "fill"]),
        "rebalance": st.sampled_from(["on_change", "every_bar"]),
        "positions": st.sampled_from(["long-only", "long-short"]),
        "lot": st.sampled_from([0.0, 1.0, 10.0]),
        "costs_bp": st.sampled_from([7.0, 200.0]),
        "slippage_bp": st.sampled_from([0.0, 100.0]),
        "borrow_bp_year": st.sampled_from([0.0, 300.0]),
        "funding_bp": st.sampled_from([0.0, 1.0]),
        "max_volume_share": st.sampled_from([None, 0.03]),
        "delisting_loss": st.sampled_from([0.0, 0.5]),
        "delisted_after": st.sampled_from([2, 20]),
        "cash_rate": st.sampled_from([0.0, 0.04]),
        "capital": st.just(10_000.0),
    }
)


@given(
    seed=st.integers(0, 2**32), bars=st.integers(3, 20), tickers=st.integers(1, 4), pauses=st.booleans(), rules=RULES
)
@settings(max_examples=CASES or 150, deadline=None)
def test_the_ledger_is_the_one_that_is_kept_the_slow_way(
    seed: int, bars: int, tickers: int, pauses: bool, rules: dict[str, Any]
) -> None:
    rng = np.random.default_rng(seed)
    prices = market(rng, bars, tickers, pauses)
    made = Rules(**rules)
    chosen = rng.random((bars, tickers)) < 0.5
    chosen[0, 0] = True
    rows, columns = np.nonzero(chosen)
    at = prices.closes_at[rows] + rng.choice([1, 1, 3_600_000_000], len(rows)).astype("m8[us]")
    weight = rng.uniform(0 if made.positions == "long-only" else -1, 1, len(rows)).round(1) * 1.4 / tickers
    ledger = run_ledger(prices, place(at, columns, weight, prices, made.fill), made)
    decisions = list(zip(at.astype("M8[us]").astype(int).tolist(), columns.tolist(), weight.tolist(), strict=True))
    equity, cash = Reference(prices, decisions, made).run()
    scale = 1 + np.abs(equity).max() + np.abs(cash).max()
    assert np.abs(ledger.equity - np.array(equity)).max() < 1e-9 * scale
    assert np.abs(ledger.cash - np.array(cash)).max() < 1e-9 * scale
