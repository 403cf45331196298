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
from adapterhub_fin_markets.prices.panel import Prices
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
    for sentence in _later(prices):
        yield Mark(sentence, red=True)
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
    if unread:
        yield Mark(f"{unread:,} texts of the span were read by no decision: see signals.window")
    highest = float(np.nan_to_num(np.abs(ledger.weights).sum(1)).max())
    if highest > _OVER * recipe.rules.max_gross:
        yield Mark(f"positions drifted to {highest:.0%} of equity, above the {recipe.rules.max_gross:.0%} they open at")
    if recipe.rules.lot and prices.split_adjusted:
        yield Mark("lots are of shares as they are after later splits, which nobody traded then")
    for sentence in (*comparisons.flags, prices.universe, *ledger.notes):
        yield Mark(sentence)
    if prices.dividend_adjusted or prices.adjusted_as_of:
        as_of = prices.adjusted_as_of or "an unknown day"
        yield Mark(f"prices are adjusted as of {as_of}: their levels, not their returns, reckon with later events")
    for kind, bars in prices.repairs.items():
        if kind != "interpolated":
            yield Mark(f"{bars:,} bars were repaired{' with what came later' if kind in LATER else ''}: {kind}")
    for finding in prices.findings:
        if finding.kind not in ("interpolated", "coarser-bars"):
            yield Mark(f"prices: {finding.sentence}")


def _later(prices: Prices) -> Iterator[str]:
    """Yield a sentence for each way in which bars know what came after them."""
    if "interpolated" in prices.repairs:
        yield f"{prices.repairs['interpolated']:,} interpolated bars were emptied, which the bars after them tell"
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
