"""A table of one's own: its columns by name, its dates never too early, its faults by file and line."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from datasets import Dataset

import adapterhub_fin as ahf
from adapterhub_fin.plugin.descriptions import Corpus
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.testing import CorpusContract
from adapterhub_fin_plugins.corpora.options import TableOptions
from adapterhub_fin_plugins.corpora.table import Table

NEW_YORK = "America/New_York"


def load(path: Path, **options: Any) -> Dataset:
    return Table(TableOptions(path=path, **options)).load().table


def written(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


class TestTable(CorpusContract):
    name = "table"

    def options_for(self, folder: Path) -> dict[str, Any]:
        rows = [
            {
                "headline": f"Firm {i} {['rose', 'fell'][i % 2]}.",
                "tone": ["good", "bad"][i % 2],
                "seen": (date(2020, 1, 1) + timedelta(days=i)).isoformat(),
                "judged": f"{date(2020, 1, 6) + timedelta(days=i)} 16:00",
                "firm": i // 4,
                "split": "test" if i > 70 else "train",
            }
            for i in range(90)
        ]
        return {
            "path": str(written(folder / "news.csv", rows)),
            "text": "headline",
            "label": "tone",
            "available_at": "seen",
            "label_known_at": "judged",
            "timezone": NEW_YORK,
            "group": "firm",
            "split": "split",
            "license": "CC0-1.0",
        }


class TestTableOfNumbers(CorpusContract):
    name = "table"
    head = "wants-a-target"

    def options_for(self, folder: Path) -> dict[str, Any]:
        rows = [{"text": f"Firm {i}.", "return": i / 7, "beta": 1.0, "size": i} for i in range(40)]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "news.parquet")
        return {"path": str(folder / "news.parquet"), "target": "return", "features": ["beta", "size"]}


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "json", "parquet"])
def test_every_format_gives_the_same_rows(tmp_path: Path, suffix: str) -> None:
    rows = [{"title": "A", "body": "rose", "score": 0.5, "f": 1}, {"title": "B", "body": "", "score": -1.0, "f": 2}]
    path = tmp_path / f"news.{suffix}"
    if suffix == "csv":
        written(path, rows)
    elif suffix == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path.write_text(json.dumps(rows) if suffix == "json" else "\n".join(map(json.dumps, rows)), encoding="utf-8")
    table = load(path, text=["title", "body"], target="score", features=["f", "score"])
    assert list(table["text"]) == ["A\nrose", "B"]
    assert list(table["target"]) == [0.5, -1.0]
    assert list(table["features"]) == [[1.0, 0.5], [2.0, -1.0]]
    first = 2 if suffix == "csv" else 1
    assert list(table["origin"]) == [f"news.{suffix}:{first}", f"news.{suffix}:{first + 1}"]


@pytest.mark.parametrize(
    ("given", "zone", "expected"),
    [
        ("2021-06-30", NEW_YORK, "2021-07-01T03:59:59.999999+00:00"),  # a day is known when it is over
        ("2021-06-30", "UTC", "2021-06-30T23:59:59.999999+00:00"),
        ("2021-06-30", "Etc/GMT+12", "2021-07-01T11:59:59.999999+00:00"),
        ("2021-06-30 16:05", NEW_YORK, "2021-06-30T20:05:00+00:00"),
        ("2021-06-30T16:05:00.25", NEW_YORK, "2021-06-30T20:05:00.250000+00:00"),
        ("2021-06-30T16:05:00Z", NEW_YORK, "2021-06-30T16:05:00+00:00"),  # what a value carries comes first
        ("2021-06-30T16:05:00+02:00", None, "2021-06-30T14:05:00+00:00"),
        ("2021-11-07 01:30", NEW_YORK, "2021-11-07T06:30:00+00:00"),  # it comes twice: the second time
        ("2021-03-14 02:30", NEW_YORK, "2021-03-14T07:30:00+00:00"),  # it never comes: the later reading
    ],
)
def test_no_date_is_read_too_early(tmp_path: Path, given: str, zone: str | None, expected: str) -> None:
    path = written(tmp_path / "news.csv", [{"text": "Up.", "at": given}])
    (found,) = load(path, available_at="at", timezone=zone)["available_at"]
    assert found.isoformat() == expected


@pytest.mark.parametrize("kind", [pyarrow.date32(), pyarrow.timestamp("us"), pyarrow.timestamp("ns")])
def test_days_in_parquet_end_too_though_pandas_keeps_them_as_midnights(tmp_path: Path, kind: Any) -> None:
    days = pyarrow.array([datetime(2021, 6, 30), datetime(2021, 7, 1)], pyarrow.timestamp("us")).cast(kind)
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a", "b"], "at": days}), tmp_path / "news.parquet")
    found = list(load(tmp_path / "news.parquet", available_at="at", timezone="UTC")["available_at"])
    assert found[0] == datetime(2021, 6, 30, 23, 59, 59, 999999, tzinfo=UTC)


def test_a_midnight_among_other_times_is_its_day(tmp_path: Path) -> None:
    """G 2: before, one row with a time moved all the others to the start of their days."""
    times = pyarrow.array([datetime(2021, 6, 30), datetime(2021, 7, 1, 9)], pyarrow.timestamp("ns"))
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a", "b"], "at": times}), tmp_path / "news.parquet")
    found = list(load(tmp_path / "news.parquet", available_at="at", timezone="UTC")["available_at"])
    assert found == [datetime(2021, 6, 30, 23, 59, 59, 999999, tzinfo=UTC), datetime(2021, 7, 1, 9, tzinfo=UTC)]


def test_a_cell_may_hold_a_whole_filing_and_line_breaks(tmp_path: Path) -> None:
    long = "Revenue rose.\n" * 20_000
    path = written(tmp_path / "news.csv", [{"text": long}, {"text": "Short."}])
    table = load(path)
    assert table["text"][0] == long.strip()
    assert list(table["origin"]) == ["news.csv:2", "news.csv:20003"]
    assert csv.field_size_limit() == 131072


def test_a_mark_of_byte_order_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    (tmp_path / "news.csv").write_bytes("text\nAño récord.\n".encode("utf-8-sig"))
    assert list(load(tmp_path / "news.csv")["text"]) == ["Año récord."]


GOOD = b"text,tone,score,at,firm\nUp.,good,0.5,2021-06-30,x\n"


@pytest.mark.parametrize(
    ("data", "options", "said"),
    [
        (GOOD, {"text": "body"}, "news.csv, line 2 has no column 'body'; it has text, tone, score, at, firm"),
        (GOOD, {"label": "tones"}, "has no column 'tones'; it has text, tone, score, at, firm: did you mean tone?"),
        (GOOD + b"Down \xe9,bad,1,2021-06-30,x\n", {}, "news.csv, line 3 is not UTF-8"),
        (GOOD + b"Down.,bad,nan,2021-06-30,x\n", {"target": "score"}, "line 3: score is 'nan' and not a finite"),
        (GOOD + b"Down.,bad,,2021-06-30,x\n", {"target": "score"}, "line 3: score is missing"),
        (GOOD + b"Down.,bad,much,2021-06-30,x\n", {"features": ["score"]}, "line 3: score is 'much'"),
        (GOOD + b"Down.,,1,2021-06-30,x\n", {"label": "tone"}, "line 3: tone is missing"),
        (GOOD + b" ,bad,1,2021-06-30,x\n", {}, "line 3: text holds no text"),
        (
            GOOD + b"Down.,bad,1,30/06/2021,x\n",
            {"available_at": "at", "timezone": "UTC"},
            "line 3: at: '30/06/2021' is",
        ),
        (
            GOOD + b"Down.,bad,1,2021-02-30,x\n",
            {"available_at": "at", "timezone": "UTC"},
            "line 3: at: '2021-02-30' is",
        ),
        (
            GOOD + b"Down.,bad,1,20210630,x\n",
            {"available_at": "at", "timezone": "UTC"},
            "line 3: at: '20210630' isn't a date",
        ),
        (GOOD, {"available_at": "at"}, "line 2: at: 2021-06-30 has no time zone: set timezone"),
        (GOOD + b"Down.,bad\n", {}, "line 3 has 2 cells where the header has 5"),
        (GOOD + b'"Down,bad\n', {}, "news.csv, line 3 is not CSV"),
        (b"text,text\na,b\n", {}, "line 1 names the column 'text' twice"),
        (b"text\n", {}, "news.csv has no rows"),
    ],
)
def test_a_fault_is_named_by_file_and_line(tmp_path: Path, data: bytes, options: dict[str, Any], said: str) -> None:
    (tmp_path / "news.csv").write_bytes(data)
    with pytest.raises(ahf.BadCorpus) as caught:
        load(tmp_path / "news.csv", **options)
    assert str(caught.value).startswith("corpus table: news.csv") and said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("news.jsonl", b'{"text": "Up."}\n\n{"text": \n', "news.jsonl, line 3 is not JSON"),
        ("news.jsonl", b'{"text": "Up."}\n["Down."]\n', 'news.jsonl, line 2 is ["Down."] and not an object'),
        ("news.jsonl", b'{"text": "Up."}\n{"txt": "Down."}\n', "news.jsonl, line 2 has no column 'text'; it has txt"),
        ("news.jsonl", b'{"text": 5}\n', "news.jsonl, line 1: text is 5 and not text"),
        ("news.json", b'{"text": "Up."}', "news.json isn't a list of rows"),
        ("news.json", b'[{"text": "Up."}, {"text": null}]', "news.json, item 2: text holds no text"),
        ("news.parquet", b"no parquet", "can't be read as parquet"),
        ("news.xlsx", b"", "news.xlsx isn't a .csv, .tsv, .json, .jsonl, .parquet file"),
    ],
)
def test_a_fault_in_another_format_is_named_too(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ahf.BadCorpus) as caught:
        load(tmp_path / name)
    assert said in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for name in ("none.csv", "none.parquet"):
        with pytest.raises(ahf.BadCorpus, match=f"{name} can't be read"):
            load(tmp_path / name)


@pytest.mark.parametrize(
    ("horizon", "calendar", "expected"),
    [
        ("0d", None, "2021-07-02T16:05:00Z"),
        ("5d", None, "2021-07-07T16:05:00Z"),
        ("1B", "weekdays", "2021-07-05T23:59:59.999999Z"),
        ("1B", "XNYS", "2021-07-06T20:00:00Z"),  # the Monday was a holiday there
    ],
)
def test_a_label_is_known_a_horizon_after_its_row(
    tmp_path: Path, horizon: str, calendar: str | None, expected: str
) -> None:
    if calendar == "XNYS":
        pytest.importorskip("exchange_calendars", reason="the business days of exchanges need exchange_calendars")
    path = written(tmp_path / "a.csv", [{"text": "Firm rose.", "y": "up", "at": "2021-07-02T16:05:00Z"}])
    table = load(path, label="y", available_at="at", label_horizon=horizon, calendar=calendar)
    assert table["label_known_at"][0] == datetime.fromisoformat(expected)


def test_labels_may_be_whole_numbers_and_not_fractions(tmp_path: Path) -> None:
    (tmp_path / "news.jsonl").write_text('{"text": "a", "up": 1}\n{"text": "b", "up": true}\n', encoding="utf-8")
    assert list(load(tmp_path / "news.jsonl", label="up")["label"]) == ["1", "True"]
    (tmp_path / "news.jsonl").write_text('{"text": "a", "up": 0.5}\n', encoding="utf-8")
    with pytest.raises(ahf.BadCorpus, match="up is 0.5 and neither text nor an integer"):
        load(tmp_path / "news.jsonl", label="up")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"label": "a", "target": "b"}, "label a and target b are two things to predict"),
        ({"label_known_at": "c"}, "label_known_at c needs a label or a target"),
        ({"timezone": "Mars/Olympus"}, "'Mars/Olympus' isn't a time zone known here"),
        ({"text": ()}, "name a column"),
        ({"license": ""}, "license"),
        ({"label": "a", "label_horizon": "5d"}, "label_horizon 5d needs available_at, and a label or a target"),
        ({"available_at": "a", "label_horizon": "5d"}, "needs available_at, and a label or a target"),
        ({"label": "a", "available_at": "b", "label_horizon": "5B"}, "name their calendar"),
        (
            {"label": "a", "available_at": "b", "label_known_at": "c", "label_horizon": "5d"},
            "are two dates of the label",
        ),
        ({"calendar": "XNYS"}, "is for a label_horizon"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ahf.BadRecipe) as caught:
        extensions().options(Corpus, "table", {"path": "news.csv", **options})
    assert said in str(caught.value)
