"""Instants from what files hold: a day, a clock's time, a time with its zone. What is unclear is read as the later.

pandas, SQL and most exports have no days and write 2021-06-30 as its midnight, the first instant of a day whose news
came later. So a midnight without a zone is a day, cell by cell. A midnight with a zone may be a true instant: it is a
day where every zoned cell of its column is a midnight, of the cell's own zone or of the zone that the user names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import numpy as np

from adapterhub_fin.errors import BadInstant
from adapterhub_fin_registry.model.knowledge import end_of_day

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(
    r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ](?P<time>[0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?)\s*(?P<zone>\S*)"
)
_NAMES_OF_UTC = ("Z", "UTC", "GMT")
_TICK = timedelta(microseconds=1)

DayEnd = Callable[[datetime], datetime]


def moment(value: Any) -> date | datetime:
    """Return what a cell holds: a time, with its zone where it carries one, or a day, also where it is a midnight.

    Raises BadInstant for what is no date; a number says neither its unit nor its zone.
    """
    if isinstance(value, str):
        found = _parsed(value)
    elif isinstance(value, datetime | np.datetime64):
        found = _plain(value)
    else:
        found = value if isinstance(value, date) else None
    if found is None:
        raise BadInstant(
            f"{value!r} is no date: write 2021-06-30, 2021-06-30T16:05:00 or 2021-06-30T16:05:00Z"
            + (" (pandas: to_json(date_format='iso'))" if isinstance(value, int | float) else "")
        )
    if isinstance(found, datetime) and found.tzinfo is None and found.time() == time():
        return found.date()
    return found


def is_day_alone(value: Any) -> bool:
    """Whether a cell holds a day that is written as one, with no time."""
    return type(value) is date or (isinstance(value, str) and _DAY.fullmatch(value.strip()) is not None)


def day_end(moments: Iterable[date | datetime], zone: str | None) -> DayEnd | None:
    """Return how the days of a column's zoned midnights end; None where one of its zoned times is no midnight.

    With `zone` midnights of that zone count too, as pandas writes those of a zone in UTC.
    """
    zoned = [each for each in moments if isinstance(each, datetime) and each.tzinfo is not None]
    if not zoned:
        return None
    try:
        if zone is not None and all(_starts_a_day(each.astimezone(ZoneInfo(zone))) for each in zoned):
            return lambda each: end_of_day(each.astimezone(ZoneInfo(zone)).date(), zone)
        return _end_of_own_day if all(map(_starts_a_day, zoned)) else None
    except OverflowError:
        return None  # a time at an end of the calendar, which is refused with its place


def instant(found: date | datetime, zone: str | None, ends: DayEnd | None = None) -> datetime:
    """Return the instant in UTC of what a cell holds; a day is its last microsecond in the zone.

    Raises BadInstant for what carries no zone where none is named.
    """
    if isinstance(found, datetime) and found.tzinfo is not None:
        at = _in_utc(found)
        return at if ends is None else ends(found)
    if zone is None:
        raise BadInstant(
            f"{found!s} carries no time zone: set timezone, such as America/New_York, or Etc/GMT+12 where nobody knows"
        )
    if not isinstance(found, datetime):
        return end_of_day(found, zone)
    # When clocks go back an hour comes twice, and when they go forward one never comes: the later can't look ahead.
    return max(_in_utc(found.replace(tzinfo=ZoneInfo(zone), fold=fold)) for fold in (0, 1))


def _in_utc(found: datetime) -> datetime:
    try:
        return found.astimezone(UTC)
    except OverflowError as error:
        raise BadInstant(f"{found} is beyond the calendar in UTC: give an earlier or a later one") from error


def _parsed(text: str) -> date | datetime | None:
    # Python's own parser also takes 20210630 and 2021-W26: only one spelling of a day is wanted.
    text = text.strip()
    try:
        if _DAY.fullmatch(text):
            return date.fromisoformat(text)
        if (parts := _TIME.fullmatch(text)) is None:
            return None
        zone = "+00:00" if parts["zone"].upper() in _NAMES_OF_UTC else parts["zone"]
        whole, _, fraction = parts["time"].replace(",", ".").partition(".")
        micro = f".{fraction[:6]:0<6}" if fraction else ""
        found = datetime.fromisoformat(f"{parts['day']}T{whole}{micro}{zone}")
        return found + _TICK if fraction[6:].strip("0") else found  # nanoseconds: down would look ahead
    except (ValueError, OverflowError):
        return None  # 2021-02-30: the caller says what was expected


def _plain(value: Any) -> datetime:
    """A time of Python, pandas or numpy as Python's own; nanoseconds are rounded up, for down would look ahead."""
    whole: Any = value
    cut = False
    if isinstance(value, np.datetime64):
        whole = value.astype("datetime64[us]").item()
        cut = bool(value.astype("datetime64[us]") < value)
    elif hasattr(value, "to_pydatetime"):  # pandas
        whole, cut = value.to_pydatetime(warn=False), bool(value.nanosecond)
    found: datetime = whole
    return found + _TICK if cut else found


def _starts_a_day(found: datetime) -> bool:
    """Whether a time with a zone is the first of its day there; where clocks skip midnight, that is a later one."""
    first = datetime.combine(found.date(), time(), found.tzinfo)
    return found.time() == time() or found.astimezone(UTC) == first.astimezone(UTC)


def _end_of_own_day(found: datetime) -> datetime:
    name = getattr(found.tzinfo, "key", None) or getattr(found.tzinfo, "zone", None)
    offset = found.utcoffset() or timedelta(0)
    if name or not offset:
        return end_of_day(found.date(), name or "UTC")
    length = _long_days(found.year).get((found.date(), offset), timedelta(days=1))
    return found.astimezone(UTC) + length - _TICK


@lru_cache(maxsize=256)
def _long_days(year: int) -> Mapping[tuple[date, timedelta], timedelta]:
    """Return the days of over 24 hours, as clocks go back, by the offset at their start, with the longest length.

    A midnight with a bare offset doesn't say its zone, so any zone that had this offset may be meant.
    """
    found: dict[tuple[date, timedelta], timedelta] = {}
    if not 1900 <= year <= 2200:  # beyond, no clock is known to change
        return found
    for zone in map(ZoneInfo, sorted(available_timezones())):
        weeks = [date(year, 1, 1) + timedelta(days=7 * week) for week in range(54)]
        for start in (one for one, other in pairwise(weeks) if _offset(one, zone) != _offset(other, zone)):
            for day in (start + timedelta(days=each) for each in range(7)):
                before, after = _offset(day, zone), _offset(day + timedelta(days=1), zone)
                if after < before:
                    length = timedelta(days=1) + before - after
                    found[day, before] = max(length, found.get((day, before), length))
    return found


def _offset(day: date, zone: ZoneInfo) -> timedelta:
    return datetime.combine(day, time(), zone).utcoffset() or timedelta(0)
