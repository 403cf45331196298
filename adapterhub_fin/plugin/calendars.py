"""Measure lengths of time: of the clock, or in the business days of a named calendar.

`weekdays`, Monday to Friday in UTC, is always there. Exchanges such as XNYS come from `exchange_calendars`, whose
holidays, early closes and zones are kept by people who follow the exchanges: a list of our own would soon be wrong.
"""

from __future__ import annotations

import re
import textwrap
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import cached_property, lru_cache, partial
from typing import Any

from adapterhub_fin.errors import BadRecipe

SPAN_PATTERN = r"^[0-9]{1,5}(B|d|h|min)$"
CALENDAR_PATTERN = r"^[A-Za-z0-9_./-]{1,40}$"
WEEKDAYS = "weekdays"
_CLOCK = {"d": timedelta(days=1), "h": timedelta(hours=1), "min": timedelta(minutes=1)}
REASON = 200  # characters of an error of exchange_calendars
SPAN = 50  # years whose sessions are read at once
_DAY = timedelta(days=1)
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class Sessions:
    """Hold the business days of a calendar over some years, ascending: the day, its open and its close in UTC.

    `first` and `last` are the ends of the calendar's list: some lists end with this year. Only days outside of the list
    that a question rests on are refused.
    """

    days: Sequence[date]
    opens: Sequence[datetime]
    closes: Sequence[datetime]
    zone: tzinfo
    first: date = date.min
    last: date = date.max

    def back(self, moment: datetime, number: int) -> datetime:
        """Return the open of the last of so many whole sessions before an instant: all of them lie between the two."""
        if moment >= self._first_unlisted_close:
            raise self._unlisted(moment)
        return self.opens[self._there(bisect_right(self.closes, moment) - number, moment)]

    def ahead(self, moment: datetime, number: int) -> datetime:
        """Return the close of the so many-th session after an instant's own day, as the exchange dates that day."""
        day = moment.astimezone(self.zone).date()
        if day.toordinal() < self.first.toordinal() - 1:  # of the day before the list, the next session is on it
            raise self._unlisted(moment)
        return self.closes[self._there(bisect_right(self.days, day) + number - 1, moment)]

    def next_open(self, moment: datetime) -> datetime:
        """Return the first open strictly after an instant: the first at which a decision of then can be filled.

        Raises BadRecipe where the list ends before.
        """
        if moment.astimezone(self.zone).date().toordinal() < self.first.toordinal() - 1:
            raise self._unlisted(moment)
        return self.opens[self._there(bisect_right(self.opens, moment), moment)]

    def close_of(self, day: date) -> datetime:
        """Return the close of the session of a day, as the exchange dates it: what its daily bar says is known then.

        Raises BadRecipe for a day without a session.
        """
        index = bisect_left(self.days, day)
        if index == len(self.days) or self.days[index] != day:
            raise BadRecipe(f"the calendar has no session on {day}: correct the date, or name another calendar")
        return self.closes[index]

    @cached_property
    def _first_unlisted_close(self) -> datetime:
        """Return the first instant by which a session beyond the list may have closed."""
        if self.last == date.max:
            return datetime.max.replace(tzinfo=UTC)
        lags = (close - self._midnight(day) for day, close in zip(self.days, self.closes, strict=True))
        return self._midnight(self.last + _DAY) + min(lags, default=timedelta(0))

    def _midnight(self, day: date) -> datetime:
        return datetime.combine(day, time(), self.zone).astimezone(UTC)

    def _there(self, index: int, moment: datetime) -> int:
        if not 0 <= index < len(self.days):
            raise self._unlisted(moment)
        return index

    def _unlisted(self, moment: datetime) -> BadRecipe:
        return BadRecipe(
            f"the calendar has too few business days around {moment.date()} (its list goes from {self.first} to "
            f"{self.last}): count in days, as in 7d"
        )


@dataclass(frozen=True)
class Offset:
    """Represent a length of time as `5B`, `5d`, `12h` or `30min`; B counts business days, and needs a calendar.

    A day by the clock is 24 hours, traded or not.
    """

    text: str
    calendar: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(SPAN_PATTERN, self.text):
            raise ValueError(f"{self.text!r} is no length of time: write 5B, 5d, 12h or 30min")
        if self._of_business_days and self.calendar is None:
            raise ValueError(f"{self.text} counts business days: name their calendar, such as XNYS or {WEEKDAYS}")
        if not self._of_business_days and self.calendar is not None:
            raise ValueError(f"{self.text} goes by the clock, and needs no calendar {self.calendar}: write it as 5B")

    def before(self, moments: Sequence[datetime]) -> list[datetime]:
        """Return the instants this long before others; of business days, so many whole ones lie between the two."""
        if not (self._of_business_days and moments):
            return [moment - self._length for moment in moments]
        sessions = self._sessions(min(moments), max(moments))
        return [sessions.back(moment, self._number) if self._number else moment for moment in moments]

    def after(self, moments: Sequence[datetime]) -> list[datetime]:
        """Return the instants this long after others; of business days, the close of that day."""
        if not (self._of_business_days and moments):
            return [moment + self._length for moment in moments]
        sessions = self._sessions(min(moments), max(moments))
        return [sessions.ahead(moment, self._number) if self._number else moment for moment in moments]

    @property
    def _of_business_days(self) -> bool:
        return self.text.endswith("B")

    @property
    def _number(self) -> int:
        return int(re.sub(r"\D", "", self.text))

    @property
    def _length(self) -> timedelta:
        return self._number * _CLOCK[self.text.lstrip("0123456789")]

    def _sessions(self, first: datetime, last: datetime) -> Sessions:
        margin = timedelta(days=30 + 3 * self._number)  # twice as many days as any exchange needs
        try:
            return sessions(str(self.calendar), (first - margin).date(), (last + margin).date())
        except OverflowError as error:
            raise BadRecipe(f"{self.text} from {first} to {last} leaves the calendar: mend the dates") from error


