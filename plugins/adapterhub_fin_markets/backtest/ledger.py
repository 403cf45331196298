"""Run orders through an exact cash ledger, bar by bar."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from adapterhub_fin_markets.backtest.account import CUTS, Account
from adapterhub_fin_markets.backtest.carry import borrow_rates, interest_rates
from adapterhub_fin_markets.backtest.events import delistings, events_of, last_levels
from adapterhub_fin_markets.backtest.fills import fill_prices
from adapterhub_fin_markets.backtest.orders import Orders, added_tickers, count_tickers
from adapterhub_fin_markets.backtest.rules import Rules
from adapterhub_fin_markets.backtest.schedule import schedule
from adapterhub_fin_markets.backtest.trades import Trades, trades_of
from adapterhub_fin_markets.prices.panel import Prices

_BOOKED: Final = ("borrow", "dividends", "interest", "delisted")


@dataclass(frozen=True, eq=False)
class Ledger:
    """Hold what an account had at each close, and what moved it there; money in the currency of the prices."""

    tickers: tuple[str, ...]
    at: np.ndarray  # (times,): the close of each bar
    rules: Rules
    equity: np.ndarray  # (times,): cash and shares at the last price
    cash: np.ndarray  # (times,)
    shares: np.ndarray  # (times, tickers)
    filled: np.ndarray  # (times, tickers): shares bought in that bar, below 0 sold
    price: np.ndarray  # (times, tickers): what a fill was priced by, before slippage
    level: np.ndarray  # (times, tickers): the last price at each close, 0 before a ticker's first
    traded: np.ndarray  # (times,): value bought and sold, before slippage
    commission: np.ndarray  # (times,), paid
    slippage: np.ndarray  # (times,), paid
    borrow: np.ndarray  # (times,), paid for shorts: borrowed shares and funding
    dividends: np.ndarray  # (times,), received; below 0 where shorts paid them
    interest: np.ndarray  # (times,), received on cash
    delisted: np.ndarray  # (times,), lost where a position was closed as delisted; below 0 where a short gained
    delistings: tuple[tuple[int, int, float], ...]  # row, column and shares of each such position
    cuts: Mapping[int, tuple[np.ndarray, np.ndarray]]  # by row: shares ordered, and why fewer were filled (CUTS)
    unfilled: Mapping[str, int]  # decisions and orders that were not filled, or in part, by reason
    unfilled_tickers: Mapping[str, Mapping[str, int]]  # by reason, how many of each ticker, where it has a column
    notes: tuple[str, ...]  # sentences that a report must print

    @cached_property
    def returns(self) -> np.ndarray:
        """Return the return of equity over each bar, (times,), from the capital on; NaN once nothing was left."""
        before = np.concatenate([[self.rules.capital], self.equity[:-1]])
        grown: np.ndarray = np.divide(self.equity, before, out=np.full(len(before), np.nan), where=before > 0)
        return grown - 1

    @cached_property
    def turnover(self) -> np.ndarray:
        """Return the value traded in each bar over the equity before it, (times,); NaN once nothing was left."""
        before = np.concatenate([[self.rules.capital], self.equity[:-1]])
        share: np.ndarray = np.divide(self.traded, before, out=np.full(len(before), np.nan), where=before > 0)
        return share

    @cached_property
    def weights(self) -> np.ndarray:
        """Return the value of each position over equity at each close, (times, tickers); NaN once nothing was left."""
        left = np.where(self.equity > 0, self.equity, np.nan)
        return np.asarray(self.shares * self.level / left[:, None])

    @cached_property
    def trades(self) -> Trades:
        """Return a row for each order that was sent and asked for a trade, by bar and ticker."""
        return trades_of(self.filled, self.price, self.cuts, self.rules)


def run_ledger(prices: Prices, orders: Orders, rules: Rules) -> Ledger:
    """Run orders on prices by the rules, and return what the account had at each close.

    In each bar, in this order: interest and borrow since the last close, splits, dividends, sales, buys, the value at
    the close, and positions that count as delisted. Nothing of a bar changes what was before it.

    Raises BadRecipe for orders that are not of these prices and rules, LookAhead for one that is sized by a close that
    was not known strictly before it fills, and BadPrices for prices that lack what the fill rule needs or leave it open
    whether their levels reckon with splits.

    Example:
        >>> ledger = run_ledger(prices, place(at, ticker, weight, prices), Rules(costs_bp=10))
        >>> ledger.equity[-1], ledger.trades.commission.sum()
        (10342.18, 19.88)
    """
    run = _Run(prices, orders, rules)
    for row in range(len(prices)):
        run.bar(row)
    return run.ledger()


class _Run:
    """Hold the arrays of one run, and fill them in bar by bar."""

    def __init__(self, prices: Prices, orders: Orders, rules: Rules) -> None:
        self.prices, self.orders, self.rules = prices, orders, rules
        self.events = events_of(prices)
        fillable = fill_prices(prices, rules.fill)
        levels = last_levels(prices.close, fillable, self.events.splits)
        self.schedule = schedule(prices, orders, rules, fillable, levels, self.events.splits)
        self.level = np.nan_to_num(levels)
        self.sent = ~np.isnan(self.schedule.per_equity)
        self.trading = self.sent.any(axis=1)
        self.price = np.where(np.isnan(fillable), 0.0, fillable)
        self.gone = delistings(prices.close, fillable, rules.delisted_after)
        self.borrow, self.interest = borrow_rates(prices.closes_at, rules), interest_rates(prices.closes_at, rules)
        self.account = Account(rules, len(prices.tickers))
        self.equity = np.append(np.zeros(len(prices)), rules.capital)  # the last is that of row -1: before the first
        self.cash, self.shares = np.zeros(len(prices)), np.zeros(fillable.shape)
        self.filled = np.zeros(fillable.shape)
        self.net, self.gross = np.zeros(len(prices)), np.zeros(len(prices))  # bought less sold, and both together
        self.booked = {name: np.zeros(len(prices)) for name in _BOOKED}
        self.cuts: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self.closed: list[tuple[int, int, float]] = []
        self.rounded: list[int] = []  # columns of the orders that are less than a lot

    def bar(self, row: int) -> None:
        """Do what one bar does to the account, and record what it then has."""
        account, level = self.account, self.level
        self._carry(row)
        if self.trading[row]:
            self._trade(row)
        if row in self.gone:
            self._give_up(row)
        self.cash[row] = account.cash
        self.shares[row] = account.shares
        self.equity[row] = account.cash + account.shares @ level[row]

    def _carry(self, row: int) -> None:
        """Count interest and borrow of what the account had at the close before, then splits, then dividends."""
        account, events = self.account, self.events
        if self.borrow[row] or self.interest[row]:
            owed = -float(np.minimum(account.shares, 0.0) @ self.level[row - 1])
            paid, earned = self.borrow[row] * owed, self.interest[row] * account.cash
            self.booked["borrow"][row], self.booked["interest"][row] = paid, earned
            account.cash += earned - paid
        if row in events.split_rows:
            account.split(events.splits[row], self.level[row - 1] / events.splits[row])
        if row in events.paid_rows:
            received = float(account.shares @ events.dividends[row])
            self.booked["dividends"][row] = received
            account.cash += received

    def _trade(self, row: int) -> None:
        account, rules, sent = self.account, self.rules, self.sent[row]
        if rules.size_at == "fill":
            equity = account.cash + account.shares @ self._levels_at_fill(row)
        else:
            equity = self.equity[self.schedule.sized_at[row]]
        target = self.schedule.per_equity[row] * np.maximum(equity, 0.0)  # what is lost already buys nothing
        most = None
        if rules.max_volume_share is not None:
            most = rules.max_volume_share * np.nan_to_num(self.prices.volume[row])
        if rules.lot:
            lots = account.lots(target)
            self.rounded += np.flatnonzero(sent & (target != 0) & (lots == 0) & (account.shares == 0)).tolist()
        fill = account.trade(target, sent, self.price[row], most)
        self.filled[row] = fill.filled
        self.net[row], self.gross[row] = fill.net, fill.gross
        if fill.ordered is not None and fill.cut is not None:
            self.cuts[row] = fill.ordered, fill.cut

    def _levels_at_fill(self, row: int) -> np.ndarray:
        """Return what shares are worth at the bar's fill, (tickers,): its price, or the last one where it has none."""
        before = self.level[row - 1] if row else np.zeros(len(self.prices.tickers))
        if row in self.events.split_rows:
            before = before / self.events.splits[row]
        return np.where(self.price[row] > 0, self.price[row], before)

    def _give_up(self, row: int) -> None:
        """Close positions that count as delisted at their last price less the loss."""
        account = self.account
        columns = self.gone[row][account.shares[self.gone[row]] != 0]
        value = float(account.shares[columns] @ self.level[row, columns])
        self.booked["delisted"][row] = value * self.rules.delisting_loss
        account.cash += value * (1 - self.rules.delisting_loss)
        self.closed += [(row, int(column), float(account.shares[column])) for column in columns]
        account.shares = account.shares.copy()
        account.shares[columns] = 0.0

    def ledger(self) -> Ledger:
        """Return what was recorded."""
        unfilled = Counter(self.orders.unfilled) + Counter(self.schedule.unfilled)
        for _, cut in self.cuts.values():
            unfilled.update({CUTS[code]: int(np.count_nonzero(cut == code)) for code in CUTS})
        cut_columns = {
            reason: np.concatenate([np.flatnonzero(cut == code) for _, cut in self.cuts.values()] or [np.zeros(0, int)])
            for code, reason in CUTS.items()
        }
        cut_columns["lot"] = np.array(self.rounded, np.int64)
        unfilled["lot"] = len(self.rounded)
        of_cuts = {reason: count_tickers(of, self.prices.tickers) for reason, of in cut_columns.items() if len(of)}
        of = added_tickers(self.orders.tickers_of, self.schedule.tickers_of, of_cuts)
        return Ledger(
            tickers=self.prices.tickers,
            at=self.prices.closes_at,
            rules=self.rules,
            equity=self.equity[:-1],
            cash=self.cash,
            shares=self.shares,
            filled=self.filled,
            price=self.price,
            level=self.level,
            traded=self.gross,
            commission=self.account.commissions(self.net, self.gross),
            slippage=self.account.slippage * self.gross,
            **self.booked,
            delistings=tuple(self.closed),
            cuts=self.cuts,
            unfilled={reason: count for reason, count in unfilled.items() if count},
            unfilled_tickers=of,
            notes=(*self.orders.notes, *_notes(self)),
        )


def _notes(run: _Run) -> list[str]:
    """Return what a reader of the ledger must be told."""
    notes, prices = [], run.prices
    if run.rules.lot and prices.adjusted_as_of is not None:
        notes.append(f"lots are of shares as adjusted as of {prices.adjusted_as_of}, which nobody traded")
    if (lost := run.equity[:-1] <= 0).any():
        notes.append(f"the account had lost all of its money by {prices.closes_at[int(np.argmax(lost))]} UTC")
    return notes
