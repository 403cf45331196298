"""The corpus fomc: minutes and statements are known when they were released, not when the meeting was."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub_fin.errors import BadCorpus, BadRecipe
from adapterhub_fin.plugin import corpus_options, load_corpus
from adapterhub_fin.plugin.interfaces import Rows
from adapterhub_fin_markets.corpora.fomc import release_instant

CASES = int(os.environ.get("AHF_CASES", "0"))  # of each property, where `make properties` asks for more
NEW_YORK = ZoneInfo("America/New_York")
HEADER = "StartDate,EndDate,ReleaseDate\n"


def load(**options: Any) -> Rows:
    return load_corpus(*corpus_options({"name": "fomc", **options}))


@pytest.fixture
def minutes(tmp_path: Path) -> Path:
    folder = tmp_path / "minutes"
    folder.mkdir()
    (folder / "20240131.txt").write_text("The staff reported that prices rose 3.2 percent.")
    (folder / "20240320.html").write_text("<html><body><p>Participants saw <b>GDP</b> up 2.5%.</p></body></html>")
    (folder / "LICENSE.md").write_text("public")
    (tmp_path / "releases.csv").write_text(
        HEADER + "2024-01-30,2024-01-31,2024-02-21\nMarch/19/2024,March/20/2024,2024-04-10\n"
    )
    return folder


def test_minutes_are_known_at_the_end_of_the_day_of_their_release(minutes: Path) -> None:
    rows = load(path=minutes, releases=minutes.parent / "releases.csv")
    assert [row["available_at"].astimezone(NEW_YORK) for row in rows.table] == [
        datetime(2024, 2, 21, 23, 59, 59, 999999, tzinfo=NEW_YORK),
        datetime(2024, 4, 10, 23, 59, 59, 999999, tzinfo=NEW_YORK),
    ]
    assert rows.table["text"][:] == [
        "The staff reported that prices rose 3.2 percent.",
        "Participants saw GDP up 2.5%.",
    ]
    assert rows.table["group"][:] == ["2024-01-31", "2024-03-20"] and rows.notes == {"other files": 1}


def test_a_release_time_is_read_in_new_york_in_winter_and_in_summer(minutes: Path) -> None:
    rows = load(path=minutes, releases=minutes.parent / "releases.csv", release_time="14:00")
    assert rows.table["available_at"][:] == [
        datetime(2024, 2, 21, 19, 0, tzinfo=UTC),
        datetime(2024, 4, 10, 18, 0, tzinfo=UTC),
    ]


def test_statements_are_released_on_the_day_that_names_them(minutes: Path) -> None:
    rows = load(path=minutes, kind="statements", release_time="14:00")
    assert rows.table["available_at"][0] == datetime(2024, 1, 31, 19, 0, tzinfo=UTC)
    assert [row["slices"] for row in rows.table] == [{"kind": "statements"}] * 2


def test_minutes_without_a_release_are_refused(minutes: Path) -> None:
    releases = minutes.parent / "releases.csv"
    releases.write_text(HEADER + "2024-01-30,2024-01-31,2024-02-21\n")
    with pytest.raises(BadCorpus, match=r"20240320\.html: releases\.csv has 0 meetings on 2024-03-20"):
        load(path=minutes, releases=releases)
    with pytest.raises(BadRecipe, match="named by the meeting, and came out weeks later"):
        load(path=minutes)


def test_a_release_before_its_meeting_is_refused_with_its_row(minutes: Path) -> None:
    releases = minutes.parent / "releases.csv"
    releases.write_text(HEADER + "2024-01-30,2024-01-31,2024-01-15\n2024-03-19,2024-03-20,tomorrow\n")
    with pytest.raises(BadCorpus, match=r"(?s)line 2: .* later release.*line 3: ReleaseDate is 'tomorrow'"):
        load(path=minutes, releases=releases)


@settings(max_examples=CASES or 200, deadline=None)
@given(day=st.dates(date(1990, 1, 1), date(2040, 12, 31)), clock=st.none() | st.times().map(lambda t: f"{t:%H:%M}"))
def test_no_release_is_known_before_its_day_and_time_in_new_york(day: date, clock: str | None) -> None:
    at = release_instant(day, clock)
    local = at.astimezone(NEW_YORK)
    if clock is None:
        assert at + timedelta(microseconds=1) == datetime(day.year, day.month, day.day, tzinfo=NEW_YORK).replace(
            tzinfo=None
        ).__add__(timedelta(days=1)).replace(tzinfo=NEW_YORK).astimezone(UTC)
    else:
        assert local.date() == day and f"{local:%H:%M}" >= clock


def test_the_real_minutes_are_known_weeks_after_their_meeting(shared: Path) -> None:
    folder = shared / "data" / "fomc_minutes"
    rows = load(path=folder, releases=folder / "release_dates_raw.csv")
    lags = [
        (row["available_at"].astimezone(NEW_YORK).date() - date.fromisoformat(row["group"])).days for row in rows.table
    ]
    assert len(lags) == 54 and min(lags) == 20 and max(lags) <= 59


def test_two_of_the_real_minutes_are_copies(shared: Path) -> None:
    folder = shared / "data" / "fomc_minutes"
    rows = load(path=folder, releases=folder / "release_dates_raw.csv", near_duplicates=1)
    assert len(rows.table) == 52 and rows.notes["dropped, near-duplicates"] == 2


def test_the_real_statements(shared: Path) -> None:
    rows = load(path=shared / "data" / "fomc_statements", kind="statements", release_time="14:00")
    assert rows.table["available_at"][0] == datetime(1994, 2, 4, 19, 0, tzinfo=UTC) and len(rows.table) >= 159
