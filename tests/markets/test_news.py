"""The corpus news: a text is known at the latest of published, updated, received and written."""

from __future__ import annotations

import json
import os
from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapterhub_fin.errors import BadCorpus, BadRecipe
from adapterhub_fin.plugin import corpus_options, load_corpus
from adapterhub_fin.plugin.interfaces import Rows

CASES = int(os.environ.get("AHF_CASES", "0"))  # of each property, where `make properties` asks for more
ZONES = ["UTC", "America/New_York", "Europe/London", "Asia/Tokyo", "Australia/Lord_Howe", "America/Sao_Paulo"]
TABLE = """text,published,updated,received,ticker,desk,mood
Acme rises 5%,2024-03-08 16:05:00,,2024-03-08T21:05:03Z,ACME,a,up
Acme falls,2024-03-09,2024-03-11 09:00:00,,ACME,b,down
"""


def load(**options: Any) -> Rows:
    return load_corpus(*corpus_options({"name": "news", **options}))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "news.csv"
    path.write_text(TABLE)
    return path


def test_a_text_is_known_at_the_latest_of_its_dates(table: Path) -> None:
    dates = {"published": "published", "updated": "updated", "received": "received", "timezone": "America/New_York"}
    rows = load(path=table, **dates, group="ticker", slices=["desk"])
    assert rows.table["available_at"][:] == [
        datetime(2024, 3, 8, 21, 5, 3, tzinfo=UTC),
        datetime(2024, 3, 11, 13, 0, tzinfo=UTC),  # the first Monday of summer time
    ]
    assert rows.table["group"][:] == ["ACME", "ACME"] and rows.table["slices"][1] == {"desk": "b"}
    assert rows.table["origin"][:] == ["news.csv:2", "news.csv:3"]
    published = load(path=table, published="published", timezone="America/New_York").table["available_at"][:]
    assert published[1] == datetime(2024, 3, 10, 4, 59, 59, 999999, tzinfo=UTC), "a day is known at its end"


def test_a_date_without_a_zone_is_refused_with_its_line(table: Path) -> None:
    with pytest.raises(BadCorpus, match=r"(?s)news\.csv, line 2: published: .* has no time zone"):
        load(path=table, published="published")


@pytest.mark.parametrize(
    ("cell", "pattern"), [("2024-03-09 00:00", None), ("03/09/2024 00:00", "%m/%d/%Y %H:%M"), ("9.3.2024", "%d.%m.%Y")]
)
def test_a_midnight_is_its_day_however_it_is_written(tmp_path: Path, cell: str, pattern: str | None) -> None:
    (tmp_path / "news.csv").write_text(f"text,at\nAcme falls,{cell}\n")
    rows = load(path=tmp_path / "news.csv", published="at", date_format=pattern, timezone="America/New_York")
    assert rows.table["available_at"][0] == datetime(2024, 3, 10, 4, 59, 59, 999999, tzinfo=UTC)


def test_a_midnight_with_a_zone_is_its_day_in_an_object_of_days_and_as_written_at(tmp_path: Path) -> None:
    path = tmp_path / "days.json"
    path.write_text(json.dumps({f"2022-11-{day}T00:00:00Z": {"news": [f"Fell {day}."]} for day in (29, 30)}))
    ends = [datetime(2022, 11, day, 23, 59, 59, 999999, tzinfo=UTC) for day in (29, 30)]
    assert load(path=path, by_day="news", timezone="UTC").table["available_at"][:] == ends
    later = load(path=path, by_day="news", timezone="UTC", written_at="2024-12-31T00:00:00Z").table["available_at"]
    assert later[0] == datetime(2024, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)


def test_columns_that_are_not_there_and_cells_that_are_missing(table: Path) -> None:
    with pytest.raises(BadCorpus, match=r"news\.csv, line 2 has no column 'at'; it has text, published"):
        load(path=table, published="at", timezone="UTC")
    table.write_text(TABLE + ",2024-03-12,,,ACME,b,up\nLate,,,,ACME,b,up\n")
    with pytest.raises(BadCorpus, match=r"(?s)line 4: text holds no text.*line 5: published is missing; fill it, or"):
        load(path=table, published="published", timezone="UTC")
    rows = load(path=table, published="published", timezone="UTC", drop_missing=True)
    assert len(rows.table) == 2 and rows.notes["dropped, text or date missing"] == 2


def test_other_kinds_of_tables(tmp_path: Path) -> None:
    records = [{"title": "Up", "body": "5 %", "at": 1710000000}, {"title": "Down", "body": "", "at": 1710000001}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, records)))
    (tmp_path / "b.json").write_text(json.dumps(records))
    rows = load(path=str(tmp_path / "*.json*"), text=["title", "body"], published="at", date_format="unix")
    assert rows.table["text"][:] == ["Up\n5 %", "Down"] * 2
    assert rows.table["available_at"][0] == datetime(2024, 3, 9, 16, 0, tzinfo=UTC)


@pytest.fixture
def days(tmp_path: Path) -> Path:
    path = tmp_path / "days.json"
    texts = ["Coin up (sentiment:positive)", "Coin (new) down ( Sentiment : very negative )", "Coin flat"]
    path.write_text(json.dumps({"2022-11-29": {"prices": 1.5, "news": texts}, "2022-11-30": {"news": []}}))
    return path


def test_a_label_at_the_end_is_cut_off_and_kept_as_a_slice(days: Path) -> None:
    rows = load(path=days, by_day="news", timezone="UTC", end_label="sentiment")
    assert rows.table["text"][:] == ["Coin up", "Coin (new) down", "Coin flat"]
    assert [row["slices"]["sentiment"] for row in rows.table] == ["positive", "very negative", None]
    assert rows.notes == {"cut off, sentiment": 2}
    assert set(rows.table["available_at"]) == {datetime(2022, 11, 29, 23, 59, 59, 999999, tzinfo=UTC)}