def sessions(calendar: str, first: date, last: date) -> Sessions:
    """Return the sessions of the years from one day to another, as far as the calendar's list goes.

    Raises BadRecipe where the calendar is not known here, and where none of these days is on its list.
    """
    read = _weekdays if calendar == WEEKDAYS else partial(_exchange, calendar)
    near = read(first.year // SPAN)
    earliest, latest = near.first, near.last
    if latest < first or last < earliest:
        raise BadRecipe(
            f"the calendar {calendar} can't be had for {first.year} (its list goes from {earliest} to {latest}): use "
            f"{WEEKDAYS}, or count in days, as in 7d"
        )
    spans = [read(span) for span in range(max(first, earliest).year // SPAN, min(last, latest).year // SPAN + 1)]
    listed = [day for span in spans for day in span.days]
    years = slice(bisect_left(listed, date(first.year, 1, 1)), bisect_right(listed, date(last.year, 12, 31)))
    days, opens, closes = (
        [value for span in spans for value in getattr(span, of)][years] for of in ("days", "opens", "closes")
    )
    return Sessions(days, opens, closes, near.zone, earliest, latest)


def _bounds(span: int) -> tuple[date, date]:
    """Return the first and the last day of a span of years, by its number: 40 is 2000 to 2049."""
    return date(max(SPAN * span, 1), 1, 1), date(SPAN * span + SPAN - 1, 12, 31)


@lru_cache(maxsize=64)
def _weekdays(span: int) -> Sessions:
    start, end = _bounds(span)
    days = [date.fromordinal(ordinal) for ordinal in range(start.toordinal(), end.toordinal() + 1)]
    days = [day for day in days if day.weekday() < 5]
    opens = [datetime(day.year, day.month, day.day, tzinfo=UTC) for day in days]
    return Sessions(days, opens, [opening + (_DAY - _TICK) for opening in opens], UTC)


@lru_cache(maxsize=64)  # a calendar takes a sixth of a second, whether it is of a year or of fifty
def _exchange(calendar: str, span: int) -> Sessions:
    """Return the sessions of a span of years, as far as the exchange's list goes: none where it ends before."""
    start, end = _bounds(span)
    exchange, earliest, latest = _calendar(calendar, start, end)
    of = exchange.sessions.slice_indexer(max(start, earliest).isoformat(), min(end, latest).isoformat())
    opens, closes = (
        times.iloc[of].dt.tz_convert(UTC).dt.to_pydatetime().tolist() for times in (exchange.opens, exchange.closes)
    )
    return Sessions(
        exchange.sessions[of].date.tolist(),
        opens,
        closes,
        exchange.tz,
        earliest,
        latest,
    )


def _calendar(calendar: str, start: date, end: date) -> tuple[Any, date, date]:
    """Return an exchange's calendar, as exchange_calendars has it, with the first and the last day of its list.

    It has all listed days from `start` to `end`, and others where there are none.
    """
    try:
        import exchange_calendars
    except ImportError as error:
        raise BadRecipe(
            f"the calendar {calendar} needs exchange_calendars: pip install 'adapterhub-fin[calendars]', or use the "
            f"calendar {WEEKDAYS}"
        ) from error
    try:
        try:
            exchange = exchange_calendars.get_calendar(calendar, start=start.isoformat(), end=end.isoformat())
            return exchange, *_listed(exchange)
        except ValueError:  # the list begins after `start`, or ends before `end`
            exchange = exchange_calendars.get_calendar(calendar)
        earliest, latest = _listed(exchange)
        if latest < start or end < earliest:
            return exchange, earliest, latest
        span = {"start": max(start, earliest).isoformat(), "end": min(end, latest).isoformat()}
        return exchange_calendars.get_calendar(calendar, **span), earliest, latest
    except (exchange_calendars.errors.CalendarError, ValueError) as error:
        reason = textwrap.shorten(str(error), REASON)  # which may list hundreds of days
        raise BadRecipe(
            f"the calendar {calendar} can't be had ({reason}): use {WEEKDAYS}, or a code that exchange_calendars "
            "knows, such as XNYS, XLON or XTKS"
        ) from error


def _listed(exchange: Any) -> tuple[date, date]:
    first, last = exchange.bound_min(), exchange.bound_max()
    return date.min if first is None else first.date(), date.max if last is None else last.date()
