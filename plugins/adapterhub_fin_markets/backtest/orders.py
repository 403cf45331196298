"""Place decisions on the bars that fill them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from adapterhub_fin.plugin import BadRecipe
from adapterhub_fin_markets.backtest.fills import fill_prices, first_bars
from adapterhub_fin_markets.backtest.rules import Fill
from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.timing import count_usable


@dataclass(frozen=True, eq=False)
class Orders:
    """Hold target weights of equity by the bar that fills them, and what was known when they were decided."""

    weight: np.ndarray  # (times, tickers) float64, NaN: no order, the shares stay
    sized_at: np.ndarray  # (times, tickers) int64: the last bar whose close was known at the decision, -1: none
    fill: Fill = "next_open"
    unfilled: Mapping[str, int] = field(default_factory=dict)  # decisions without a fill, by reason
    notes: tuple[str, ...] = ()  # sentences that a report must print
    tickers_of: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # by reason, how many of each ticker

    def __post_init__(self) -> None:
        if self.weight.shape != self.sized_at.shape:
            raise ValueError(f"sized_at has shape {self.sized_at.shape}, and the weights {self.weight.shape}")


def place(at: np.ndarray, ticker: np.ndarray, weight: np.ndarray, prices: Prices, fill: Fill = "next_open") -> Orders:
    """Return decisions as orders, each on the first bar strictly later that has a price of its ticker.

    A decision that no bar fills is counted under `no-later-bar`, `no-later-price` or `not-in-prices`; one that a later
    decision about its ticker overtakes before it fills, under `overtaken`. The order of the rows does not matter.

    Args:
        at: When each was decided, (decisions,), datetime64 UTC.
        ticker: The column of the prices that it is about, (decisions,), -1 where they have none.
        weight: The target weight of equity, (decisions,).
        prices: The bars that fill.
        fill: The fill rule (see `Rules.fill`).

    Raises:
        BadRecipe: A weight is not finite, an instant is missing, or two decisions are about one ticker at one instant.
        BadPrices: No decision is about a ticker of the prices, or the prices lack what the fill rule needs.
    """
    _check(at, ticker, weight, prices)
    fillable = fill_prices(prices, fill)
    rows, tickers = fillable.shape
    listed = ticker >= 0
    unfilled = {"not-in-prices": int(np.count_nonzero(~listed))}
    order = np.lexsort((at, ticker))
    order = order[listed[order]]
    at, ticker, weight = at[order], ticker[order], weight[order]
    if (twice := (ticker[1:] == ticker[:-1]) & (at[1:] == at[:-1])).any():
        row = int(np.argmax(twice))
        raise BadRecipe(f"two decisions about {prices.tickers[ticker[row]]} at {at[row]}: keep one")
    first = first_bars(prices, at, fill)
    bar = following(fillable)[first, ticker]
    unfilled["no-later-bar"] = int(np.count_nonzero(first == rows))
    unfilled["no-later-price"] = int(np.count_nonzero(bar == rows)) - unfilled["no-later-bar"]
    overtaken = np.append((ticker[1:] == ticker[:-1]) & (bar[1:] == bar[:-1]), False) & (bar < rows)
    unfilled["overtaken"] = int(np.count_nonzero(overtaken))
    filled = (bar < rows) & ~overtaken
    weights, sized_at = np.full((rows, tickers), np.nan), np.full((rows, tickers), -1, np.int64)
    cells = (bar[filled], ticker[filled])
    weights[cells] = weight[filled]
    sized_at[cells] = count_usable(prices.closes_at, at[filled]) - 1
    notes = _same_instant(prices, at, first) if fill == "same_instant" else ()
    rows_of = {"no-later-bar": first == rows, "no-later-price": (bar == rows) & (first < rows), "overtaken": overtaken}
    of = {name: count_tickers(ticker[lacking], prices.tickers) for name, lacking in rows_of.items() if lacking.any()}
    return Orders(weights, sized_at, fill, {name: count for name, count in unfilled.items() if count}, notes, of)


def count_tickers(columns: np.ndarray, tickers: Sequence[str]) -> dict[str, int]:
    """Return how many of the columns, (items,), each ticker is, the most frequent first; -1 is none of them."""
    counts = Counter(columns[columns >= 0].tolist())
    return {tickers[column]: count for column, count in sorted(counts.items(), key=lambda each: (-each[1], each[0]))}


def added_tickers(*several: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Return counts by reason and ticker, summed."""
    total: dict[str, Counter[str]] = {}
    for counts in several:
        for reason, of in counts.items():
            total.setdefault(reason, Counter()).update(of)
    return {reason: dict(of.most_common()) for reason, of in total.items()}


def following(fillable: np.ndarray) -> np.ndarray:
    """Return the first row at or after each with a price, (times + 1, tickers); their number where there is none."""
    rows = len(fillable)
    at = np.where(np.isnan(fillable), rows, np.arange(rows)[:, None])
    after = np.minimum.accumulate(at[::-1], axis=0)[::-1]
    return np.concatenate([after, np.full((1, fillable.shape[1]), rows)])


def _check(at: np.ndarray, ticker: np.ndarray, weight: np.ndarray, prices: Prices) -> None:
    if not len(at) == len(ticker) == len(weight):
        raise BadRecipe(f"{len(at)} instants, {len(ticker)} tickers, {len(weight)} weights: give one each a decision")
    if not len(at):
        raise BadRecipe("there is no decision to place: give signals with rows")
    if not len(prices):
        raise BadPrices("the prices have no bar: read a table with bars")
    if (ticker < 0).all():
        raise BadPrices("no decision is about a ticker of the prices: name both by the same tickers")
    if (bad := ~np.isfinite(weight)).any():
        raise BadRecipe(f"the weight of decision {int(np.argmax(bad)) + 1} is {weight[bad][0]}: give finite weights")
    if (bad := np.isnat(at)).any():
        raise BadRecipe(f"decision {int(np.argmax(bad)) + 1} has no instant: date it")
    if (ticker >= len(prices.tickers)).any():
        raise BadRecipe(f"a decision is about column {int(ticker.max())}, and the prices have {len(prices.tickers)}")


def _same_instant(prices: Prices, at: np.ndarray, first: np.ndarray) -> tuple[str, ...]:
    """Return the sentence that marks fills at the instant of their decision, or says that there is none."""
    earlier = int(np.count_nonzero(first < first_bars(prices, at, "next_open")))
    if not earlier:
        return (f"fill same_instant has no effect here: no bar on {prices.calendar} opens at the instant of a close",)
    return (f"{earlier} of {len(at)} decisions fill at the very instant of the close that they were made at",)
