"""Run a backtest: signals that could have been made then, and an exact ledger of what they would have earned."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from adapterhub_fin import RegistryChain
from adapterhub_fin.plugin import BadRecipe
from adapterhub_fin_markets.backtest.admission import (
    Refusal,
    Sources,
    examine,
    raise_refused,
)
from adapterhub_fin_markets.backtest.annualisation import periods_a_year
from adapterhub_fin_markets.backtest.comparisons import compare, ledger_measures
from adapterhub_fin_markets.backtest.inputs import Inputs
from adapterhub_fin_markets.backtest.judging import judged
from adapterhub_fin_markets.backtest.known_by import known_by
from adapterhub_fin_markets.backtest.ledger import Ledger, run_ledger
from adapterhub_fin_markets.backtest.marks import check_prices_known, find_marks
from adapterhub_fin_markets.backtest.orders import Orders
from adapterhub_fin_markets.backtest.recipe import BacktestRecipe
from adapterhub_fin_markets.backtest.regimes import label_regimes
from adapterhub_fin_markets.backtest.result import BacktestResult
from adapterhub_fin_markets.backtest.sizing import orders_of
from adapterhub_fin_markets.backtest.withdrawn import withdrawn
from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.timing import count_usable, first_fill, usable
from adapterhub_fin_markets.signals.lists import Lists
from adapterhub_fin_markets.signals.table import Signals
from adapterhub_fin_markets.signals.texts import DatedTexts


def backtest(
    recipe: str | Path | Mapping[str, Any] | BacktestRecipe,
    overrides: Sequence[str] = (),
    *,
    allow_lookahead: bool = False,
    loading: Mapping[str, Any] | None = None,
) -> BacktestResult:
    """Return what the signals of a recipe would have earned, with nothing in it that could have known the future.

    When a signal was known is recomputed: from the corpus of its texts, and from the registry by the digests of the
    versions that answered. `allow_lookahead` uses what would be refused, and marks the result red. `loading` is base,
    device, download, batch_size and progress, as `signals` takes them.

    Raises LookAhead, which names the first row and counts the rows by reason, and what reading the prices, the texts
    and the signals raises.

    Example:
        >>> result = backtest("btc.yaml", ["rules.costs_bp=5"])
        >>> result.measures.sharpe, result.strict
        (0.07, True)
    """
    read = recipe if isinstance(recipe, BacktestRecipe) else BacktestRecipe.read(recipe, overrides)
    return run_recipe(read, Inputs(allow_lookahead, loading))


def run_recipe(recipe: BacktestRecipe, inputs: Inputs) -> BacktestResult:
    """Return the backtest of a recipe on inputs that several may share. Raises as `backtest`."""
    prices, texts = inputs.prices(recipe), inputs.texts(recipe)
    if not inputs.allow_lookahead:
        check_prices_known(prices.select(slice(None), texts.tickers))
    signals = inputs.signals(recipe)
    _check_in_common(signals, prices)
    sources = inputs.sources(recipe)
    refusals = tuple(examine(signals, sources, prices, np.timedelta64(recipe.test.embargo_length, "us")))
    if not inputs.allow_lookahead:
        raise_refused(refusals)
    return run_admitted(recipe, prices, signals, sources, refusals, _unread(signals, texts))


def run_admitted(
    recipe: BacktestRecipe,
    prices: Prices,
    signals: Signals,
    sources: Sources,
    refusals: tuple[Refusal, ...] = (),
    unread: int = 0,
) -> BacktestResult:
    """Return what admitted signals would have earned; `refusals` are used all the same, and `unread` texts by none.

    The backtest is logged as a trial. Raises BadPrices for prices that the rules can't trade by, and WriteFailed where
    the trial can't be logged.
    """
    rows = _tested(signals, prices)
    tested = prices.select(rows, signals.tickers)
    own = prices.select(slice(None), signals.tickers)
    orders = _placed(signals, own, recipe, rows)
    ledger = run_ledger(tested, orders, recipe.rules)
    a_year = periods_a_year(tested.calendar, tested.interval)
    drawn = {"resamples": recipe.report.bootstrap, "seed": recipe.report.seed}
    comparisons = compare(tested, orders, recipe.rules, ledger, a_year=a_year, rows=slice(1, None), **drawn)
    benchmark = comparisons.by_name["hold"].ledger.returns[1:]
    measured = ledger_measures(ledger, a_year=a_year, rows=slice(1, None), benchmark=benchmark)
    labels = None if recipe.test.regimes is None else label_regimes(prices, recipe.test.regimes)[rows][1:]
    root = RegistryChain.configured().writable().root
    key = trial_key(ledger)
    yanked = withdrawn(signals, sources)
    return BacktestResult(
        recipe=recipe,
        prices=tested,
        signals=signals,
        orders=orders,
        ledger=ledger,
        measures=measured,
        comparisons=comparisons,
        judgement=judged(recipe, tested, orders, ledger, measured, benchmark, labels, key, root),
        refusals=refusals,
        marks=tuple(find_marks(recipe, own, signals, refusals, yanked, ledger, comparisons, unread)),
        known_by=tuple(known_by(signals, sources, tested)),
        yanked=yanked,
    )


def _unread(signals: Signals, texts: DatedTexts) -> int:
    """Return how many texts between the first decision and the last one no decision reads."""
    inside = usable(signals.at[0], texts.available_at) & usable(texts.available_at, signals.at[-1])
    lists = Lists.of(signals.texts)
    read = {lists.names[code] for code in np.unique(lists.codes).tolist()}
    return sum(texts.digests[row] not in read for row in np.flatnonzero(inside).tolist())


def _check_in_common(signals: Signals, prices: Prices) -> None:
    """Raise BadPrices where no signal is about a ticker of the prices, and BadRecipe where none has a text."""
    if not set(signals.tickers) & set(prices.tickers):
        about, of = (", ".join(names[:5]) for names in (signals.tickers, prices.tickers))
        raise BadPrices(f"the signals are about {about}, and the prices of {of}: name both by the same tickers")
    if not len(Lists.of(signals.texts).codes):
        raise BadRecipe("no decision reads a text: give texts of the prices' time, or a longer signals.window")


def _tested(signals: Signals, prices: Prices) -> slice:
    """Return the rows of the test: from the bar before the first decision to the last fill.

    Raises BadPrices where no bar follows the first decision.
    """
    first = max(int(count_usable(prices.closes_at, signals.at[0])) - 1, 0)
    end = min(int(first_fill(prices.starts_at, signals.at[-1])) + 1, len(prices))
    if end - first < 2:
        raise BadPrices("no bar follows the first decision: give prices of the signals' time")
    return slice(first, end)


def _placed(signals: Signals, prices: Prices, recipe: BacktestRecipe, rows: slice) -> Orders:
    """Return the orders of the signals on the rows of the test; sizes look back over all bars."""
    orders = orders_of(signals, prices, recipe.rules)
    sized_at = np.where(orders.sized_at < 0, -1, orders.sized_at - rows.start)
    return replace(orders, weight=orders.weight[rows], sized_at=sized_at[rows])


def trial_key(ledger: Ledger) -> str:
    """Return the digest of what a strategy earned, to ten digits: whatever earns the same is one trial."""
    earned = np.round(ledger.returns[1:], 10) + 0.0
    return f"sha256:{hashlib.sha256(ledger.at[1:].tobytes() + earned.tobytes()).hexdigest()}"
