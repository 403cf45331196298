"""Lengths of time by the clock and by business days, against calendars that one can look up."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapterhub_fin import BadRecipe
from adapterhub_fin.calendars import Span, sessions

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
    span = Span(f"{number}B", "weekdays")
    assert span.before([at(moment)]) == [at(before)]
    assert span.after([at(moment)]) == [at(after) + timedelta(days=1) - timedelta(microseconds=1)]


@given(moments, st.integers(1, 300))
def test_so_many_whole_days_lie_between(moment: datetime, number: int) -> None:
    span = Span(f"{number}B", "weekdays")
    (before,), (after,) = span.before([moment]), span.after([moment])
    days = sessions("weekdays", before.date() - timedelta(days=9), after.date() + timedelta(days=9))
    whole = [o for o, close in zip(days.opens, days.closes, strict=True) if before <= o and close <= moment]
    assert len(whole) == number
    assert len([day for day in days.days if moment.date() < day <= after.date()]) == number


@given(st.lists(moments, max_size=6), st.sampled_from(["0B", "0d", "1d", "90min", "7h"]))
def test_several_at_once_are_each_alone(several: list[datetime], text: str) -> None:
    span = Span(text, "weekdays" if text.endswith("B") else None)
    assert span.before(several) == [each for moment in several for each in span.before([moment])]
    if text.startswith("0"):
        assert span.before(several) == span.after(several) == several


def test_the_exchange_is_shut_on_its_holidays_and_closes_early() -> None:
    pytest.importorskip("exchange_calendars", reason="the business days of exchanges need exchange_calendars")
    # Friday the 3rd of July 2020 was Independence Day observed.
    assert Span("5B", "XNYS").before([at("2020-07-06")]) == [at("2020-06-26T13:30")]
    assert Span("5B", "weekdays").before([at("2020-07-06")]) == [at("2020-06-29")]
    # Before the open, during the session and after the close of one Monday, and on the Sunday before.
    row = [at(text) for text in ("2020-06-29T13:00", "2020-06-29T15:00", "2020-06-29T23:00", "2020-06-28T12:00")]
    assert Span("4B", "XNYS").after(row) == [at("2020-07-06T20:00")] * 3 + [at("2020-07-02T20:00")]
    # Christmas Eve closes at one in the afternoon, in New York's winter.
    assert Span("1B", "XNYS").after([at("2020-12-23T12:00")]) == [at("2020-12-24T18:00")]
    # Half past two on a Tuesday in Tokyo: the open of Monday there was at midnight UTC.
    assert Span("1B", "XTKS").before([at("2021-06-29T05:30")]) == [at("2021-06-28T00:00")]


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
        Span(text, calendar)


def test_a_calendar_that_is_not_known_says_what_is() -> None:
    pytest.importorskip("exchange_calendars", reason="the business days of exchanges need exchange_calendars")
    with pytest.raises(BadRecipe, match="XNYSE.*does not exist.*use weekdays, or a code"):
        Span("5B", "XNYSE").before([at("2020-07-06")])
    with pytest.raises(BadRecipe, match="XKRX can't be had for 1929"):
        Span("5B", "XKRX").before([at("1930-01-06")])
    with pytest.raises(BadRecipe, match="mend the dates"):
        Span("5B", "weekdays").before([datetime(1, 1, 1, tzinfo=UTC)])


def test_without_the_library_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "exchange_calendars", None)
    with pytest.raises(BadRecipe, match=r"pip install 'adapterhub-fin\[calendars\]', or use the calendar weekdays"):
        Span("5B", "XNYS").before([at("1999-07-06")])  # a year that nothing else has asked for
    assert Span("1B", "weekdays").before([at("2020-07-07")]) == [at("2020-07-06")]


def test_sessions_are_those_of_whole_years() -> None:
    found: Any = sessions("weekdays", date(2021, 6, 26), date(2021, 6, 29))
    assert found.days[0] == date(2021, 1, 1) and found.days[-1] == date(2021, 12, 31) and len(found.days) == 261
