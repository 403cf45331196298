"""Convert dates and times in files to instants in UTC; an ambiguous value becomes its latest possible instant.

pandas, SQL and most exports have no type for a day and write 2021-06-30 as its midnight, the first instant of a day
whose news came later. So a midnight without a time zone is read as a day, cell by cell. A midnight with a time zone may
be a true instant: it is read as a day only if every cell of its column that has a zone is a midnight, in the cell's own
zone or in the zone that the user names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import numpy as np

from adapterhub_fin.errors import BadInstant
from adapterhub_fin.plugin.date_formats import EPOCHS
from adapterhub_fin_registry.model.knowledge import end_of_day

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(
    r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ](?P<time>[0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?)\s*(?P<zone>\S*)"
)
_NAMES_OF_UTC = ("Z", "UTC", "GMT")
_TICK = timedelta(microseconds=1)

DayEnd = Callable[[datetime], datetime]


def moment(value: Any) -> date | datetime:
    """Return the time or the day in a cell; a midnight without a time zone is a day.

    Raises BadInstant for a cell that is no date, and for a number, whose unit and zone are unknown.
    """
    if isinstance(value, str):
        result = _parsed(value)
    elif isinstance(value, datetime | np.datetime64):
        result = _plain(value)
    else:
        result = value if isinstance(value, date) else None
    if result is None:
        raise BadInstant(
            f"{value!r} isn't a date: write 2021-06-30, 2021-06-30T16:05:00 or 2021-06-30T16:05:00Z"
            + (" (pandas: to_json(date_format='iso'))" if isinstance(value, int | float) else "")
        )
    return _day_of_midnight(result)


def read_by(pattern: str | None) -> Callable[[Any], date | datetime]:
    """Return the function from a cell to its time or day: `moment`, or one that reads it by `date_format`.

    With either, a midnight without a time zone is a day.
    """
    return moment if pattern is None else partial(_by_format, pattern=pattern)


def _by_format(value: Any, pattern: str) -> date | datetime:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return moment(value)  # a date or a time already
    try:
        if (parts := EPOCHS.get(pattern)) is not None:
            seconds = Fraction(value) / parts  # exactly; what lies between two microseconds is the later one
            return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=math.ceil(seconds * 1_000_000))
        read = datetime.strptime(str(value).strip(), pattern)
    except (ValueError, OverflowError) as error:
        raise BadInstant(f"{value!r} isn't a date as date_format {pattern} has it") from error
    return _day_of_midnight(read)


def tells_time(pattern: str) -> bool:
    """Return whether a `date_format` reads the time of day, so that its midnights may be times."""
    return pattern in EPOCHS or any(f"%{directive}" in pattern for directive in "HIMSfpXcsTR")


def _day_of_midnight(value: date | datetime) -> date | datetime:
    if isinstance(value, datetime) and value.tzinfo is None and value.time() == time():
        return value.date()
    return value


def is_day_alone(value: Any) -> bool:
    """Return whether a cell is a day written without a time."""
    return type(value) is date or (isinstance(value, str) and _DAY.fullmatch(value.strip()) is not None)


def day_end(moments: Iterable[date | datetime], zone: str | None) -> DayEnd | None:
    """Return the function from a midnight with a time zone to the end of its day, for one column.

    None if one of the column's times with a zone is not a midnight, so that all of them are instants. With `zone`,
    midnights in that zone count too, because pandas writes them in UTC.
    """
    zoned = [value for value in moments if isinstance(value, datetime) and value.tzinfo is not None]
    if not zoned:
        return None
    try:
        if zone is not None and all(_starts_a_day(value.astimezone(ZoneInfo(zone))) for value in zoned):
            return lambda value: end_of_day(value.astimezone(ZoneInfo(zone)).date(), zone)
        return _end_of_own_day if all(map(_starts_a_day, zoned)) else None
    except OverflowError:
        return None  # a time near year 1 or 9999, which `instant` refuses


def instant(value: date | datetime, zone: str | None, ends: DayEnd | None = None) -> datetime:
    """Return the instant in UTC of a time or a day; a day is its last microsecond in the zone.

    Raises BadInstant for a value without a time zone if `zone` is None, and for a time outside years 1 to 9999 in UTC.
    """
    if isinstance(value, datetime) and value.tzinfo is not None:
        at = _in_utc(value)
        return at if ends is None else ends(value)
    if zone is None:
        raise BadInstant(
            f"{value!s} has no time zone: set timezone, such as America/New_York, or Etc/GMT+12 if it is unknown"
        )
    if not isinstance(value, datetime):
        return end_of_day(value, zone)
    # When clocks go back, an hour occurs twice; when they go forward, one is skipped. The later reading is safe.
    return max(_in_utc(value.replace(tzinfo=ZoneInfo(zone), fold=fold)) for fold in (0, 1))


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise BadInstant(f"{value} is outside the years 1 to 9999 in UTC: fix the date") from error


def _parsed(text: str) -> date | datetime | None:
    # Python's own parser also accepts 20210630 and 2021-W26; only one spelling of a day is accepted here.
    text = text.strip()
    try:
        if _DAY.fullmatch(text):
            return date.fromisoformat(text)
        if (parts := _TIME.fullmatch(text)) is None:
            return None
        zone = "+00:00" if parts["zone"].upper() in _NAMES_OF_UTC else parts["zone"]
        seconds, _, fraction = parts["time"].replace(",", ".").partition(".")
        micro = f".{fraction[:6]:0<6}" if fraction else ""
        parsed = datetime.fromisoformat(f"{parts['day']}T{seconds}{micro}{zone}")
        return parsed + _TICK if fraction[6:].strip("0") else parsed  # round nanoseconds up: down would look ahead
    except (ValueError, OverflowError):
        return None  # such as 2021-02-30; the caller raises the error


def _plain(value: Any) -> datetime:
    """Return a time of Python, pandas or numpy as a datetime, nanoseconds rounded up: down would look ahead."""
    truncated: Any = value
    has_nanoseconds = False
    if isinstance(value, np.datetime64):
        truncated = value.astype("datetime64[us]").item()
        has_nanoseconds = bool(value.astype("datetime64[us]") < value)
    elif hasattr(value, "to_pydatetime"):  # pandas
        truncated, has_nanoseconds = value.to_pydatetime(warn=False), bool(value.nanosecond)
    result: datetime = truncated
    return result + _TICK if has_nanoseconds else result


def _starts_a_day(value: datetime) -> bool:
    """Return whether a time is the first of its day in its zone, which is later than midnight if clocks skip it."""
    first = datetime.combine(value.date(), time(), value.tzinfo)
    return value.time() == time() or value.astimezone(UTC) == first.astimezone(UTC)


def _end_of_own_day(value: datetime) -> datetime:
    name = getattr(value.tzinfo, "key", None) or getattr(value.tzinfo, "zone", None)
    offset = value.utcoffset() or timedelta(0)
    if name or not offset:
        return end_of_day(value.date(), name or "UTC")
    length = _long_days(value.year).get((value.date(), offset), timedelta(days=1))
    return value.astimezone(UTC) + length - _TICK


@lru_cache(maxsize=256)
def _long_days(year: int) -> Mapping[tuple[date, timedelta], timedelta]:
    """Return the longest length of each day on which clocks go back, by the day and the UTC offset at its start.

    A midnight with only an offset may be in any zone that had this offset.
    """
    lengths: dict[tuple[date, timedelta], timedelta] = {}
    if not 1900 <= year <= 2200:  # outside these years, no clock changes are known
        return lengths
    for zone in map(ZoneInfo, sorted(available_timezones())):
        weeks = [date(year, 1, 1) + timedelta(days=7 * week) for week in range(54)]
        for start in (one for one, other in pairwise(weeks) if _offset(one, zone) != _offset(other, zone)):
            for day in (start + timedelta(days=n) for n in range(7)):
                before, after = _offset(day, zone), _offset(day + timedelta(days=1), zone)
                if after < before:
                    length = timedelta(days=1) + before - after
                    lengths[day, before] = max(length, lengths.get((day, before), length))
    return lengths


def _offset(day: date, zone: ZoneInfo) -> timedelta:
    return datetime.combine(day, time(), zone).utcoffset() or timedelta(0)
