"""Build checked prices of bars: place them, check them, repair what is asked, refuse the rest."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from adapterhub_fin_markets.prices.assemble import assemble
from adapterhub_fin_markets.prices.bars import Bars
from adapterhub_fin_markets.prices.findings import check_kinds, raise_refused
from adapterhub_fin_markets.prices.panel import Prices


def build_prices(
    bars: Bars,
    facts: Mapping[str, Any],
    *,
    timezone: str | None = None,
    label: str = "start",
    instruments: Any = None,
    members: Any = None,
    repair: Collection[str] = (),
    allow: Collection[str] = (),
) -> Prices:
    """Return the bars as checked prices; `facts` are the calendar, the interval and so on of `Prices`.

    Raises BadPrices where the checks refuse something that is neither repaired nor allowed.
    """
    check_kinds(repair, "repair")
    check_kinds(allow, "allow")
    prices, findings = assemble(bars, facts, timezone=timezone, label=label, instruments=instruments)
    raise_refused(findings, {*repair, *allow})
    prices = replace(prices, findings=tuple(findings))
    return prices if members is None else replace(prices, members=members.mask(prices))
