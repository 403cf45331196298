"""Lengths of time by the clock and by business days, against calendars that one can look up."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub_fin import BadRecipe
from adapterhub_fin.plugin.calendars import Offset, Sessions, sessions

moments = st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "number", "before", "after"),
    [
        ("2021-06-30", 1, "2021-06-29", "2021-07-01"),  # a Wednesday
        ("2021-06-30T12:00", 1, "2021-06-29", "2021-07-01"),
        ("2021-06-28", 1, "2021-06-25", "2021-06-29"),  # a Monday
        ("2021-06-27T09:00", 1, "2021-06-25", "2021-06-28"),  # a Sunday
        ("2021-06-30", 5, "2021-06-23", "2021-07-07"),
        ("2021-06-30", 250, "2020-07-15", "2022-06-15"),
    ],
)
def test_weekdays(moment: str, number: int, before: str, after: str) -> None:
    span = Offset(f"{number}B", "weekdays")
    assert span.before([at(moment)]) == [at(before)]
    assert span.after([at(moment)]) == [at(after) + timedelta(days=1) - timedelta(microseconds=1)]


@settings(deadline=None)  # the first to ask for a span of years reads them
@given(moments, st.integers(1, 300))
def test_so_many_whole_days_lie_between(moment: datetime, number: int) -> None:
    span = Offset(f"{number}B", "weekdays")
    (before,), (after,) = span.before([moment]), span.after([moment])
    days = sessions("weekdays", before.date() - timedelta(days=9), after.date() + timedelta(days=9))
    whole = [o for o, close in zip(days.opens, days.closes, strict=True) if before <= o and close <= moment]
    assert len(whole) == number
    assert len([day for day in days.days if moment.date() < day <= after.date()]) == number


@pytest.mark.parametrize(
    ("moment", "zone", "next_open"),
    [  # New York's clock moves between, and days are short or missing
        ("2010-01-04T21:51:03", "UTC", "2010-01-05T14:30"),
        ("2010-01-15T22:06:33", "UTC", "2010-01-19T14:30"),  # before Martin Luther King's day
        ("2024-11-29T13:30", "America/New_York", "2024-12-02T14:30"),  # a half day is over at 13:00
        ("2024-07-03T13:00", "America/New_York", "2024-07-05T13:30"),
        ("2025-01-09T09:00", "America/New_York", "2025-01-10T14:30"),  # a day of mourning
        ("2024-03-11T09:29:59", "America/New_York", "2024-03-11T13:30"),  # the first Monday of summer time
        ("2024-03-11T13:30", "UTC", "2024-03-12T13:30"),  # at the very open it is too late for it
        ("2024-07-31T14:00", "America/New_York", "2024-08-01T13:30"),
    ],
)
def test_the_next_open_is_strictly_later(moment: str, zone: str, next_open: str) -> None:
    pytest.importorskip("exchange_calendars", reason="the sessions of exchanges need exchange_calendars")
    instant = datetime.fromisoformat(moment).replace(tzinfo=ZoneInfo(zone))
    days = sessions("XNYS", instant.date() - timedelta(days=9), instant.date() + timedelta(days=9))
    assert days.next_open(instant) == at(next_open)


def test_a_day_s_close_is_the_session_s() -> None:
    pytest.importorskip("exchange_calendars", reason="the sessions of exchanges need exchange_calendars")
    days = sessions("XNYS", date(2024, 7, 1), date(2024, 12, 31))
    assert days.close_of(date(2024, 7, 31)) == at("2024-07-31T20:00")
    assert days.close_of(date(2024, 11, 29)) == at("2024-11-29T18:00")
    with pytest.raises(BadRecipe, match="no session on 2024-11-28"):
        days.close_of(date(2024, 11, 28))
    always = sessions("24/7", date(2024, 1, 1), date(2024, 1, 9))
    assert always.close_of(date(2024, 1, 6)) == always.next_open(at("2024-01-06T12:00")) == at("2024-01-07T00:00")
    with pytest.raises(BadRecipe, match="too few business days"):
        days.next_open(at("2099-01-01T00:00"))


@settings(deadline=None)
@given(st.lists(moments, max_size=6), st.sampled_from(["0B", "3B", "0d", "1d", "90min", "7h"]))
def test_several_at_once_are_each_alone(several: list[datetime], text: str) -> None:
    span = Offset(text, "weekdays" if text.endswith("B") else None)
    assert span.before(several) == [each for moment in several for each in span.before([moment])]
    assert span.after(several) == [each for moment in several for each in span.after([moment])]
    if text.startswith("0"):
        assert span.before(several) == span.after(several) == several


def test_the_exchange_is_shut_on_its_holidays_and_closes_early() -> None:
    pytest.importorskip("exchange_calendars", reason="the business days of exchanges need exchange_calendars")
    # Friday the 3rd of July 2020 was Independence Day observed.
    assert Offset("5B", "XNYS").before([at("2020-07-06")]) == [at("2020-06-26T13:30")]
    assert Offset("5B", "weekdays").before([at("2020-07-06")]) == [at("2020-06-29")]
    # Before the open, during the session and after the close of one Monday, and on the Sunday before.
    row = [at(text) for text in ("2020-06-29T13:00", "2020-06-29T15:00", "2020-06-29T23:00", "2020-06-28T12:00")]
    assert Offset("4B", "XNYS").after(row) == [at("2020-07-06T20:00")] * 3 + [at("2020-07-02T20:00")]
    # Christmas Eve closes at one in the afternoon, in New York's winter.
    assert Offset("1B", "XNYS").after([at("2020-12-23T12:00")]) == [at("2020-12-24T18:00")]
    # Half past two on a Tuesday in Tokyo: the open of Monday there was at midnight UTC.
    assert Offset("1B", "XTKS").before([at("2021-06-29T05:30")]) == [at("2021-06-28T00:00")]


ENDING = ("XSHG", "XBOM", "XSES", "XHKG")  # their lists end, the first three with a year that is near


def end_of_list(calendar: str) -> date:
    exchange_calendars = pytest.importorskip("exchange_calendars", reason="exchanges need exchange_calendars")
    last = exchange_calendars.get_calendar(calendar).bound_max()
    return last.date() if last is not None else pytest.skip(f"the list of {calendar} has no end any more")


@pytest.mark.parametrize("calendar", ENDING)
@pytest.mark.parametrize("days", [0, 1, 32, 70])
def test_past_days_are_counted_up_to_the_end_of_a_list(calendar: str, days: int) -> None:
    """G 37: 2026-11-29 needs no session of 2027, though two months on is 2027."""
    last = end_of_list(calendar)
    moment = datetime.combine(last - timedelta(days=days), time(12), UTC)
    for number in (1, 5, 60):
        (before,) = Offset(f"{number}B", calendar).before([moment])
        found = sessions(calendar, before.date() - timedelta(days=3), moment.date())
        whole = [o for o, close in zip(found.opens, found.closes, strict=True) if before <= o and close <= moment]
        assert len(whole) == number
    midnight = datetime.combine(last + timedelta(days=1), time(), UTC)  # a cut-off: no session of that day has closed
    assert Offset("1B", calendar).before([midnight])[0].date() <= last


@pytest.mark.parametrize("calendar", ENDING)
def test_days_beyond_the_list_are_refused_and_never_passed_over(calendar: str) -> None:
    last = end_of_list(calendar)
    noon = datetime.combine(last, time(12), UTC)
    five = Offset("5B", calendar)
    assert five.after([noon - timedelta(days=40)])[0] <= noon
    for refused in (lambda: five.after([noon]), lambda: five.before([noon + timedelta(days=1)])):
        with pytest.raises(BadRecipe, match=f"too few business days.*{last}"):
            refused()
    with pytest.raises(BadRecipe, match=f"can't be had for {last.year + 1} .*{last}"):
        five.before([noon + timedelta(days=90)])


def test_past_the_list_the_earliest_close_of_any_day_bounds_what_is_known() -> None:
    """A half day may follow the last day listed, so from its close on nobody knows how many sessions are over."""
    days = [date(2020, 12, 23), date(2020, 12, 24)]
    opens = [datetime.combine(day, time(14, 30), UTC) for day in days]
    closes = [datetime(2020, 12, 23, 21, tzinfo=UTC), datetime(2020, 12, 24, 18, tzinfo=UTC)]
    listed = Sessions(days, opens, closes, UTC, days[0], days[-1])
    half_day = datetime(2020, 12, 25, 18, tzinfo=UTC)
    assert listed.back(half_day - timedelta(microseconds=1), 1) == opens[1]
    with pytest.raises(BadRecipe, match="too few business days"):
        listed.back(half_day, 1)


def test_a_list_that_begins_late_is_used_from_its_first_day_on() -> None:
    exchange_calendars = pytest.importorskip("exchange_calendars", reason="exchanges need exchange_calendars")
    first = exchange_calendars.get_calendar("XSHG").bound_min().date()  # in December 1990
    noon = datetime.combine(first, time(12), UTC)
    (after,) = Offset("1B", "XSHG").after([noon + timedelta(days=20)])
    assert first < after.date() <= first + timedelta(days=25)
    for moment in (noon - timedelta(hours=12), noon - timedelta(days=3)):
        with pytest.raises(BadRecipe, match=f"too few business days.*{first}"):
            Offset("1B", "XSHG").before([moment])
    with pytest.raises(BadRecipe, match=f"too few business days.*{first}"):
        Offset("1B", "XSHG").after([noon - timedelta(days=3)])


@pytest.mark.parametrize(
    ("calendar", "moment", "close"),
    [
        ("XTKS", "2021-06-29T14:59", "2021-06-30T06:00"),  # still the 29th in Tokyo
        ("XTKS", "2021-06-29T15:00", "2021-07-01T06:00"),  # the 30th there, and the 29th in UTC
        ("XTKS", "2021-06-29T23:30", "2021-07-01T06:00"),
        ("XTKS", "2021-07-01T16:00", "2021-07-05T06:00"),  # Friday the 2nd there
        ("XASX", "2021-06-29T15:00", "2021-07-01T06:00"),
        ("XNYS", "2021-06-30T03:59", "2021-06-30T20:00"),  # still the 29th in New York
        ("XNYS", "2021-06-30T04:00", "2021-07-01T20:00"),
        ("XNYS", "2021-01-01T04:30", "2021-01-04T21:00"),  # New Year's Eve there
    ],
)
def test_a_session_after_is_counted_from_the_day_of_the_exchange(calendar: str, moment: str, close: str) -> None:
    """G 39: by UTC's day a label in Tokyo would be known a session early."""
    pytest.importorskip("exchange_calendars", reason="the business days of exchanges need exchange_calendars")
    assert Offset("1B", calendar).after([at(moment)]) == [at(close)]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["XTKS", "XHKG", "XLON", "XNYS", "CMES", "24/7"]),
    st.datetimes(datetime(2019, 6, 1), datetime(2021, 6, 1)).map(lambda moment: moment.replace(tzinfo=UTC)),
    st.integers(1, 9),
)
def test_the_local_day_alone_decides_which_session_is_next(calendar: str, moment: datetime, number: int) -> None:
    pytest.importorskip("exchange_calendars", reason="the business days of exchanges need exchange_calendars")
    span, found = Offset(f"{number}B", calendar), sessions(calendar, date(2019, 1, 1), date(2021, 12, 31))
    local = moment.astimezone(found.zone)
    (close,) = span.after([moment])
    days = [day for day, end in zip(found.days, found.closes, strict=True) if day > local.date() and end <= close]
    assert len(days) == number
    assert close > moment
    assert close == span.after([local.replace(hour=12)])[0]


