"""Check prices: all that can be found wrong in a table or a panel, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapterhub_fin_markets.prices.assemble import assemble
from adapterhub_fin_markets.prices.bars import Bars
from adapterhub_fin_markets.prices.events import check_events
from adapterhub_fin_markets.prices.findings import Finding
from adapterhub_fin_markets.prices.lengths import check_lengths
from adapterhub_fin_markets.prices.levels import check_levels
from adapterhub_fin_markets.prices.panel import Prices


def check_panel(prices: Prices) -> list[Finding]:
    """Return what the levels, dividends and splits of a panel show, by ticker and time."""
    return in_order([*check_levels(prices), *check_events(prices)])


def check_bars(
    bars: Bars, facts: Mapping[str, Any], *, timezone: str | None, label: str, instruments: Any = None
) -> tuple[Prices, list[Finding]]:
    """Return the bars as a panel, and all that is found in the rows and in it. Raises BadPrices (see `assemble`)."""
    prices, findings = assemble(bars, facts, timezone=timezone, label=label, instruments=instruments)
    return prices, in_order([*findings, *check_lengths(prices), *check_panel(prices)])


def in_order(findings: list[Finding]) -> list[Finding]:
    """Return findings by ticker, then time, then kind."""
    return sorted(findings, key=lambda finding: (finding.ticker, str(finding.at), finding.kind, finding.sentence))
