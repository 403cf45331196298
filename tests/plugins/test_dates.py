"""A day is never read as its first instant, however it is written; a time stays the time it was. (G 2, G 30)"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import adapterhub_fin as ahf
from adapterhub_fin.plugin import collected
from adapterhub_fin_plugins.corpora.cells import Instants, Source
from adapterhub_fin_plugins.corpora.hub import Hub
from adapterhub_fin_plugins.corpora.instructions import Instructions
from adapterhub_fin_plugins.corpora.options import Cells, HubOptions, InstructionsOptions, TableOptions, TextOptions
from adapterhub_fin_plugins.corpora.records import Record
from adapterhub_fin_plugins.corpora.table import Table
from adapterhub_fin_plugins.corpora.text import Text
from adapterhub_fin_registry.model.knowledge import end_of_day

NEW_YORK = "America/New_York"
ZONES = ["UTC", NEW_YORK, "Europe/London", "Asia/Tokyo", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Tehran"]
days = st.dates(date(2016, 1, 1), date(2023, 12, 31))
zones = st.sampled_from(ZONES)
clocks = st.times().filter(lambda clock: clock != time())


def read(cells: list[Any], zone: str | None = None) -> Instants:
    records = [Record({"at": cell}, "a.csv", row) for row, cell in enumerate(cells, 2)]
    with collected("corpus table") as faults:
        return Source(records, Cells(timezone=zone), faults).instants("at")


def midnight(day: date) -> datetime:
    return datetime.combine(day, time())


SPELLINGS: dict[str, Callable[[date], Any]] = {
    "a day": str,
    "pandas and SQL": lambda day: f"{day} 00:00:00",
    "ISO": lambda day: f"{day}T00:00:00",
    "pandas' JSON": lambda day: f"{day}T00:00:00.000",
    "nanoseconds": lambda day: f"{day} 00:00:00.000000000",
    "minutes": lambda day: f" {day}t00:00 ",
    "a date": lambda day: day,
    "a datetime": midnight,
    "pandas": lambda day: pd.Timestamp(midnight(day)).as_unit("ns"),
    "numpy": lambda day: np.datetime64(midnight(day), "s"),
    "numpy's day": lambda day: np.datetime64(day, "D"),
}


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(days, st.sampled_from(sorted(SPELLINGS))), min_size=1, max_size=6), zones, st.none() | clocks)
def test_a_midnight_without_a_zone_is_the_end_of_its_day_cell_by_cell(rows: Any, zone: str, clock: Any) -> None:
    cells = [SPELLINGS[spelling](day) for day, spelling in rows]
    timed = [] if clock is None else [datetime.combine(rows[0][0], clock).isoformat()]
    found = read([*timed, *cells], zone)
    assert found.moments[len(timed) :] == [end_of_day(day, zone) for day, _ in rows]
    midnights = sum(spelling not in ("a day", "a date") for _, spelling in rows)
    assert found.notes("available_at") == ({"read as days, available_at": midnights} if midnights else {})
    for moment in found.moments[: len(timed)]:
        assert abs(moment - datetime.combine(rows[0][0], clock, ZoneInfo(zone))) <= timedelta(hours=1)


ZONED: dict[str, Callable[[datetime], Any]] = {
    "csv": lambda moment: moment.isoformat(" "),
    "ISO": lambda moment: moment.isoformat(),
    "Python": lambda moment: moment,
    "pandas": lambda moment: pd.Timestamp(moment),
    "fixed": lambda moment: moment.astimezone(timezone(moment.utcoffset() or timedelta(0))),
}


@settings(max_examples=150, deadline=None)
@given(st.lists(days, min_size=1, max_size=8), zones, st.sampled_from(sorted(ZONED)), st.booleans())
@example([date(2021, 11, 7)], NEW_YORK, "csv", False)  # 25 hours, and the cell says -04:00 alone
@example([date(2021, 4, 4), date(2021, 10, 3)], "Australia/Lord_Howe", "csv", False)  # 24.5 and 23.5 hours
@example([date(2021, 3, 14), date(2021, 11, 7)], NEW_YORK, "pandas", False)
def test_a_column_of_midnights_of_its_zone_is_days(several: list[date], zone: str, written: str, named: bool) -> None:
    moments = [datetime.combine(day, time(), ZoneInfo(zone)) for day in several]
    if zone in ("America/Sao_Paulo", "Asia/Tehran") and not named:
        moments = [each for each in moments if each.astimezone(UTC).astimezone(each.tzinfo).time() == time()]
    found = read([ZONED[written](each) for each in moments], zone if named else None)
    exact = [end_of_day(each.date(), zone) for each in moments]
    late = timedelta(hours=3)  # of an offset alone: Casey in the Antarctic once went back so far
    assert all(end <= at <= end + late for end, at in zip(exact, found.moments, strict=True))
    if named or written in ("Python", "pandas"):
        assert found.moments == exact
    assert sum(found.days) == len(moments)


@settings(max_examples=100, deadline=None)
@given(days, zones, st.lists(clocks, min_size=1, max_size=4), st.sampled_from(sorted(ZONED)))
def test_a_time_with_a_zone_is_exact_and_one_of_them_makes_midnights_times(
    day: date, zone: str, times: list[time], written: str
) -> None:
    first = datetime.combine(day, time(), UTC).astimezone(ZoneInfo(zone))
    moments = [first, *(datetime.combine(day, clock, UTC).astimezone(ZoneInfo(zone)) for clock in times)]
    if all(each.time() == time() for each in moments):
        return
    found = read([ZONED[written](each) for each in moments])
    assert found.moments == moments and not any(found.days) and found.notes("x") == {}


def test_days_of_a_bare_offset_are_exact_but_where_clocks_go_back() -> None:
    cells = ["2021-11-05 00:00:00-04:00", "2021-11-07 00:00:00-04:00", "2021-11-08 00:00:00-05:00"]
    assert read(cells).moments == [end_of_day(date(2021, 11, day), NEW_YORK) for day in (5, 7, 8)]
    zero = ["2021-10-31T00:00:00+00:00", "2021-10-31T00:00:00Z"]  # the Azores had it, and it is UTC's
    assert read(zero).moments == [end_of_day(date(2021, 10, 31), "UTC")] * 2


def test_midnights_that_pandas_wrote_in_utc_are_days_of_the_zone_that_is_named() -> None:
    """What `to_json(date_format="iso")` makes of New York's days, in summer and in winter."""
    cells = ["2021-06-30T04:00:00.000Z", "2021-12-30T05:00:00.000Z"]
    exact = [end_of_day(date(2021, month, 30), NEW_YORK) for month in (6, 12)]
    assert read(cells, NEW_YORK).moments == exact
    assert read([*cells, "2021-12-31T05:00:01Z"], NEW_YORK).moments[0] == datetime(2021, 6, 30, 4, tzinfo=UTC)
    assert read(cells).moments[0] == datetime(2021, 6, 30, 4, tzinfo=UTC)  # no one can tell


