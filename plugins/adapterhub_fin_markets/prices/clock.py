"""Put the times that rows are labelled with on one UTC clock: the sessions of an exchange."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from adapterhub_fin.plugin import AdapterHubError, sessions
from adapterhub_fin_markets.prices.bars import Labels
from adapterhub_fin_markets.prices.errors import BadPrices

DAILY: Final = "1d"
_DAY: Final = np.timedelta64(24 * 3600 * 1_000_000, "us")
_HOUR: Final = np.timedelta64(3600 * 1_000_000, "us")
_NONE: Final = np.timedelta64(0, "us")
_BESIDE: Final = timedelta(2)
_EARLIEST, _LATEST = date.min + _BESIDE, date.max - _BESIDE
_MINUTES: Final = {"min": 1, "m": 1, "h": 60}


@dataclass(frozen=True, eq=False)
class Clock:
    """Hold the sessions of an exchange, ascending; arrays of shape (sessions,)."""

    days: np.ndarray  # datetime64[D], as the exchange dates them
    opens: np.ndarray  # datetime64[us], UTC
    closes: np.ndarray
    zone: str

    def session(self, moments: np.ndarray) -> np.ndarray:
        """Return the session that each instant, (instants,), lies in, the open included and the close not, or -1."""
        number = np.searchsorted(self.opens, moments, "right") - 1
        inside: np.ndarray = np.where((number >= 0) & (moments < self.closes[number]), number, -1)
        return inside

    @property
    def whole_days(self) -> bool:
        """Say whether each session is a day of UTC, from midnight to midnight."""
        midnight = self.opens.astype("M8[D]") == self.opens
        return bool(midnight.all() and (self.closes - self.opens == _DAY).all())


@dataclass(frozen=True, eq=False)
class Placed:
    """Hold the bars' times, ascending, and which of them each label is, -1 where the exchange has no session."""

    starts: np.ndarray  # (times,) datetime64[us]
    closes: np.ndarray
    days: np.ndarray  # (times,) datetime64[D]: the session's day
    index: np.ndarray  # (labels,) int32


def bar_length(interval: str) -> np.timedelta64 | None:
    """Return the length of an intraday bar, None for a day. Raises BadPrices for another interval."""
    if interval == DAILY:
        return None
    match = re.fullmatch(r"([1-9]\d{0,3})(min|m|h)", interval)
    if not match or int(match[1]) * _MINUTES[match[2]] >= 24 * 60:
        raise BadPrices(f"{interval!r} is no length of a bar: write 1d, or less than a day such as 1h or 15min")
    return np.timedelta64(60_000_000 * int(match[1]) * _MINUTES[match[2]], "us")


