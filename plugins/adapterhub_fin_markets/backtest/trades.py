"""List what was traded: a row an order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from adapterhub_fin_markets.backtest.rules import Rules


@dataclass(frozen=True, eq=False)
class Trades:
    """Hold the orders that asked for a trade, by bar and ticker; arrays of shape (trades,)."""

    row: np.ndarray  # int64: the bar
    ticker: np.ndarray  # int64: the column
    ordered: np.ndarray  # shares, below 0 to sell
    filled: np.ndarray  # shares
    price: np.ndarray  # that the shares changed hands at: slippage has moved it
    value: np.ndarray  # filled shares at that price, below 0 where they were sold
    commission: np.ndarray
    slippage: np.ndarray
    cut: np.ndarray  # int8: why fewer were filled than ordered, 0 or a key of account.CUTS

    def __len__(self) -> int:
        return len(self.row)


def trades_of(
    filled: np.ndarray, price: np.ndarray, cuts: Mapping[int, tuple[np.ndarray, np.ndarray]], rules: Rules
) -> Trades:
    """Return the trades of fills and prices before slippage, (times, tickers) each, and of what was cut by row."""
    ordered, reasons = filled, np.zeros((1, 1), np.int8)
    if cuts:
        ordered, reasons = filled.copy(), np.zeros(filled.shape, np.int8)
        for row, (shares, cut) in cuts.items():
            ordered[row], reasons[row] = shares, cut
    rows, columns = np.nonzero(ordered)
    cells = rows, columns
    shares = filled[cells]
    paid = price[cells] * (1 + np.sign(shares) * rules.slippage_bp / 1e4)
    return Trades(
        row=rows,
        ticker=columns,
        ordered=ordered[cells],
        filled=shares,
        price=paid,
        value=shares * paid,
        commission=np.abs(shares * paid) * rules.costs_bp / 1e4,
        slippage=np.abs(shares) * price[cells] * rules.slippage_bp / 1e4,
        cut=np.broadcast_to(reasons, filled.shape)[cells],
    )