def test_where_clocks_skip_midnight_a_day_starts_later() -> None:
    skipped = datetime(2018, 11, 4, 1, tzinfo=ZoneInfo("America/Sao_Paulo"))
    bars = [skipped - timedelta(days=2, hours=1), skipped, skipped + timedelta(hours=23)]
    found = read(bars)
    assert all(found.days)
    assert found.moments == [end_of_day(date(2018, 11, day), "America/Sao_Paulo") for day in (2, 4, 5)]


@pytest.mark.parametrize(
    "text",
    [
        "2021-06-30 16:05:00 UTC",
        "2021-06-30T16:05:00z",
        "2021-06-30T16:05Z",
        "2021-06-30 16:05:00 utc",
        "2021-06-30 16:05:00 GMT",
        "2021-06-30t18:05:00,000+0200",
        "2021-06-30 12:05:00 -04:00",
        "2021-06-30T16:05:00.000000000+00",
    ],
)
def test_the_ways_to_write_utc(text: str) -> None:
    assert read([text]).moments == [datetime(2021, 6, 30, 16, 5, tzinfo=UTC)]


def test_nanoseconds_are_rounded_up() -> None:
    stamp = pd.Timestamp("2021-06-30T16:05:00.000000001Z")
    assert read([stamp]).moments == read([str(stamp)]).moments == [datetime(2021, 6, 30, 16, 5, 0, 1, tzinfo=UTC)]


@pytest.mark.parametrize("cell", [1625011200000, 1625011200.0, 44377, True, "1625011200", "2021-06-30 12:00 AM"])
def test_what_says_neither_unit_nor_zone_is_refused(cell: Any) -> None:
    with pytest.raises(ahf.BadCorpus, match="line 2: at: .* isn't a date: write 2021-06-30"):
        read([cell], "UTC")


@pytest.mark.parametrize("cell", [None, "", " ", float("nan"), pd.NaT])
def test_a_date_that_is_missing_is_refused(cell: Any) -> None:
    with pytest.raises(ahf.BadCorpus, match="line 3: at is missing"):
        read(["2021-06-30", cell], "UTC")