def bar_closes(clock: Clock, interval: str) -> np.ndarray:
    """Return when the bars of every session close, (bars,) ascending: each length from its open on, and at its close.

    A pause within a session, such as lunch, is divided as the rest of it. Raises BadPrices for another interval.
    """
    length = bar_length(interval)
    if length is None:
        return clock.closes
    longest = (clock.closes - clock.opens).max(initial=length)
    ends = clock.opens[:, None] + np.arange(1, longest // length + 1) * length
    closes: np.ndarray = np.union1d(ends[ends < clock.closes[:, None]], clock.closes)
    return closes


def read_clock(calendar: str, first: np.datetime64, last: np.datetime64) -> Clock:
    """Return the sessions of the years from one day to another, and of the days beside them.

    Raises BadPrices where the calendar can't be had.
    """
    start, end = (date.fromisoformat(str(day.astype("M8[D]"))) for day in (first, last))
    try:
        listed = sessions(calendar, max(start, _EARLIEST) - _BESIDE, min(end, _LATEST) + _BESIDE)
    except AdapterHubError as error:
        raise BadPrices(f"the bars from {start} to {end} need another calendar: {error}") from error
    if start < listed.first or end > listed.last:
        raise BadPrices(
            f"the calendar {calendar} is known from {listed.first} to {listed.last}, and the bars go from {start} to "
            f"{end}: leave the others out, or read them on another calendar"
        )
    opens, closes = (np.array([at.replace(tzinfo=None) for at in of], "M8[us]") for of in (listed.opens, listed.closes))
    if calendar == "weekdays":
        closes = closes + np.timedelta64(1, "us")  # the next midnight, as of 24/7: a day's bar is known once it is over
    return Clock(np.array(listed.days, "M8[D]"), opens, closes, str(listed.zone))


def local_days(utc: np.ndarray, zone: str) -> np.ndarray:
    """Return the date in a zone at each instant, (instants,) datetime64[D]."""
    local = pc.local_timestamp(pa.array(utc).cast(pa.timestamp("us", zone)))
    days: np.ndarray = local.to_numpy(zero_copy_only=False).astype("M8[D]")
    return days


def label_days(labels: Labels, clock: Clock) -> np.ndarray:
    """Return the exchange's date of each label of a daily bar, (labels,) datetime64[D].

    A date and a midnight in the zone that it is written in mean that date: converted to another zone, half of them
    would move to the day before. Any other time means the session that it lies in, which may have opened on the evening
    before, and else its date in the exchange's zone.
    """
    days = np.where(np.isnat(labels.day), labels.utc.astype("M8[D]"), labels.day)
    other = np.isnat(labels.day) & labels.zoned
    session = clock.session(labels.utc[other])
    days[other] = np.where(session >= 0, clock.days[session], local_days(labels.utc[other], clock.zone))
    return days


def place(labels: Labels, calendar: str, interval: str, timezone: str | None, label: str) -> tuple[Placed, Clock]:
    """Return where each label stands on the exchange's clock. Raises BadPrices where a time has no zone."""
    length = bar_length(interval)
    if label not in ("start", "end"):
        raise BadPrices(f"label is {label!r}: a bar is labelled by its start or its end")
    if length is None:
        return _place_days(labels, calendar, label)
    moments = _instants(labels, timezone)
    clock = read_clock(calendar, moments.min(), moments.max())
    starts = _starts(moments, length, clock) if label == "end" else moments
    inside = clock.session(starts) >= 0
    times = bar_starts(np.unique(starts[inside]), length, clock)
    number = np.full(len(labels), -1, np.int32)
    number[inside] = np.searchsorted(times, starts[inside])
    of = clock.session(times)
    return Placed(times, np.minimum(times + length, clock.closes[of]), clock.days[of], number), clock


def _starts(ends: np.ndarray, length: np.timedelta64, clock: Clock) -> np.ndarray:
    """Return the start of each bar of a table by its end, (labels,).

    The first bar of a session starts no earlier than it, and the last one, or one before a pause, where the bar before
    it ends.
    """
    session = np.searchsorted(clock.opens, ends, "left") - 1
    inside = (session >= 0) & (ends <= clock.closes[session])
    since = np.where(inside, ends - clock.opens[session], _NONE)
    last = inside & (ends == clock.closes[session])
    phases, counts = np.unique(since[inside & ~last] % length, return_counts=True)
    phase = phases[counts.argmax()] if len(phases) else _NONE
    before = phase + (since - phase - np.timedelta64(1, "us")) // length * length
    start = np.where(last, np.maximum(since - length, before), since - length)
    starts: np.ndarray = clock.opens[session] + np.maximum(start, _NONE)
    starts = np.maximum(starts, _before_pauses(ends, session, length))
    return np.where(inside, starts, ends - np.timedelta64(1, "us"))


def _before_pauses(ends: np.ndarray, session: np.ndarray, length: np.timedelta64) -> np.ndarray:
    """Return the end before each, (labels,), where it is nearer than a bar's length and the next one is further.

    A bar that lunch cuts short is such; another instant counts for none.
    """
    distinct, first, at = np.unique(ends, return_index=True, return_inverse=True)
    apart, same = np.diff(distinct), np.diff(session[first]) == 0
    short = np.append(False, same & (apart < length)) & np.append(~same | (apart > length), True)
    ends_before: np.ndarray = np.where(short, np.roll(distinct, 1), np.datetime64(-(2**62), "us"))[at]
    return ends_before


def bar_starts(present: np.ndarray, length: np.timedelta64, clock: Clock) -> np.ndarray:
    """Return the starts of the bars that there are, (bars,) ascending, and of those missing between them, (times,).

    A session's bars follow each other from its open. One is missing where its time of the session has a bar in another
    session: at lunch there are none. Where most bars lie off that grid, or none follows another, none is missing.
    """
    if len(present) < 2 or np.diff(present).min() > length:
        return present
    since = present - clock.opens[clock.session(present)]
    on = since % length == _NONE
    if 2 * np.count_nonzero(on) < len(present):
        return present
    first, last = clock.session(present[[0, -1]])
    opens, closes = clock.opens[first : last + 1], clock.closes[first : last + 1]
    slots = np.arange(0, _DAY // length + 1) * length if clock.whole_days else np.unique(since[on])
    grid = opens[:, None] + slots
    grid = grid[(grid < closes[:, None]) & (grid > present[0]) & (grid < present[-1])]
    times: np.ndarray = np.union1d(present, grid)
    return times


def _place_days(labels: Labels, calendar: str, label: str) -> tuple[Placed, Clock]:
    around = labels.utc.astype("M8[D]")
    clock = read_clock(calendar, around.min(), around.max())
    days = label_days(labels, clock)
    if days.min() < clock.days[0] or days.max() > clock.days[-1]:
        clock = read_clock(calendar, days.min(), days.max())
    session = np.searchsorted(clock.days, days)
    inside = (session < len(clock.days)) & (clock.days[np.minimum(session, len(clock.days) - 1)] == days)
    if not inside.any():
        none = np.zeros(0, "M8[us]")
        return Placed(none, none, none.astype("M8[D]"), np.full(len(labels), -1, np.int32)), clock
    first, last = session[inside].min(), session[inside].max() + 1
    index = np.where(inside, session - first, -1).astype(np.int32)
    starts, closes = clock.opens[first:last], clock.closes[first:last]
    if clock.whole_days and label == "start":
        starts, closes = _later(labels, days, starts, closes, index)
    return Placed(starts, closes, clock.days[first:last], index), clock


def _later(
    labels: Labels, days: np.ndarray, starts: np.ndarray, closes: np.ndarray, index: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the starts and closes, (times,), of days that begin after the midnight of UTC: 24 hours from their label.

    A midnight of another zone may begin a day of 25 hours, and counts an hour later.
    """
    after = labels.utc - days.astype("M8[us]")
    after = np.where((after > _NONE) & ~np.isnat(labels.day), after + _HOUR, after)
    shift = np.zeros(len(starts), "m8[us]")
    np.maximum.at(shift, index[index >= 0], after[index >= 0])
    starts, closes = starts + shift, closes + shift
    closes[:-1] = np.where(starts[1:] - closes[:-1] <= _HOUR, np.maximum(closes[:-1], starts[1:]), closes[:-1])
    return starts, closes


def _instants(labels: Labels, timezone: str | None) -> np.ndarray:
    if labels.bare.any():
        day = str(labels.day[labels.bare][0])
        raise BadPrices(f"bars of less than a day need times, and one is dated {day}: read them with interval='1d'")
    if labels.zoned.all():
        return labels.utc
    if timezone is None:
        time = str(labels.utc[~labels.zoned][0])
        raise BadPrices(f"the time {time} has no zone: name it, as in timezone='America/New_York'")
    utc = labels.utc.copy()
    local: Any = pa.array(labels.utc[~labels.zoned], pa.timestamp("us"))
    try:  # of an hour that the clocks repeat or skip, the later instant: never before the bar was known
        zoned = pc.assume_timezone(local, timezone, ambiguous="latest", nonexistent="latest")
    except pa.ArrowInvalid as error:
        raise BadPrices(f"there is no time zone {timezone!r}: write it as America/New_York or UTC") from error
    utc[~labels.zoned] = zoned.cast(pa.timestamp("us", "UTC")).to_numpy(zero_copy_only=False).astype("M8[us]")
    return utc
