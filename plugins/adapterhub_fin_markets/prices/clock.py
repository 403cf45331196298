"""Put the times that rows are labelled with on one UTC clock: the sessions of an exchange."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from adapterhub_fin.plugin import AdapterHubError, sessions
from adapterhub_fin_markets.prices.bars import Labels
from adapterhub_fin_markets.prices.errors import BadPrices

DAILY: Final = "1d"
_MINUTES: Final = {"min": 1, "m": 1, "h": 60}


@dataclass(frozen=True, eq=False)
class Clock:
    """Hold the sessions of an exchange, ascending; arrays of shape (sessions,)."""

    days: np.ndarray  # datetime64[D], as the exchange dates them
    opens: np.ndarray  # datetime64[us], UTC
    closes: np.ndarray
    zone: str


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


def read_clock(calendar: str, first: np.datetime64, last: np.datetime64) -> Clock:
    """Return the sessions of the years from one day to another. Raises BadPrices where the calendar can't be had."""
    start, end = (date.fromisoformat(str(day.astype("M8[D]"))) for day in (first, last))
    try:
        listed = sessions(calendar, start, end)
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


def label_days(labels: Labels, zone: str) -> np.ndarray:
    """Return the exchange's date of each label of a daily bar, (labels,) datetime64[D].

    A date and a midnight in the zone that it is written in mean that date: converted to another zone, half of them
    would move to the day before. Any other time is dated in the exchange's zone.
    """
    days = np.where(np.isnat(labels.day), labels.utc.astype("M8[D]"), labels.day)
    other = np.isnat(labels.day) & labels.zoned
    days[other] = local_days(labels.utc[other], zone)
    return days


def place(labels: Labels, calendar: str, interval: str, timezone: str | None, label: str) -> tuple[Placed, Clock]:
    """Return where each label stands on the exchange's clock. Raises BadPrices where a time has no zone."""
    length = bar_length(interval)
    if label not in ("start", "end"):
        raise BadPrices(f"label is {label!r}: a bar is labelled by its start or its end")
    if length is None:
        return _place_days(labels, calendar)
    starts = _instants(labels, timezone) - (length if label == "end" else np.timedelta64(0, "us"))
    clock = read_clock(calendar, starts.min() - np.timedelta64(2, "D"), starts.max() + np.timedelta64(2, "D"))
    session = np.searchsorted(clock.opens, starts, "right") - 1
    inside = (session >= 0) & (starts < clock.closes[session])
    times, index = np.unique(starts[inside], return_inverse=True)
    of = np.searchsorted(clock.opens, times, "right") - 1
    number = np.full(len(labels), -1, np.int32)
    number[inside] = index
    return Placed(times, np.minimum(times + length, clock.closes[of]), clock.days[of], number), clock


def _place_days(labels: Labels, calendar: str) -> tuple[Placed, Clock]:
    around = labels.utc.astype("M8[D]")
    clock = read_clock(calendar, around.min(), around.max())
    days = label_days(labels, clock.zone)
    if days.min().astype("M8[Y]") < around.min().astype("M8[Y]") or days.max() > clock.days[-1]:
        clock = read_clock(calendar, days.min(), days.max())
    session = np.searchsorted(clock.days, days)
    inside = (session < len(clock.days)) & (clock.days[np.minimum(session, len(clock.days) - 1)] == days)
    if not inside.any():
        none = np.zeros(0, "M8[us]")
        return Placed(none, none, none.astype("M8[D]"), np.full(len(labels), -1, np.int32)), clock
    first, last = session[inside].min(), session[inside].max() + 1
    index = np.where(inside, session - first, -1).astype(np.int32)
    return Placed(clock.opens[first:last], clock.closes[first:last], clock.days[first:last], index), clock


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
