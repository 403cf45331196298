"""Turn orders into shares a unit of equity, bar by bar, by the rules that say when and by what they are sized."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adapterhub_fin import LookAhead
from adapterhub_fin.plugin import BadRecipe
from adapterhub_fin_markets.backtest.events import share_counts
from adapterhub_fin_markets.backtest.fills import last_closes
from adapterhub_fin_markets.backtest.orders import Orders, count_tickers
from adapterhub_fin_markets.backtest.rules import Rules
from adapterhub_fin_markets.prices.panel import Prices


@dataclass(frozen=True, eq=False)
class Schedule:
    """Hold the orders that are sent, (times, tickers) each."""

    per_equity: np.ndarray  # target shares a unit of equity, NaN: no order
    sized_at: np.ndarray  # the row whose close gave the equity, -1: the capital; of no meaning where sized at the fill
    unfilled: dict[str, int]  # orders that can't be sent, by reason
    tickers_of: dict[str, dict[str, int]]  # by reason, how many of each ticker


def schedule(
    prices: Prices, orders: Orders, rules: Rules, fillable: np.ndarray, levels: np.ndarray, splits: np.ndarray
) -> Schedule:
    """Return the orders that are sent, (times, tickers), each with the shares that a unit of equity buys.

    `fillable` is what bars fill at, `levels` the last price at each close, `splits` those that change shares.
    A long-only order leaves room for its own cost: weight / (price * (1 + slippage) * (1 + commission)).

    Raises BadRecipe where the orders are of other prices or another fill rule, or short and the account is long-only,
    and LookAhead where one is sized by a close that was not known strictly before its fill.
    """
    _check(prices, orders, rules)
    weight, sized_at = _sent(prices, orders, rules, fillable)
    ordered = ~np.isnan(weight)
    unfilled, of = dict[str, int](), dict[str, dict[str, int]]()
    if (lacking := ordered & np.isnan(fillable)).any():
        unfilled["no-price"] = int(np.count_nonzero(lacking))
        of["no-price"] = count_tickers(np.nonzero(lacking)[1], prices.tickers)
        ordered &= ~lacking
    if rules.size_at == "fill":
        level = fillable
    else:
        level = _levels_at(levels, sized_at, splits, ordered)
        lacking = ordered & ~(level > 0)
        if lacking.any():
            unfilled["no-close"] = int(np.count_nonzero(lacking))
            of["no-close"] = count_tickers(np.nonzero(lacking)[1], prices.tickers)
            ordered &= ~lacking
    paid = (1 + rules.slippage_bp / 1e4) * (1 + rules.costs_bp / 1e4) if rules.positions == "long-only" else 1.0
    shares = np.divide(weight, level * paid, out=np.full(weight.shape, np.nan), where=ordered)
    return Schedule(shares, sized_at, unfilled, of)


def _check(prices: Prices, orders: Orders, rules: Rules) -> None:
    if orders.weight.shape != prices.close.shape:
        raise BadRecipe(
            f"the orders are of {orders.weight.shape[0]} bars and {orders.weight.shape[1]} tickers, and the prices of "
            f"{len(prices)} and {len(prices.tickers)}: place them on these prices"
        )
    if orders.fill != rules.fill:
        raise BadRecipe(f"the orders were placed by fill {orders.fill}, and the rules say {rules.fill}: name one")
    if np.isinf(orders.weight).any():
        raise BadRecipe("a weight is infinite: give finite weights, and NaN where there is no order")
    late = ~np.isnan(orders.weight) & (orders.sized_at > last_closes(prices, rules.fill)[:, None])
    if late.any():
        row, column = np.argwhere(late)[0]
        raise LookAhead(
            f"the order of {prices.tickers[column]} at bar {row + 1} is sized by the close of bar "
            f"{orders.sized_at[row, column] + 1}, which is not known strictly before it fills: place it a bar later"
        )
    if rules.positions == "long-only" and (short := orders.weight < 0).any():
        row, column = np.argwhere(short)[0]
        raise BadRecipe(
            f"the weight of {prices.tickers[column]} at bar {row + 1} is {orders.weight[row, column]:g}, and positions "
            "are long-only: give weights of 0 or more, or positions: long-short"
        )


def _sent(prices: Prices, orders: Orders, rules: Rules, fillable: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights that are sent, NaN where none is, and the rows that they are sized at."""
    weight, sized_at = orders.weight, orders.sized_at
    given = ~np.isnan(weight)
    if rules.rebalance == "every_bar":
        last = np.maximum.accumulate(np.where(given, np.arange(len(weight))[:, None], -1), axis=0)
        standing = np.take_along_axis(weight, np.maximum(last, 0), axis=0)
        sent = np.where((last >= 0) & (given | ~np.isnan(fillable)), standing, np.nan)
        return sent, np.where(given, sized_at, last_closes(prices, rules.fill)[:, None])
    return _changes(weight, given), sized_at


def _changes(weight: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Return the weights, (times, tickers), that differ from the ticker's one before, 0 at first; NaN elsewhere."""
    columns, rows = np.nonzero(given.T)  # ticker by ticker: seldom is there an order in each bar
    weights = weight[rows, columns]
    before = np.where(np.diff(columns, prepend=-1) == 0, np.append(0.0, weights[:-1]), 0.0)
    changed = weights != before
    sent = np.full(weight.shape, np.nan)
    sent[rows[changed], columns[changed]] = weights[changed]
    return sent


def _levels_at(levels: np.ndarray, sized_at: np.ndarray, splits: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """Return the close that each order is sized by, (times, tickers), on the shares of the bar that fills it.

    It is NaN where there is no order, and where an order is sized by the capital.
    """
    rows, columns = np.nonzero(ordered & (sized_at >= 0))
    closes, share = sized_at[rows, columns], np.broadcast_to(share_counts(splits), levels.shape)
    at = np.full(levels.shape, np.nan)
    at[rows, columns] = levels[closes, columns] * share[closes, columns] / share[rows, columns]
    return at
