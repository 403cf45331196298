"""Fetch prices from a source that a plugin brings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

from adapterhub_fin.plugin import build_contribution
from adapterhub_fin_markets.prices.bars import Bars
from adapterhub_fin_markets.prices.clock import bar_length, place
from adapterhub_fin_markets.prices.description import PriceSource
from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.reading import build_prices
from adapterhub_fin_markets.prices.source import Request


def fetch_prices(
    source: str,
    symbols: Sequence[str],
    *,
    start: str | datetime,
    end: str | datetime | None = None,
    interval: str = "1d",
    options: Mapping[str, Any] | None = None,
    **reading: Any,
) -> Prices:
    """Return checked prices from a source: its complete bars that start in [start, end).

    `options` are the source's own; `reading` is what `build_prices` takes: instruments, members, repair, allow.
    A bar is complete once its session, or its length, is over. Raises BadPrices where the source has no such bars or
    the checks refuse them, UnknownName for an unknown source, and Unreachable where it doesn't answer.
    """
    bar_length(interval)
    now = datetime.now(UTC)
    request = Request(tuple(symbols), interval, _moment(start), now if end is None else _moment(end), now)
    if request.start >= request.end:
        raise BadPrices(f"{request.start.date()} is not before {request.end.date()}: give an earlier start")
    implementation = build_contribution(PriceSource, source, options or {})
    bars = implementation.fetch(request)
    if not len(bars):
        raise BadPrices(f"{source} has no bar of {', '.join(symbols)} from {request.start} to {request.end}")
    facts = {
        "calendar": implementation.calendar,
        "interval": interval,
        "currency": implementation.currency,
        "split_adjusted": implementation.split_adjusted,
        "source": source,
    }
    if implementation.split_adjusted:  # by every split until now, later than the last bar though it be
        facts["adjusted_as_of"] = str(now.date())
    return build_prices(_complete(bars, facts, now), facts, **reading)


def _complete(bars: Bars, facts: Mapping[str, Any], now: datetime) -> Bars:
    """Return the bars that are over by now."""
    placed, _ = place(bars.labels, facts["calendar"], facts["interval"], None, "start")
    closes = np.append(placed.closes, np.datetime64(0, "us"))[placed.index]  # the checks see bars off sessions
    over = closes[bars.at] <= np.datetime64(now.replace(tzinfo=None), "us")
    return bars if over.all() else bars.select(over).compact()


def _moment(text: str | datetime) -> datetime:
    if isinstance(text, datetime):
        return text
    try:
        return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
    except ValueError as error:
        raise BadPrices(f"{text!r} is not a date: write it as 2024-01-31") from error