@pytest.mark.parametrize(
    ("text", "calendar", "why"),
    [
        ("5B", None, "name their calendar, such as XNYS or weekdays"),
        ("5d", "XNYS", "goes by the clock"),
        ("5", None, "is no length of time"),
        ("5b", "XNYS", "is no length of time"),
        ("-5d", None, "is no length of time"),
    ],
)
def test_what_is_no_length_is_refused(text: str, calendar: str | None, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Offset(text, calendar)


def test_a_calendar_that_is_not_known_says_what_is() -> None:
    pytest.importorskip("exchange_calendars", reason="the business days of exchanges need exchange_calendars")
    with pytest.raises(BadRecipe, match="XNYSE.*does not exist.*use weekdays, or a code"):
        Offset("5B", "XNYSE").before([at("2020-07-06")])
    with pytest.raises(BadRecipe, match="XKRX can't be had for 1929"):
        Offset("5B", "XKRX").before([at("1930-01-06")])
    with pytest.raises(BadRecipe, match="mend the dates"):
        Offset("5B", "weekdays").before([datetime(1, 1, 1, tzinfo=UTC)])


def test_without_the_library_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "exchange_calendars", None)
    with pytest.raises(BadRecipe, match=r"pip install 'adapterhub-fin\[calendars\]', or use the calendar weekdays"):
        Offset("5B", "XNYS").before([at("1999-07-06")])  # a year that nothing else has asked for
    assert Offset("1B", "weekdays").before([at("2020-07-07")]) == [at("2020-07-06")]


