"""Count the periods of a year on a calendar, so that no measure guesses them."""

from __future__ import annotations

from datetime import date, datetime
from functools import lru_cache
from math import ceil
from typing import Any, Final

from adapterhub_fin.plugin import sessions
from adapterhub_fin_markets.prices.clock import bar_length

_FIRST, _LAST = date(2015, 1, 1), date(2024, 12, 31)  # ten years: 2,516 sessions of XNYS
_ALWAYS: Final = ("24/7", "weekdays")  # without a pause at lunch


@lru_cache(maxsize=64)
def periods_a_year(calendar: str, interval: str = "1d") -> int:
    """Return how many bars of an interval a calendar has in a year: the mean of 2015 to 2024, rounded.

    A day counts 365 on `24/7`, 261 on `weekdays` and 252 on XNYS. A session has as many shorter bars as its length
    holds, begun ones counted, before lunch and after it. Raises BadRecipe for an unknown calendar, and BadPrices for
    another interval.
    """
    length = bar_length(interval)
    listed = sessions(calendar, _FIRST, _LAST)
    inside = [index for index, day in enumerate(listed.days) if _FIRST <= day <= _LAST]
    years = ((min(listed.last, _LAST) - max(listed.first, _FIRST)).days + 1) / 365.25
    days = round(len(inside) / years)
    if length is None:
        return days
    spans = [(listed.opens[index], listed.closes[index]) for index in inside]
    if calendar not in _ALWAYS:
        spans = _around_lunch(calendar)
    bars: int = sum(ceil((end - start) / length.astype(object)) for start, end in spans)
    return round(days * bars / len(inside))


def _around_lunch(calendar: str) -> list[tuple[datetime, datetime]]:
    """Return when an exchange traded from 2015 to 2024: each session whole, or its parts before lunch and after it."""
    import exchange_calendars

    exchange: Any = exchange_calendars.get_calendar(calendar, start=_FIRST.isoformat(), end=_LAST.isoformat())
    spans = []
    for opens, lunch, after, closes in exchange.schedule.itertuples(index=False):
        parts = [(opens, closes)] if lunch != lunch else [(opens, lunch), (after, closes)]  # NaT is not itself
        spans += [(start.to_pydatetime(), end.to_pydatetime()) for start, end in parts]
    return spans