def files(folder: Path, frame: pd.DataFrame) -> dict[str, Path]:
    """One frame in every container."""
    folder.mkdir(exist_ok=True)
    frame.to_csv(folder / "a.csv", index=False)
    frame.to_parquet(folder / "a.parquet", index=False)
    text = frame.to_json(orient="records", lines=True, date_format="iso")
    (folder / "a.jsonl").write_text(text, encoding="utf-8")
    (folder / "a.json").write_text(json.dumps([json.loads(line) for line in text.splitlines()]), encoding="utf-8")
    return {suffix: folder / f"a.{suffix}" for suffix in ("csv", "parquet", "jsonl", "json")}


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_a_frame_with_one_time_keeps_its_days_in_every_container(tmp_path: Path, unit: str) -> None:
    stamps = pd.Series(pd.to_datetime(["2021-06-30", "2021-07-01 09:30", "2021-07-02"], format="ISO8601")).dt.as_unit(
        unit
    )
    for path in files(tmp_path, pd.DataFrame({"text": ["a", "b", "c"], "at": stamps})).values():
        rows = Table(TableOptions(path=path, available_at="at", timezone=NEW_YORK)).load()
        assert list(rows.table["available_at"]) == [
            end_of_day(date(2021, 6, 30), NEW_YORK),
            datetime(2021, 7, 1, 13, 30, tzinfo=UTC),
            end_of_day(date(2021, 7, 2), NEW_YORK),
        ], path.name
        assert rows.notes == {"read as days, available_at": 2}


@pytest.mark.parametrize("zone", [None, NEW_YORK])
def test_daily_bars_with_their_zone_are_days_in_every_container(tmp_path: Path, zone: str | None) -> None:
    """As yfinance gives them: across a change of clocks, with -04:00 before and -05:00 after."""
    index = pd.date_range("2021-11-03", periods=6, freq="B", tz=NEW_YORK)
    exact = [end_of_day(each.date(), NEW_YORK) for each in index]
    for suffix, path in files(tmp_path, pd.DataFrame({"text": list("abcdef"), "at": index})).items():
        if zone is None and suffix.startswith("json"):
            continue  # pandas writes them in UTC, and which zone's they are is lost
        options: dict[str, Any] = {"available_at": "at", "timezone": zone}
        assert list(Table(TableOptions(path=path, **options)).load().table["available_at"]) == exact, suffix
        folder = tmp_path / f"hub-{suffix}"
        folder.mkdir()
        path.rename(folder / path.name)
        assert list(Hub(HubOptions(path=folder, **options)).load().table["available_at"]) == exact, suffix


@pytest.mark.parametrize("kind", [pyarrow.date32(), pyarrow.date64(), pyarrow.timestamp("s"), pyarrow.timestamp("ns")])
def test_arrow_columns_are_days(tmp_path: Path, kind: Any) -> None:
    at = pyarrow.array([datetime(2021, 6, 30), datetime(2021, 7, 1)], pyarrow.timestamp("us")).cast(kind)
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a", "b"], "y": ["u", "d"], "at": at}), tmp_path / "a.parquet")
    options = TableOptions(
        path=tmp_path / "a.parquet", label="y", available_at="at", label_known_at="at", timezone="UTC"
    )
    rows = Table(options).load()
    for column in ("available_at", "label_known_at"):
        assert list(rows.table[column]) == [end_of_day(date(2021, 6, 30), "UTC"), end_of_day(date(2021, 7, 1), "UTC")]
        assert rows.notes.get(f"read as days, {column}", 0) == (2 if "timestamp" in str(kind) else 0)


def test_conversations_and_documents_are_dated_alike(tmp_path: Path) -> None:
    (tmp_path / "talks.csv").write_text(
        "instruction,output,at\na,b,2021-06-30 00:00:00\nc,d,2021-06-30 09:00\n", encoding="utf-8"
    )
    talks = Instructions(InstructionsOptions(path=tmp_path / "talks.csv", available_at="at", timezone="UTC")).load()
    end, nine = end_of_day(date(2021, 6, 30), "UTC"), datetime(2021, 6, 30, 9, tzinfo=UTC)
    assert list(talks.table["available_at"]) == [end, nine] and talks.notes == {"read as days, available_at": 1}
    (tmp_path / "documents").mkdir()
    for name in "ab":
        (tmp_path / "documents" / f"{name}.txt").write_text(f"Document {name}.", encoding="utf-8")
    dates = pd.DataFrame(
        {
            "file": ["b.txt", "a.txt", "c.txt"],
            "available_at": pd.to_datetime(["2021-06-30 09:00", "2021-06-30", "2021-06-29"], format="ISO8601"),
        }
    )
    for path in files(tmp_path / "dates", dates).values():
        rows = Text(TextOptions(path=tmp_path / "documents", dates=path, timezone="UTC")).load()
        assert list(rows.table["available_at"]) == [end, nine], path.name
        assert rows.notes["read as days, available_at"] == 1  # c.txt is no document here
