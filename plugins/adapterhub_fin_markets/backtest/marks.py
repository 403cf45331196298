"""Say what a reader must know of a backtest: what looks ahead, in red, and the standing notes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from adapterhub_fin import LookAhead, YankedVersion
from adapterhub_fin_markets.backtest.admission import REASONS, Refusal
from adapterhub_fin_markets.backtest.comparisons import Comparisons
from adapterhub_fin_markets.backtest.ledger import Ledger
from adapterhub_fin_markets.backtest.recipe import BacktestRecipe
from adapterhub_fin_markets.backtest.result import Mark
from adapterhub_fin_markets.prices.findings import LATER
from adapterhub_fin_markets.prices.levels import AROUND
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.timing import TICK, count_usable, usable
from adapterhub_fin_markets.signals.lists import Lists
from adapterhub_fin_markets.signals.table import Signals

_OVER: Final = 1.25  # of max_gross, from which on a drift is noted
_DROPPED: Final = 0.05  # of the bars: a holiday or two may be in a table by mistake


def check_prices_known(prices: Prices) -> None:
    """Raise LookAhead where bars were made, or mended, with what came after them."""
    for sentence in _later(prices):
        raise LookAhead(
            f"{sentence}: mend the table from another source, or see what it would give with --allow-lookahead"
        )


def find_marks(
    recipe: BacktestRecipe,
    prices: Prices,
    signals: Signals,
    refusals: tuple[Refusal, ...],
    yanked: tuple[YankedVersion, ...],
    ledger: Ledger,
    comparisons: Comparisons,
    unread: int,
) -> Iterator[Mark]:
    """Yield the marks of a backtest, the red ones first."""
    span = signals.at[0], ledger.at[-1]
    for sentence in _later(prices):
        yield Mark(sentence, red=True)
    for kind in sorted(LATER & prices.repairs.keys() - {"interpolated"}):
        if bars := _mended_later(prices, kind, span):
            yield Mark(f"{bars:,} bars were repaired with what came after the first decision: {kind}", red=True)
    reasons = {refusal.reason: refusal for refusal in reversed(refusals)}
    for reason, first in reasons.items():
        count = sum(refusal.reason == reason for refusal in refusals)
        yield Mark(f"{count:,} signals are used though {REASONS[reason]}: {first.sentence}", red=True)
    if not recipe.signals.include_base or signals.facts.get("include_base") is False:
        yield Mark("what the base model itself had read is ignored", red=True)
    if signals.facts.get("allow_lookahead"):
        yield Mark("texts were answered by versions that may know what came after them", red=True)
    if recipe.rules.fill == "same_instant":
        yield Mark("orders fill at the very instant of the close that they were decided at", red=True)
    for version in yanked:
        yield Mark(version.sentence("signals", left_out_of="texts"))
    if alone := _threshold_of_one(signals):
        threshold = signals.facts["threshold"]
        yield Mark(
            f"the threshold of {threshold:g} holds back nothing for {alone:,} signals that read one text, whose share "
            "of the votes is 1: give signals.min_confidence, or aggregate: mean"
        )
    if unread:
        yield Mark(f"{unread:,} texts of the span were read by no decision: see signals.window")
    highest = float(np.nan_to_num(np.abs(ledger.weights).sum(1)).max())
    if highest > _OVER * recipe.rules.max_gross:
        yield Mark(f"positions drifted to {highest:.0%} of equity, above the {recipe.rules.max_gross:.0%} they open at")
    if recipe.rules.lot and prices.split_adjusted:
        yield Mark("lots are of shares as they are after later splits, which nobody traded then")
    for sentence in (*comparisons.flags, *_universe(recipe, prices), *ledger.notes):
        yield Mark(sentence)
    if prices.dividend_adjusted or prices.adjusted_as_of:
        as_of = prices.adjusted_as_of or "an unknown day"
        yield Mark(f"prices are adjusted as of {as_of}: their levels, not their returns, reckon with later events")
    for kind in prices.repairs:
        if kind != "interpolated" and (bars := _repaired(prices, kind)) and not _mended_later(prices, kind, span):
            yield Mark(f"{bars:,} bars were repaired{' with what came later' if kind in LATER else ''}: {kind}")
    for finding in prices.findings:
        if finding.kind not in ("interpolated", "coarser-bars"):
            yield Mark(f"prices: {finding.sentence}")


def _threshold_of_one(signals: Signals) -> int:
    """Return how many signals act on one text, whatever the threshold: that of votes for a direction."""
    facts = signals.facts
    if not facts.get("threshold") or dict(facts.get("aggregate") or {}).get("name") not in ("confidence", "majority"):
        return 0
    return int(np.count_nonzero(signals.actionable & (np.diff(Lists.of(signals.texts).offsets) == 1)))


def _universe(recipe: BacktestRecipe, prices: Prices) -> Iterator[str]:
    """Yield how the tickers were chosen."""
    yield prices.universe
    if recipe.prices.tickers is not None:
        yield f"the recipe chooses the tickers: {', '.join(recipe.prices.tickers)}"


def _repaired(prices: Prices, kind: str) -> int:
    """Return how many bars of these tickers were repaired; where that was not recorded by ticker, of all."""
    return int(prices.flags[kind].sum()) if kind in prices.flags else prices.repairs[kind]


def _mended_later(prices: Prices, kind: str, span: tuple[np.datetime64, np.datetime64]) -> int:
    """Return how many repaired bars a test uses, up to its last close, that the first decision could not have so.

    A repair of splits and dividends rests on events within some bars of those that it mends.
    """
    if kind not in LATER:
        return 0
    if kind not in prices.flags:
        return prices.repairs[kind]
    used = int(count_usable(prices.closes_at, span[1] + TICK))
    bars = 0
    for column in np.flatnonzero(prices.flags[kind].any(axis=0)).tolist():
        cells = prices.flags[kind][:, column]
        for first, end in np.flatnonzero(np.diff(cells.astype(np.int8), prepend=0, append=0)).reshape(-1, 2).tolist():
            known_at = prices.closes_at[min(end - 1 + AROUND, len(prices) - 1)]
            if first < used and not usable(known_at, span[0]):
                bars += end - first
    return bars


def _later(prices: Prices) -> Iterator[str]:
    """Yield a sentence for each way in which bars know what came after them."""
    if "interpolated" in prices.repairs and (bars := _repaired(prices, "interpolated")):
        yield f"{bars:,} interpolated bars were emptied, which the bars after them tell"
    if prices.repairs.get("no-session", 0) > _DROPPED * len(prices):
        yield (
            f"{prices.repairs['no-session']:,} bars on days without a session of {prices.calendar} were dropped: the "
            "calendar is not the bars' own, by which they close later"
        )
    for finding in prices.findings:
        if finding.kind == "interpolated" and "interpolated" not in prices.repairs:
            yield f"the prices hold bars that know the next one: {finding.sentence}"
        if finding.kind == "coarser-bars":
            yield f"the bars are longer than {prices.interval}, and known before they end: {finding.sentence}"
