"""Hold cash and shares, and change them by one bar's events and orders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from adapterhub_fin_markets.backtest.rules import Rules

VOLUME: Final = 1  # why less was filled than ordered: the bar's volume
CASH: Final = 2  # the cash there is
CUTS: Final = {VOLUME: "volume", CASH: "cash"}
_ROUNDING: Final = 1e-12  # of a number of lots: 99.9999999999999 of them are 100


@dataclass(frozen=True, eq=False)
class Fill:
    """Hold what one bar's orders did; arrays of shape (tickers,)."""

    filled: np.ndarray  # shares, below 0 where they were sold
    net: float  # bought less sold, at the prices before slippage
    gross: float  # bought and sold
    ordered: np.ndarray | None = None  # shares, where any order was cut
    cut: np.ndarray | None = None  # int8: 0, or a key of CUTS


class Account:
    """Hold cash and shares, (tickers,), and the rules that they are traded by."""

    def __init__(self, rules: Rules, tickers: int) -> None:
        self.cash = rules.capital
        self.shares = np.zeros(tickers)
        self.lot, self.long_only = rules.lot, rules.positions == "long-only"
        self.slippage, self.commission = rules.slippage_bp / 1e4, rules.costs_bp / 1e4

    def split(self, ratio: np.ndarray, level: np.ndarray) -> None:
        """Change the shares by a split, (tickers,), and pay what is less than a lot in cash at the level after it."""
        split = self.shares * ratio
        self.shares = self.lots(split)
        if self.lot:
            self.cash += float((split - self.shares) @ level)

    def lots(self, shares: np.ndarray) -> np.ndarray:
        """Return shares, (tickers,), rounded toward zero to multiples of the lot; as they are where the lot is 0."""
        if not self.lot:
            return shares
        rounded: np.ndarray = np.trunc(shares * ((1 + _ROUNDING) / self.lot)) * self.lot
        return rounded

    def trade(self, target: np.ndarray, sent: np.ndarray, price: np.ndarray, most: np.ndarray | None) -> Fill:
        """Move toward target shares where an order is sent, and return what was filled.

        Sales come first, so that their proceeds can be spent. Where a long-only account still lacks cash, all buys are
        cut in one proportion, and to whole lots. `most`, (tickers,), is how many shares the volume allows.
        """
        target = np.where(sent, self.lots(target), self.shares)
        ordered = filled = target - self.shares
        cut = None
        if most is not None and (over := np.abs(ordered) > most).any():
            filled = self.lots(np.clip(ordered, -most, most))
            cut = np.where(over, VOLUME, 0).astype(np.int8)
            target = self._whole(self.shares + filled)
        value = filled * price
        net, gross = float(np.add.reduce(value)), float(np.add.reduce(np.abs(value)))
        if self.long_only and self._outlay(net, gross) > self.cash:
            buys = filled > 0
            filled = self._affordable(filled, price, buys)
            cut = np.where(buys, CASH, 0 if cut is None else cut).astype(np.int8)
            target = self._whole(self.shares + filled)
            value = filled * price
            net, gross = float(np.add.reduce(value)), float(np.add.reduce(np.abs(value)))
        self.cash -= self._outlay(net, gross)
        self.shares = target
        return Fill(filled, net, gross) if cut is None else Fill(filled, net, gross, ordered, cut)

    def commissions(self, net: np.ndarray, gross: np.ndarray) -> np.ndarray:
        """Return the commission on what was bought less sold, and both together, (times,): on values after slippage."""
        return self.commission * (gross + self.slippage * net)

    def _outlay(self, net: float, gross: float) -> float:
        return net + self.slippage * gross + self.commission * (gross + self.slippage * net)

    def _affordable(self, filled: np.ndarray, price: np.ndarray, buys: np.ndarray) -> np.ndarray:
        """Return the fills with all buys cut in one proportion, so that they cost no more than there is."""
        sold, bought = float((filled * price)[~buys].sum()), float((filled * price)[buys].sum())
        share = (self.cash - self._outlay(sold, -sold)) / self._outlay(bought, bought)
        step = _ROUNDING
        while True:
            fewer = np.where(buys, self.lots(filled * share), filled)
            value = fewer * price
            if self._outlay(float(np.add.reduce(value)), float(np.add.reduce(np.abs(value)))) <= self.cash:
                return fewer
            share, step = max(0.0, share - step), step * 2

    def _whole(self, shares: np.ndarray) -> np.ndarray:
        """Return shares that are multiples of the lot but for rounding, as multiples of it."""
        if not self.lot:
            return shares
        exact: np.ndarray = np.rint(shares / self.lot) * self.lot
        return exact
