"""Run a backtest: signals that could have been made then, and an exact ledger of what they would have earned."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from adapterhub_fin import RegistryChain
from adapterhub_fin.plugin import BadRecipe
from adapterhub_fin_markets.backtest.admission import examine, find_sources, raise_refused
from adapterhub_fin_markets.backtest.annualisation import periods_a_year
from adapterhub_fin_markets.backtest.comparisons import compare, ledger_measures
from adapterhub_fin_markets.backtest.judging import judged
from adapterhub_fin_markets.backtest.known_by import known_by
from adapterhub_fin_markets.backtest.ledger import run_ledger
from adapterhub_fin_markets.backtest.marks import check_prices_known, find_marks
from adapterhub_fin_markets.backtest.orders import Orders
from adapterhub_fin_markets.backtest.recipe import BacktestRecipe, SignalsChoice
from adapterhub_fin_markets.backtest.regimes import label_regimes
from adapterhub_fin_markets.backtest.result import BacktestResult
from adapterhub_fin_markets.backtest.sizing import orders_of
from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.timing import count_usable, decided_after, first_fill
from adapterhub_fin_markets.signals.decisions import Decisions
from adapterhub_fin_markets.signals.making import signals_of
from adapterhub_fin_markets.signals.table import Signals, read_signals
from adapterhub_fin_markets.signals.texts import DatedTexts, read_texts


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
    prices = read.prices.read()
    if not allow_lookahead:
        check_prices_known(prices)
    texts = read_texts(_corpus(read.signals), read.signals.tickers)
    signals = _within(_signals(read, prices, texts, allow_lookahead, loading or {}), read)
    available = dict(zip(texts.digests, texts.available_at, strict=True))
    sources = find_sources(signals, available, read.signals.include_base, fitted_before=texts.fitted_before)
    refusals = tuple(examine(signals, sources, prices, np.timedelta64(read.test.embargo_length, "us")))
    if not allow_lookahead:
        raise_refused(refusals)
    rows = _tested(signals, prices)
    tested = prices.select(rows, signals.tickers)
    orders = _placed(signals, prices.select(slice(None), signals.tickers), read, rows)
    ledger = run_ledger(tested, orders, read.rules)
    a_year = periods_a_year(tested.calendar, tested.interval)
    drawn = {"resamples": read.report.bootstrap, "seed": read.report.seed}
    comparisons = compare(tested, orders, read.rules, ledger, a_year=a_year, rows=slice(1, None), **drawn)
    benchmark = comparisons.by_name["hold"].ledger.returns[1:]
    measured = ledger_measures(ledger, a_year=a_year, rows=slice(1, None), benchmark=benchmark)
    labels = None if read.test.regimes is None else label_regimes(prices, read.test.regimes)[rows][1:]
    root = RegistryChain.configured().writable().root
    key = trial_key(read, signals)
    return BacktestResult(
        recipe=read,
        prices=tested,
        signals=signals,
        orders=orders,
        ledger=ledger,
        measures=measured,
        comparisons=comparisons,
        judgement=judged(read, tested, orders, ledger, measured, benchmark, labels, key, root),
        refusals=refusals,
        marks=tuple(find_marks(read, prices, signals, refusals, ledger, comparisons)),
        known_by=tuple(known_by(signals, sources, tested)),
    )


def _corpus(choice: SignalsChoice) -> Mapping[str, Any]:
    return {"name": choice.texts.name, **choice.texts.options.model_dump(exclude_unset=True)}


def _signals(
    recipe: BacktestRecipe, prices: Prices, texts: DatedTexts, allow_lookahead: bool, loading: Mapping[str, Any]
) -> Signals:
    """Return the signals of a table, or make them at the closes of the bars in the span."""
    choice = recipe.signals
    if choice.path is not None:
        return read_signals(choice.path.expanduser())
    decisions = decided_after(prices.closes_at)
    first, end = _bounds(recipe, decisions)
    options = choice.model_copy(update={"allow_lookahead": allow_lookahead})
    taken = Decisions.of(decisions[first:end], choice.window)
    if len(taken.at):
        taken = replace(taken, since=taken.starts[0])  # a text that no decision reads is not refused
    return signals_of(choice.adapter, texts, options, decisions=taken, loading=loading)


def _bounds(recipe: BacktestRecipe, at: np.ndarray) -> tuple[int, int]:
    """Return the first of the ascending instants in the span, and the one after the last."""
    since, until = recipe.test.since, recipe.test.until
    first = 0 if since is None else int(count_usable(at, _midnight(since)))
    end = len(at) if until is None else int(count_usable(at, _midnight(until)))
    return first, end


def _midnight(day: date) -> np.datetime64:
    return np.datetime64(day, "us")


def _within(signals: Signals, recipe: BacktestRecipe) -> Signals:
    """Return the signals of the span. Raises BadRecipe where there is none."""
    first, end = _bounds(recipe, signals.at)
    if first >= end:
        raise BadRecipe(
            "no signal lies in the span of the backtest: change test.from and test.until, or give texts of that time"
        )
    keep = np.zeros(len(signals), bool)
    keep[first:end] = True
    return signals.take(keep)


def _tested(signals: Signals, prices: Prices) -> slice:
    """Return the rows of the test: from the bar before the first decision, with only cash, to the last fill.

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


def trial_key(recipe: BacktestRecipe, signals: Signals) -> str:
    """Return the digest of all that the equity depends on but the prices: a trial that is run again has the same."""
    return f"sha256:{hashlib.sha256(f'{recipe.digest()} {signals.digest}'.encode()).hexdigest()}"