def test_sessions_are_those_of_whole_years() -> None:
    found: Any = sessions("weekdays", date(2021, 6, 26), date(2021, 6, 29))
    assert found.days[0] == date(2021, 1, 1) and found.days[-1] == date(2021, 12, 31) and len(found.days) == 261


@pytest.mark.parametrize("calendar", ["weekdays", "XNYS", "XTKS"])
def test_a_session_lies_before_its_own_close_and_not_before_a_tick_earlier(calendar: str) -> None:
    found = sessions(calendar, date(2021, 1, 1), date(2021, 12, 31))
    tick = timedelta(microseconds=1)
    for place in range(5, len(found.days), 17):
        opens, close = found.opens[place], found.closes[place]
        assert found.back(close, 1) == opens and found.back(close + tick, 1) == opens
        assert found.back(close - tick, 1) == found.opens[place - 1] and found.back(close, 3) == found.opens[place - 2]
        assert found.ahead(close, 1) == found.closes[place + 1] if place + 1 < len(found.days) else True


@pytest.mark.parametrize(
    ("text", "length"),
    [("12h", timedelta(hours=12)), ("30min", timedelta(minutes=30)), ("5d", timedelta(days=5)), ("0d", timedelta(0))],
)
def test_lengths_by_the_clock(text: str, length: timedelta) -> None:
    moments = [datetime(2021, 3, 14, 1, tzinfo=UTC), datetime(2020, 2, 29, 23, 59, tzinfo=UTC)]
    assert Offset(text).before(moments) == [moment - length for moment in moments]
    assert Offset(text).after(moments) == [moment + length for moment in moments]


def test_the_last_day_of_a_decade_is_a_day_too() -> None:
    days = sessions("weekdays", date(2029, 12, 1), date(2030, 1, 31)).days
    assert [day for day in days if day in (date(2029, 12, 31), date(2030, 1, 1))] == [
        date(2029, 12, 31),
        date(2030, 1, 1),
    ]
    assert (days[0], days[-1]) == (date(2029, 1, 1), date(2030, 12, 31)), "whole years"
