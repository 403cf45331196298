"""Read what a backtest rests on: prices, texts and signals; each choice once, where several backtests share it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel

from adapterhub_fin.plugin import BadRecipe
from adapterhub_fin_markets.backtest.admission import Sources, find_sources, outside_universe
from adapterhub_fin_markets.backtest.recipe import BacktestRecipe, corpus_of
from adapterhub_fin_markets.backtest.verifying import verified
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.timing import count_usable, decided_after
from adapterhub_fin_markets.signals.decisions import Decisions
from adapterhub_fin_markets.signals.making import signals_of
from adapterhub_fin_markets.signals.table import Signals, read_signals
from adapterhub_fin_markets.signals.texts import DatedTexts, read_texts

T = TypeVar("T")


class Inputs:
    """Hold what was read for the backtests of one call; what two of them choose alike is read for the first.

    Files are taken to stay as they are meanwhile. `allow_lookahead` and `loading` are those of `backtest`.
    """

    def __init__(self, allow_lookahead: bool = False, loading: Mapping[str, Any] | None = None) -> None:
        self.allow_lookahead = allow_lookahead
        self._loading: Mapping[str, Any] = loading or {}
        self._read: dict[str, Any] = {}

    def prices(self, recipe: BacktestRecipe) -> Prices:
        """Return the prices. Raises BadPrices as `read_prices`."""
        return self._once("prices", [recipe.prices], recipe.prices.read)

    def texts(self, recipe: BacktestRecipe) -> DatedTexts:
        """Return the dated texts. Raises BadCorpus as `read_texts`."""
        choice = recipe.signals
        return self._once(
            "texts", [choice.texts, choice.tickers], lambda: read_texts(corpus_of(choice.texts), choice.tickers)
        )

    def signals(self, recipe: BacktestRecipe) -> Signals:
        """Return the signals of the span, from a table or made of the texts at the closes of the bars.

        Raises BadRecipe where the span holds none, and what reading or making them raises.
        """
        return self._once("signals", self._parts(recipe), lambda: _within(self._all_signals(recipe), recipe))

    def sources(self, recipe: BacktestRecipe) -> Sources:
        """Return what the signals are recomputed from; a table's opinions are answered again.

        Raises what `find_sources` and `verified` raise.
        """
        return self._once("sources", self._parts(recipe), lambda: self._all_sources(recipe))

    def _parts(self, recipe: BacktestRecipe) -> list[Any]:
        """Return the parts of a recipe that its signals depend on."""
        return [recipe.signals, recipe.prices, str(recipe.test.since), str(recipe.test.until)]

    def _all_sources(self, recipe: BacktestRecipe) -> Sources:
        signals, texts, choice = self.signals(recipe), self.texts(recipe), recipe.signals
        available = dict(zip(texts.digests, texts.available_at, strict=True))
        sources = find_sources(signals, available, choice.include_base, fitted_before=texts.fitted_before)
        return sources if choice.path is None else verified(signals, texts, choice, sources, self._loading)

    def _all_signals(self, recipe: BacktestRecipe) -> Signals:
        choice, prices = recipe.signals, self.prices(recipe)
        if choice.path is not None:
            table = read_signals(choice.path.expanduser())
            if choice.adapter not in (None, table.facts.get("adapter")):
                raise BadRecipe(f"{choice.path} is of {table.facts.get('adapter')}, and the recipe of {choice.adapter}")
            return table
        decisions = decided_after(prices.closes_at)
        first, end = _bounds(recipe, decisions)
        options = choice.model_copy(update={"allow_lookahead": self.allow_lookahead})
        if first >= end:
            raise BadRecipe("no bar closes in the span of the backtest: change test.from and test.until")
        taken = Decisions.of(decisions[first:end], choice.window)
        taken = replace(taken, since=taken.starts[0])  # a text that no decision reads is not refused
        texts = self.texts(recipe)
        return _of_members(signals_of(choice.adapter, texts, options, decisions=taken, loading=self._loading), prices)

    def _once(self, what: str, parts: list[Any], read: Callable[[], T]) -> T:
        """Return what was read for the same parts of a recipe before, or else read it."""
        plain = [part.model_dump(mode="json") if isinstance(part, BaseModel) else part for part in parts]
        key = f"{what} {json.dumps(plain, sort_keys=True)}"
        if key not in self._read:
            self._read[key] = read()
        once: T = self._read[key]
        return once


def _of_members(signals: Signals, prices: Prices) -> Signals:
    """Return the signals of the universe's members of each day; the opinions on others are counted as refused."""
    outside = outside_universe(signals, prices)
    if not (count := int(np.count_nonzero(outside & (signals.signal != 0)))):
        return signals
    refused = {**signals.facts["refused"], "the ticker was not in the universe then": count}
    return replace(signals.take(~outside), facts={**signals.facts, "refused": refused})


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
