"""State at the head of a page what a reader must know before any number."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from adapterhub_fin_markets.backtest.result import BacktestResult
from adapterhub_fin_markets.backtest.rules import Rules
from adapterhub_fin_markets.backtest.trials import LOWER_BOUND
from adapterhub_fin_markets.report.cells import Cell, count, instant, listed, plural


def head_facts(result: BacktestResult) -> Iterator[tuple[str, Cell]]:
    """Yield names and values: data, span, rules, costs, what was known, trials and what was left out."""
    signals, prices, rules = result.signals, result.prices, result.recipe.rules
    yield "decisions", plural(len(signals), "signal")
    yield "dates", (count(len(np.unique(signals.at))), f", {instant(signals.at[0])} to {instant(signals.at[-1])}")
    with_signals = len(np.unique(signals.ticker))
    yield "tickers", (count(with_signals), f" with signals, of {len(prices.tickers):,} with prices")
    bars = f"{plural(len(result.at), 'period')} of {prices.interval} on {prices.calendar}"
    yield "span", f"{instant(result.at[0])} to {instant(result.at[-1])}, {bars}"
    yield "universe", prices.universe
    yield "costs", costs_text(rules)
    yield "rules", rules_text(rules, prices.currency)
    yield "adapters, and the bases that they count, known until", adapters_text(result)
    if result.yanked:
        yield "YANKED VERSIONS", "; ".join(each.sentence("signals", left_out_of="texts") for each in result.yanked)
    trials = result.judgement.trials
    yield "trials", (count(trials.count), f", {LOWER_BOUND}")
    yield "refused rows", listed(result.refused)
    yield "unfilled orders", listed(result.ledger.unfilled)


def costs_text(rules: Rules) -> str:
    """Return the costs on one line; those that are 0 are named too."""
    volume = "no cap" if rules.max_volume_share is None else f"at most {100 * rules.max_volume_share:g} %"
    return (
        f"commission {rules.costs_bp:g} bp, slippage {rules.slippage_bp:g} bp, "
        f"borrow {rules.borrow_bp_year:g} bp a year, funding {rules.funding_bp:g} bp each 8 h, "
        f"cash {100 * rules.cash_rate:g} % a year, delisting loss {100 * rules.delisting_loss:g} %, "
        f"{volume} of a bar's volume"
    )


def rules_text(rules: Rules, currency: str | None) -> str:
    """Return what is traded and when on one line."""
    capital = f"{rules.capital:,.2f} {currency or ''}".rstrip()
    return (
        f"fill {rules.fill}, {rules.positions}, size {rules.size}, sized at {rules.size_at}, "
        f"rebalance {rules.rebalance}, HOLD {rules.hold}, lot {rules.lot:g}, capital {capital}"
    )


def adapters_text(result: BacktestResult) -> str:
    """Return until when each version that answered knows."""
    ends = [f"{item.what.removeprefix('adapter ')} {item.until}" for item in result.known_by if _of_adapter(item.what)]
    return "; ".join(ends) or "no adapter answered"


def _of_adapter(what: str) -> bool:
    return what.startswith("adapter ")
