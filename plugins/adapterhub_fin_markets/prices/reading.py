"""Build checked prices of bars: place them, check them, repair what is asked, refuse the rest."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from adapterhub_fin_markets.prices.bars import Bars
from adapterhub_fin_markets.prices.checks import check_bars, check_panel
from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.prices.findings import check_kinds, raise_refused
from adapterhub_fin_markets.prices.marks import with_marks
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.repairs import mark, repair_prices
from adapterhub_fin_markets.prices.shares import levels_split_adjusted


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

    Raises BadPrices where the checks refuse something that is neither repaired nor allowed, or that a repair left, and
    where no bar is left.
    """
    check_kinds(repair, "repair")
    check_kinds(allow, "allow")
    prices, findings = check_bars(bars, facts, timezone=timezone, label=label, instruments=instruments)
    raise_refused(findings, {*repair, *allow})
    repaired = repair_prices(prices, findings, repair)
    if np.isnan(repaired.close).all():
        raise BadPrices("no bar is left of the table: it has no close, or none in a session of its calendar")
    if repaired is not prices:
        raise_refused(check_panel(repaired), allow)
    repaired = mark(replace(repaired, split_adjusted=levels_split_adjusted(repaired)), findings)
    repaired = with_marks(repaired, facts.get("marks") or (), instruments)
    return repaired if members is None else replace(repaired, members=members.mask(repaired))
