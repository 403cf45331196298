"""Instants and the choice by date."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import product
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapterhub_fin_registry import BadInstant
from adapterhub_fin_registry.model.knowledge import (
    as_of_instant,
    choose,
    end_of_day,
    format_instant,
    knowledge_end,
    parse_instant,
)

moments = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1))
instants = moments.map(lambda moment: moment.replace(tzinfo=UTC))
zones = st.sampled_from(
    [
        "UTC",
        "America/New_York",
        "Asia/Tokyo",
        "Asia/Kolkata",
        "America/Havana",
        "America/Sao_Paulo",
        "Atlantic/Azores",
        "Pacific/Kiritimati",
        "Pacific/Apia",
        "Etc/GMT+12",
        "Africa/Cairo",
    ]
)


@given(instants)
def test_an_instant_has_one_text(instant: datetime) -> None:
    text = format_instant(instant)
    assert parse_instant(text) == instant
    assert format_instant(parse_instant(text)) == text
    assert ("." in text) == (instant.microsecond != 0)


@given(instants, st.integers(-720, 720))
def test_the_text_does_not_depend_on_the_zone(instant: datetime, minutes: int) -> None:
    assert format_instant(instant.astimezone(timezone(timedelta(minutes=minutes)))) == format_instant(instant)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2021-06-30",
        "2021-06-30T00:00:00",
        "2021-06-30T00:00:00+00:00",
        "2021-06-30 00:00:00Z",
        "2021-06-30t00:00:00z",
        "2021-06-30T00:00Z",
        "2021-06-30T00:00:00.0Z",
        "2021-06-30T00:00:00.10Z",
        "2021-06-30T00:00:00.1234567Z",
        "2021-6-30T00:00:00Z",
        "2021-02-29T00:00:00Z",
        "2021-06-30T24:00:00Z",
        "2021-06-30T23:59:60Z",
        "0000-01-01T00:00:00Z",
        "2021-06-30T00:00:00Z\n",
        " 2021-06-30T00:00:00Z",
        "２021-06-30T00:00:00Z",
        "10000-01-01T00:00:00Z",
    ],
)
def test_any_other_spelling_is_refused(text: str) -> None:
    with pytest.raises(BadInstant):
        parse_instant(text)


def test_an_instant_needs_a_zone() -> None:
    with pytest.raises(BadInstant, match="time zone"):
        format_instant(datetime(2021, 6, 30))


@given(moments, zones)
def test_no_moment_of_a_day_is_after_its_end(moment: datetime, zone: str) -> None:
    here = moment.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC).astimezone(ZoneInfo(zone))
    end = end_of_day(here.date(), zone)
    assert here <= end
    # In every zone on earth, the moment is past once the unknown zone's day is.
    assert here.astimezone(UTC) <= end_of_day(here.date(), None)


@given(st.dates(date(1970, 1, 3), date(2100, 1, 1)), zones)
def test_a_day_ends_a_microsecond_before_the_next(day: date, zone: str) -> None:
    next_moment = (end_of_day(day, zone) + timedelta(microseconds=1)).astimezone(ZoneInfo(zone))
    assert next_moment.date() > day


def test_what_was_known_by_the_end_of_a_utc_day_is_known_on_the_next() -> None:
    assert end_of_day(date(2021, 6, 29), "UTC") < as_of_instant("2021-06-30") <= end_of_day(date(2021, 6, 30), "UTC")
    assert format_instant(end_of_day(date(2021, 6, 29), "America/New_York")) == "2021-06-30T03:59:59.999999Z"
    assert format_instant(end_of_day(date(2021, 6, 29), None)) == "2021-06-30T11:59:59.999999Z"


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "../etc/passwd", "/etc/localtime", "America"])
def test_a_zone_must_be_known(zone: str) -> None:
    with pytest.raises(BadInstant, match="time zone"):
        end_of_day(date(2021, 6, 30), zone)


def test_the_calendar_has_an_end() -> None:
    with pytest.raises(BadInstant):
        end_of_day(date.max, "UTC")
    for instant in (datetime.max.replace(tzinfo=timezone(timedelta(hours=-5))),):
        with pytest.raises(BadInstant):
            format_instant(instant)
        with pytest.raises(BadInstant):
            as_of_instant(instant)


@pytest.mark.parametrize(
    ("as_of", "text"),
    [
        ("2021-06-30", "2021-06-30T00:00:00Z"),
        (date(2021, 6, 30), "2021-06-30T00:00:00Z"),
        ("2021-06-30T12:00:00Z", "2021-06-30T12:00:00Z"),
        ("2021-06-30T12:00:00+02:00", "2021-06-30T10:00:00Z"),
        ("2021-06-30 12:00Z", "2021-06-30T12:00:00Z"),
        (datetime(2021, 6, 30, 12, tzinfo=timezone(timedelta(hours=2))), "2021-06-30T10:00:00Z"),
    ],
)
def test_as_of(as_of: str | date | datetime, text: str) -> None:
    assert format_instant(as_of_instant(as_of)) == text


def test_as_of_now() -> None:
    before = datetime.now(UTC)
    assert before <= as_of_instant("now") <= datetime.now(UTC)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "20210630", "2021-W26", "2021-06-30T12:00:00", "2021-13-01", "30.06.2021"]
)
def test_as_of_is_never_guessed(text: str) -> None:
    with pytest.raises(BadInstant):
        as_of_instant(text)
    with pytest.raises(BadInstant):
        as_of_instant(datetime(2021, 6, 30))


inputs = st.lists(
    st.tuples(st.sampled_from(["base", "corpus:a", "labels:a", "parent:acme/x"]), instants), min_size=1, max_size=5
)


@given(inputs)
def test_the_strict_end_is_the_latest_of_all(listed: list[tuple[str, datetime]]) -> None:
    assert knowledge_end(listed) == max(at for _, at in listed)
    assert knowledge_end(listed, include_base=False) <= knowledge_end(listed, include_base=True)
    own = [at for name, at in listed if name != "base"]
    assert knowledge_end(listed, include_base=False) == max(own or [at for _, at in listed])


def test_nothing_is_not_an_end() -> None:
    with pytest.raises(BadInstant):
        knowledge_end([])
    with pytest.raises(BadInstant, match="include_base"):
        knowledge_end([("corpus:a", datetime(2021, 1, 1, tzinfo=UTC))], "loose")  # type: ignore[arg-type]


@dataclass(frozen=True)
class Dated:
    number: int
    inputs: tuple[tuple[str, datetime], ...]

    def knows_until(self, include_base: bool) -> datetime:
        return knowledge_end(self.inputs, include_base)


versions = st.lists(inputs.map(tuple), max_size=6).map(
    lambda listed: [Dated(n, entry) for n, entry in enumerate(listed, 1)]
)


@given(versions, instants, st.booleans())
def test_the_choice_never_knew_too_much_and_no_other_knew_more(
    listed: list[Dated], as_of: datetime, include_base: bool
) -> None:
    chosen = choose(listed, as_of, include_base)
    allowed = [version for version in listed if version.knows_until(include_base) < as_of]
    if chosen is None:
        assert not allowed
        return
    assert chosen in allowed
    for version in allowed:
        assert (version.knows_until(include_base), version.number) <= (chosen.knows_until(include_base), chosen.number)


@given(versions, instants, st.timedeltas(timedelta(0), timedelta(days=9999)), st.booleans())
def test_a_later_date_never_chooses_less_knowledge(
    listed: list[Dated], as_of: datetime, later: timedelta, include_base: bool
) -> None:
    chosen = choose(listed, as_of, include_base)
    if chosen is not None:
        after = choose(listed, as_of + later, include_base)
        assert after is not None and after.knows_until(include_base) >= chosen.knows_until(include_base)


DAYS = [datetime(2021, 1, day, tzinfo=UTC) for day in (1, 2, 3)]


@pytest.mark.parametrize("include_base", [True, False])
def test_every_choice_of_a_few_days(include_base: bool) -> None:
    """Three versions whose base and corpus end on one of three days, asked on each day and the next instant."""
    pairs = [(("base", base), ("corpus:a", corpus)) for base, corpus in product(DAYS, DAYS[:2])]
    for ends in product(pairs, repeat=3):
        listed = [Dated(number, each) for number, each in enumerate(ends, 1)]
        known = {each.number: max(at for name, at in each.inputs if include_base or name != "base") for each in listed}
        for as_of in (*DAYS, *(day + timedelta(microseconds=1) for day in DAYS)):
            allowed = [(end, number) for number, end in known.items() if end < as_of]
            chosen = choose(listed, as_of, include_base)
            assert (chosen and chosen.number) == (max(allowed)[1] if allowed else None)


def test_a_refit_of_an_old_window_is_not_the_newest_knowledge() -> None:
    def version(number: int, year: int) -> Dated:
        return Dated(
            number, (("base", datetime(2019, 1, 1, tzinfo=UTC)), ("corpus:a", datetime(year, 1, 1, tzinfo=UTC)))
        )

    listed = [version(1, 2020), version(2, 2022), version(3, 2020)]
    chosen = choose(listed, datetime(2023, 1, 1, tzinfo=UTC))
    assert chosen is not None and chosen.number == 2
    chosen = choose(listed, datetime(2021, 1, 1, tzinfo=UTC))
    assert chosen is not None and chosen.number == 3
    assert choose(listed, datetime(2020, 1, 1, tzinfo=UTC)) is None