def test_what_was_written_later_is_known_later(days: Path) -> None:
    rows = load(path=days, by_day="news", timezone="UTC", written_at="2024-06-30")
    assert set(rows.table["available_at"]) == {datetime(2024, 6, 30, 23, 59, 59, 999999, tzinfo=UTC)}
    assert rows.notes == {"written later than dated": 3}
    earlier = load(path=days, by_day="news", timezone="UTC", written_at=date(2020, 6, 30))
    assert earlier.table["available_at"][0].year == 2022 and earlier.notes == {"written later than dated": 0}
    with pytest.raises(BadCorpus, match="written_at: .* isn't a date"):
        load(path=days, by_day="news", timezone="UTC", written_at="later")


def test_options_that_contradict_each_other(days: Path, table: Path) -> None:
    with pytest.raises(BadRecipe, match="give published"):
        load(path=table)
    with pytest.raises(BadCorpus, match="dated by a day: set timezone"):
        load(path=days, by_day="news")
    with pytest.raises(BadCorpus, match="has no list 'stories'"):
        load(path=days, by_day="stories", timezone="UTC")


moments = st.datetimes(datetime(2015, 1, 1), datetime(2030, 12, 31)).map(lambda value: value.replace(microsecond=0))
cells = st.one_of(
    st.dates(date(2015, 1, 1), date(2030, 12, 31)).map(str),
    moments.map(str),
    st.tuples(moments, st.sampled_from(ZONES)).map(lambda pair: pair[0].replace(tzinfo=ZoneInfo(pair[1])).isoformat()),
)


def earliest(cell: str, zone: str) -> datetime:
    """Return the first instant at which a cell can be true."""
    if len(cell) == 10:
        return datetime.combine(date.fromisoformat(cell), time.max, ZoneInfo(zone)).astimezone(UTC)
    value = datetime.fromisoformat(cell)
    return (value if value.tzinfo else value.replace(tzinfo=ZoneInfo(zone))).astimezone(UTC)


@settings(max_examples=CASES or 80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(cells, st.none() | cells, st.none() | cells), min_size=1, max_size=6),
    zone=st.sampled_from(ZONES),
    later=st.timedeltas(timedelta(0), timedelta(days=900)),
)
def test_no_text_is_known_before_any_of_its_dates_and_a_future_text_changes_no_other(
    tmp_path: Path, rows: list[tuple[str, str | None, str | None]], zone: str, later: timedelta
) -> None:
    path = tmp_path / "rows.jsonl"
    names = ("published", "updated", "received")
    given_rows = [{"text": f"text {n}", **dict(zip(names, row, strict=True))} for n, row in enumerate(rows)]
    options = {"path": path, **{name: name for name in names}, "timezone": zone}

    def known(records: list[dict[str, Any]]) -> dict[str, datetime]:
        path.write_text("\n".join(map(json.dumps, records)))
        table = load(**options).table
        return dict(zip(table["text"], table["available_at"], strict=True))

    found = known(given_rows)
    for number, row in enumerate(rows):
        assert all(found[f"text {number}"] >= earliest(cell, zone) for cell in row if cell)
    last = max(found.values()) + later + timedelta(seconds=1)
    moved = known([*given_rows, {"text": "future", "published": last.isoformat(), "updated": None, "received": None}])
    midnights = [cell for row in rows for cell in row if cell and len(cell) > 19]
    if all("T00:00:00" not in cell for cell in midnights):  # else it decides whether midnights are days
        assert {text: at for text, at in moved.items() if text != "future"} == found


def test_the_real_crypto_news(shared: Path) -> None:
    path = shared / "data" / "crypto_news" / "btc.json"
    rows = load(path=path, by_day="news", timezone="UTC", end_label="sentiment")
    counts = Counter(row["sentiment"] for row in rows.table["slices"])
    assert counts == {"positive": 2631, "negative": 1243, "neutral": 1092}
    assert not any("(sentiment" in text for text in rows.table["text"])
    assert min(rows.table["available_at"]) == datetime(2022, 11, 29, 23, 59, 59, 999999, tzinfo=UTC)
    assert len(load(path=path, by_day="news", timezone="UTC", near_duplicates=1).table) == 4966 - 7


def test_the_texts_that_a_model_wrote_in_2024_are_not_known_in_2020(shared: Path) -> None:
    path = shared / "data" / "price_traps" / "uvv_written_later.json"
    rows = load(path=path, by_day="news", timezone="UTC", written_at="2024-12-31", end_label="sentiment")
    assert rows.notes["written later than dated"] == len(rows.table) == 640
    assert min(rows.table["available_at"]).year == 2024


def test_the_real_tweets_are_known_at_their_time(shared: Path) -> None:
    path = shared / "data" / "stocknet" / "tweets" / "JPM.jsonl"
    rows = load(path=path, published="created_at", date_format="%a %b %d %H:%M:%S %z %Y")
    assert rows.table["available_at"][0] == datetime(2014, 1, 1, 0, 0, 48, tzinfo=UTC)


def test_the_real_speeches_hold_two_without_words(shared: Path) -> None:
    path = shared / "data" / "fed_speeches" / "fed_speeches.jsonl"
    options = {"path": path, "published": "date", "timezone": "America/New_York"}
    with pytest.raises(BadCorpus, match=r"(?s)2 faults:.*line 997: text holds no text"):
        load(**options)
    rows = load(**options, drop_missing=True)
    assert len(rows.table) == 1023
