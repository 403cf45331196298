"""Instants from what files hold: a day, a clock's time, a time with its zone. What is unclear is read as the later."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from adapterhub_fin.errors import BadInstant
from adapterhub_fin_registry.knowledge import end_of_day

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}.*")


def instant(value: Any, zone: str | None) -> datetime:
    """The instant in UTC that a cell gives; a day alone is its last microsecond in the zone.

    Raises BadInstant for what is no date, and for what carries no zone where none is named.
    """
    moment = _parsed(value) if isinstance(value, str) else value
    if not isinstance(moment, date):
        raise BadInstant(f"{value!r} is no date: write 2021-06-30, 2021-06-30T16:05:00 or 2021-06-30T16:05:00Z")
    if isinstance(moment, datetime):
        moment = datetime.fromisoformat(moment.isoformat())  # pandas' own kind of datetime has habits of its own
        if moment.utcoffset() is not None:
            return _in_utc(moment)
    if zone is None:
        raise BadInstant(
            f"{value!s} carries no time zone: set timezone, such as America/New_York, or Etc/GMT+12 where nobody knows"
        )
    if not isinstance(moment, datetime):
        return end_of_day(moment, zone)
    # When clocks go back an hour comes twice, and when they go forward one never comes: the later can't look ahead.
    return max(_in_utc(moment.replace(tzinfo=ZoneInfo(zone), fold=fold)) for fold in (0, 1))


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise BadInstant(f"{moment} is beyond the calendar in UTC: give an earlier or a later one") from error


def _parsed(text: str) -> date | datetime | None:
    # Python's own parser also takes 20210630 and 2021-W26: only one spelling of a day is wanted.
    text = text.strip()
    try:
        if _DAY.fullmatch(text):
            return date.fromisoformat(text)
        if _TIME.fullmatch(text):
            return datetime.fromisoformat(text)
    except ValueError:
        return None  # 2021-02-30: the caller says what was expected
    return None
