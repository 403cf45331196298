"""Turn signals into decisions: how much of equity each ticker should be, by rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from adapterhub_fin.plugin import BadRecipe
from adapterhub_fin_markets.backtest.events import events_of, share_counts
from adapterhub_fin_markets.backtest.orders import Orders, added_tickers, count_tickers, place
from adapterhub_fin_markets.backtest.rules import Rules
from adapterhub_fin_markets.features.market import change
from adapterhub_fin_markets.features.windows import spread
from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.timing import count_usable
from adapterhub_fin_markets.signals.table import Signals


@dataclass(frozen=True, eq=False)
class Decisions:
    """Hold target weights by instant and ticker, one a row where a weight changes, ordered by both."""

    at: np.ndarray  # (decisions,) datetime64[us] UTC
    ticker: np.ndarray  # (decisions,) int64, columns of the prices
    weight: np.ndarray  # (decisions,) float64, a share of equity, below 0 for a short
    left_out: Mapping[str, int] = field(default_factory=dict)  # signals that gave no weight, by reason
    tickers_of: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # by reason, how many of each ticker


def orders_of(signals: Signals, prices: Prices, rules: Rules) -> Orders:
    """Return the orders, (times, tickers), that signals make by the rules. Raises as `weigh` and `place`."""
    decisions = weigh(signals, prices, rules)
    if len(decisions.at):
        orders = place(decisions.at, decisions.ticker, decisions.weight, prices, rules.fill)
    else:
        shape = prices.close.shape
        orders = Orders(np.full(shape, np.nan), np.full(shape, -1, np.int64), rules.fill)
    unfilled = dict(Counter(orders.unfilled) + Counter(decisions.left_out))
    return replace(orders, unfilled=unfilled, tickers_of=added_tickers(orders.tickers_of, decisions.tickers_of))


def weigh(signals: Signals, prices: Prices, rules: Rules) -> Decisions:
    """Return the weights that signals ask for, (decisions,), each at an instant of a signal.

    An actionable BUY or SELL opens, keeps or turns its ticker's position; SELL closes it where positions are
    long-only; HOLD, and what is not actionable, keep it or close it as `hold` says. `size` gives each open position a
    weight: a number, less where their sum passes `max_gross`, or a share of `max_gross` by rule. Weights are renewed
    at instants at which a position opens, turns or closes (by confidence also where one changes), and from nothing
    that was not known then: closes before the instant, signals up to it.

    A ticker without a close before the instant, or without one for `delisted_after` bars, has no weight, nor has one
    that is no member of the universe at the last close, where the prices have members; nor one
    whose confidence is zero, or volatility zero or undefined, where that is the rule.

    Raises BadPrices where signals and prices have no ticker in common, and BadRecipe for no signal, or no confidence
    where that is the rule.
    """
    columns = _columns(signals, prices)
    sides = np.where(signals.actionable, signals.signal, 0)
    events = (sides != 0) | (rules.hold == "flat")
    if rules.positions == "long-only":
        sides = np.maximum(sides, 0)
    listed = columns >= 0
    rows = np.flatnonzero(events & listed)
    instants, number = np.unique(signals.at[listed], return_inverse=True)
    spot = np.full(len(signals), -1)
    spot[listed] = number
    latest = np.full((len(instants), len(prices.tickers)), -1)
    latest[spot[rows], columns[rows]] = rows
    latest = np.maximum.accumulate(latest, axis=0)
    side = np.where(latest < 0, 0, sides[latest])
    closed = count_usable(prices.closes_at, instants) - 1  # (instants,): the last bar that each may use
    listed_then = _listed(prices, closed, rules.delisted_after)
    there = listed_then & _members(prices, closed)
    strength = _strength(signals, prices, rules, latest, closed)
    sized = there & (strength > 0) & np.isfinite(strength)
    weight = _weights(np.where(sized, side, 0), np.where(sized, strength, 0.0), rules)
    changed = np.diff(weight, axis=0, prepend=np.zeros((1, weight.shape[1]))) != 0
    at, ticker = np.nonzero(changed)
    opened = rows[sides[rows] != 0]
    lacking = "no-confidence" if rules.size == "confidence" else "no-volatility"
    left_out = {
        "not-in-prices": np.flatnonzero(~listed & events),
        "no-close": opened[~listed_then[spot[opened], columns[opened]]],
        "not-a-member": opened[(listed_then & ~there)[spot[opened], columns[opened]]],
        lacking: opened[(there & ~sized)[spot[opened], columns[opened]]],
    }
    left_out = {name: signals_of for name, signals_of in left_out.items() if len(signals_of)}
    of = {name: count_tickers(signals.ticker[lost], signals.tickers) for name, lost in left_out.items()}
    return Decisions(instants[at], ticker, weight[changed], {name: len(lost) for name, lost in left_out.items()}, of)


def _columns(signals: Signals, prices: Prices) -> np.ndarray:
    """Return the column of the prices that each signal is about, (rows,), -1 where it has none."""
    if not len(signals):
        raise BadRecipe("there is no signal: give a table with rows")
    number = {name: column for column, name in enumerate(prices.tickers)}
    columns: np.ndarray = np.array([number.get(name, -1) for name in signals.tickers], np.int64)
    if (columns < 0).all():
        raise BadPrices(
            f"the signals are about {_named(signals.tickers)} and the prices of {_named(prices.tickers)}: they have no "
            "ticker in common; name both alike"
        )
    of_rows: np.ndarray = columns[signals.ticker]
    return of_rows


def _named(tickers: tuple[str, ...]) -> str:
    return ", ".join(tickers[:3]) + (f" and {len(tickers) - 3} more" if len(tickers) > 3 else "")


def _listed(prices: Prices, closed: np.ndarray, after: int) -> np.ndarray:
    """Return where a ticker has had a close within so many bars, as known at each instant, (instants, tickers)."""
    rows = np.arange(len(prices))[:, None]
    last = np.maximum.accumulate(np.where(np.isfinite(prices.close), rows, -1), axis=0)
    seen = np.where(closed[:, None] < 0, -1, last[np.maximum(closed, 0)])
    recent: np.ndarray = (seen >= 0) & (closed[:, None] - seen < after)
    return recent


def _members(prices: Prices, closed: np.ndarray) -> np.ndarray | bool:
    """Return who was in the universe at each instant, (instants, tickers); all where it was chosen in hindsight."""
    if prices.members is None:
        return True
    members: np.ndarray = prices.members[np.maximum(closed, 0)] & (closed[:, None] >= 0)
    return members


def _strength(signals: Signals, prices: Prices, rules: Rules, latest: np.ndarray, closed: np.ndarray) -> np.ndarray:
    """Return what weights are in proportion to, (instants, tickers), as known at each instant."""
    if rules.size == "confidence":
        lacking = np.flatnonzero(signals.actionable & np.isnan(signals.confidence))
        if len(lacking):
            ticker = signals.tickers[signals.ticker[lacking[0]]]
            raise BadRecipe(
                f"the signal of {ticker} at {signals.at[lacking[0]]} has no confidence: size by another rule"
            )
        return np.where(latest < 0, 0.0, signals.confidence[latest])
    if rules.size != "inverse_volatility":
        return np.ones(latest.shape)
    moves = spread(change(prices.close * share_counts(events_of(prices).splits), 1), rules.volatility_bars, 1)
    rows = np.arange(len(prices))[:, None]
    last = np.maximum.accumulate(np.where(np.isfinite(moves), rows, 0), axis=0)
    volatility = np.take_along_axis(moves, last, axis=0)[np.maximum(closed, 0)]
    inverse: np.ndarray = np.full(latest.shape, np.nan)
    np.divide(1.0, volatility, out=inverse, where=(volatility > 0) & (closed[:, None] >= 0))
    return inverse


def _weights(side: np.ndarray, strength: np.ndarray, rules: Rules) -> np.ndarray:
    """Return the weight of each position, (instants, tickers), renewed where one opens, turns or closes."""
    exposed = np.where(side != 0, strength, 0.0)
    total = exposed.sum(axis=1, keepdims=True)
    share = np.divide(exposed, total, out=np.zeros(exposed.shape), where=total > 0)
    size = share * rules.max_gross if isinstance(rules.size, str) else np.minimum(rules.size, share * rules.max_gross)
    changed = (np.diff(side, axis=0) != 0).any(axis=1)
    if rules.size == "confidence":
        changed |= (np.diff(exposed, axis=0) != 0).any(axis=1)
    renewed = np.maximum.accumulate(np.where(np.append(True, changed), np.arange(len(side)), 0))
    weights: np.ndarray = (side * size)[renewed]
    return weights
