"""Compute when a version's training could last have learned something: pure functions on instants.

An instant is an aware datetime in UTC. Its canonical text is `YYYY-MM-DDTHH:MM:SSZ`, with fractional seconds only if
they aren't zero.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Protocol, TypeVar
from zoneinfo import ZoneInfo

from adapterhub_fin_registry.errors import BadInstant
from adapterhub_fin_registry.io.clock import read_clock

INSTANT_PATTERN: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{0,5}[1-9])?Z$"
BASE: Final = "base"
_INSTANT: Final = re.compile(INSTANT_PATTERN.removesuffix("$") + r"\Z", re.ASCII)
_UNKNOWN_ZONE: Final = timedelta(hours=12)  # in the westernmost zone a day ends twelve hours after UTC's
_TICK: Final = timedelta(microseconds=1)


class Dated(Protocol):
    """Describe what `choose` needs of a version."""

    @property
    def number(self) -> int:
        """Return the version's number."""

    def knows_until(self, include_base: bool = True) -> datetime:
        """Return the knowledge end, with or without the base's."""


Candidate = TypeVar("Candidate", bound=Dated)


def parse_instant(text: str) -> datetime:
    """Return the instant of a canonical text.

    Raises BadInstant for any other spelling.
    """
    if not _INSTANT.match(text):
        raise BadInstant(f"{text!r} isn't an instant: write it in UTC as 2021-06-30T14:05:00Z")
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInstant(f"{text!r} isn't on the calendar: write an instant as 2021-06-30T14:05:00Z") from error


def format_instant(instant: datetime) -> str:
    """Return the canonical text of an aware datetime.

    Raises BadInstant if it has no time zone, or is beyond the calendar in UTC.
    """
    if instant.utcoffset() is None:
        raise BadInstant(f"{instant} has no time zone: give an aware datetime")
    try:
        text = instant.astimezone(UTC).replace(tzinfo=None).isoformat()
    except OverflowError as error:
        raise BadInstant(f"{instant} is beyond the calendar in UTC: give an earlier or a later one") from error
    return (text.rstrip("0") if "." in text else text) + "Z"


def end_of_day(day: date, zone: str | None) -> datetime:
    """Return the last microsecond of a day in a time zone such as `America/New_York`, in UTC.

    If the zone is None, it is the end of the day in UTC plus 12 hours. Raises BadInstant for an unknown zone.
    """
    try:
        midnight = datetime.combine(day + timedelta(days=1), time(), tzinfo=UTC if zone is None else ZoneInfo(zone))
        end = midnight.astimezone(UTC) - _TICK
        return end + _UNKNOWN_ZONE if zone is None else end
    except OverflowError as error:
        raise BadInstant(f"the day {day} ends beyond the calendar: give an earlier one") from error
    # ZoneInfo raises KeyError for an unknown name, ValueError for a path and OSError for the name of a folder.
    except (KeyError, ValueError, OSError) as error:
        raise BadInstant(f"{zone!r} isn't a time zone known here: write it as America/New_York") from error


def as_of_instant(as_of: str | date | datetime) -> datetime:
    """Return the instant that a user's as_of means: a date means its 00:00 UTC, "now" the current instant.

    Raises BadInstant if the text isn't a date or an instant, or has no time zone, and Refused if the clock is wrong.
    """
    if isinstance(as_of, str):
        as_of = _parse_as_of(as_of)
    if not isinstance(as_of, date) or as_of != as_of:  # pandas' missing instant, a datetime, isn't equal to itself
        raise BadInstant(f"as_of={as_of!r} is no instant: give a date, an aware datetime or a text such as 2020-01-31")
    if not isinstance(as_of, datetime):
        return datetime.combine(as_of, time(), tzinfo=UTC)
    if as_of.utcoffset() is None:
        raise BadInstant(f"as_of={as_of.isoformat()} has no time zone: end it with Z for UTC, or give a date alone")
    try:
        return as_of.astimezone(UTC)
    except OverflowError as error:
        raise BadInstant(f"as_of={as_of} is beyond the calendar in UTC: give an earlier or a later one") from error


def knowledge_end(inputs: Iterable[tuple[str, datetime]], include_base: bool = True) -> datetime:
    """Return the latest instant of the inputs, given as (input, at), with or without the base's.

    A base that is the only input always counts: nothing else dates the version. Raises BadInstant without inputs.
    """
    listed = list(inputs)
    if not listed:
        raise BadInstant("there is no dated input: give at least the base's")
    own = [at for name, at in listed if name != BASE]
    return max(own) if own and not check_include_base(include_base) else max(at for _, at in listed)


def choose(versions: Iterable[Candidate], as_of: datetime, include_base: bool = True) -> Candidate | None:
    """Return the version that knows most of those that knew nothing from as_of on; None if there is none.

    Of several with the same knowledge end, it is the one with the highest number.
    """
    eligible = [version for version in versions if version.knows_until(include_base) < as_of]
    return max(eligible, key=lambda version: (version.knows_until(include_base), version.number), default=None)


def check_include_base(include_base: object) -> bool:
    """Return True or False. Raises BadInstant for any other value, which could be mistaken for False."""
    if isinstance(include_base, bool):
        return include_base
    raise BadInstant(f"include_base is {include_base!r}: use True, or False to leave out what the base knew")


def _parse_as_of(text: str) -> date | datetime:
    if text == "now":
        return read_clock()
    try:
        # Python's ISO parser also accepts 20210630 and 2021-W26, but a date has only one spelling here.
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            return date.fromisoformat(text)
        if re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]", text):
            return datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInstant(f"{text!r} isn't on the calendar: write 2021-06-30 or 2021-06-30T14:05:00Z") from error
    raise BadInstant(f"{text!r} isn't a date: write as_of as 2021-06-30, 2021-06-30T14:05:00Z or now")
