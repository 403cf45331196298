"""A messy table becomes a corpus by its options, and all that is wrong with it is said in one run."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

import adapterhub_fin as ahf
from adapterhub_fin.plugin import Faults, collected
from adapterhub_fin.plugin.descriptions import Corpus
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin_plugins.corpora.instructions import Instructions
from adapterhub_fin_plugins.corpora.options import InstructionsOptions, TableOptions
from adapterhub_fin_plugins.corpora.table import Table

TWELVE = """text,tone,score,at,firm,part
Up.,good,0.5,2021-06-30,x,train
 ,good,0.5,2021-06-30,x,train
Down.,,0.5,2021-06-30,x,train
Down.,great,0.5,2021-06-30,x,train
Down.,bad,much,2021-06-30,x,train
Down.,bad,,2021-06-30,x,train
Down.,bad,inf,2021-06-30,x,train
Down.,bad,0.5,30/06/2021,x,train
Down.,bad,0.5,2021-02-30,x,train
Down.,bad,0.5,,x,train
Down.,bad,0.5,2021-06-30,,train
Down.,bad,0.5,2021-06-30,x,tset
Down.,bad
Up.,good,0.5,2021-06-30,x,test
"""
MAPPED: dict[str, Any] = {
    "label": "tone",
    "labels": {"good": "up", "bad": "down"},
    "features": ["score"],
    "available_at": "at",
    "timezone": "UTC",
    "group": "firm",
    "split": "part",
}


def load(path: Path | None, **options: Any) -> Dataset:
    return Table(TableOptions(path=path, **options)).load().table


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(ahf.BadCorpus) as caught:
        load(path, **options)
    return str(caught.value)


def test_twelve_faults_are_twelve_sentences_of_one_run(tmp_path: Path) -> None:
    (tmp_path / "news.csv").write_text(TWELVE, encoding="utf-8")
    head, *lines = refused(tmp_path / "news.csv", **MAPPED).split("\n")
    assert head == "corpus table: 12 faults:"
    assert [int(line.partition("line ")[2].split()[0].rstrip(":")) for line in lines] == [*range(3, 15)]
    for line, word in zip(
        lines,
        [
            "no text",
            "missing",
            "'great'",
            "'much'",
            "missing",
            "'inf'",
            "30/06",
            "02-30",
            "missing",
            "missing",
            "'tset'",
            "2 cells",
        ],
        strict=True,
    ):
        assert line.startswith("  news.csv, line") and word in line


def test_only_the_first_twenty_are_listed(tmp_path: Path) -> None:
    rows = "".join(f"Up.,{'' if i % 2 else 'good'}\n" for i in range(2000))
    (tmp_path / "news.csv").write_text(f"text,tone\n{rows}", encoding="utf-8")
    head, *lines = refused(tmp_path / "news.csv", label="tone").split("\n")
    assert head.endswith("1,000 faults:") and len(lines) == 21 and lines[-1] == "  and 980 more"
    assert lines[0].startswith("  news.csv, line 3:") and lines[19].startswith("  news.csv, line 41:")


def test_a_fault_of_every_row_hides_no_other(tmp_path: Path) -> None:
    rows = "".join(f"Up.,{'good' if i != 700 else ''},{'0,5' if i != 900 else 'much'}\n" for i in range(1000))
    (tmp_path / "news.csv").write_text("text,tone,score\n" + rows.replace("0,5", '"0,5"'), encoding="utf-8")
    head, *lines = refused(tmp_path / "news.csv", label="tone", weight="score").split("\n")
    assert head.endswith("1,001 faults:") and len(lines) == 21
    assert "line 2: score is '0,5'" in lines[0] and lines[18] == "  and 981 more like it"
    assert "line 702: tone is missing; fill it, or set drop_missing: true" in lines[19]
    assert "line 902: score is 'much'" in lines[20]


def test_many_kinds_of_faults_are_counted_together() -> None:
    faults = Faults()
    for number in range(30_000):
        faults.add((number,), "abc"[number % 3] * (1 + number % 1000))
    with pytest.raises(ahf.BadCorpus) as caught:
        faults.check("corpus c")
    lines = str(caught.value).split("\n")[1:]
    assert sum(int(line.split()[1].replace(",", "")) for line in lines if " more" in line) == 30_000 - 20
    assert lines[-1].endswith("more of other kinds")


def test_a_decimal_comma_is_read_where_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "news.csv").write_text("text;score\nUp.;0,5\nDown.;-1\nFlat.;,25\n", encoding="utf-8")
    options: dict[str, Any] = {"separator": ";", "target": "score"}
    assert list(load(tmp_path / "news.csv", **options, decimal=",")["target"]) == [0.5, -1.0, 0.25]
    assert "line 2: score is '0,5' and not a finite number: set decimal to ','" in refused(
        tmp_path / "news.csv", **options
    )
    (tmp_path / "news.csv").write_text("text;score\nUp.;1.234,5\n", encoding="utf-8")
    assert "score is '1.234,5' and not a finite number" in refused(tmp_path / "news.csv", **options, decimal=",")


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=200))
def test_faults_come_in_the_order_of_the_rows(positions: list[tuple[int, int]]) -> None:
    faults = Faults()
    for position in positions:
        faults.add(position, f"row {position}")
    if not positions:
        faults.check("corpus c")
        return
    with pytest.raises(ahf.BadCorpus) as caught:
        faults.check("corpus c")
    listed = [line.strip() for line in str(caught.value).removeprefix("corpus c: ").split("\n")]
    expected = [f"row {position}" for position in sorted(positions)[:20]]
    assert [line for line in listed if line.startswith("row")] == expected


def test_what_can_not_be_read_on_is_the_last_fault() -> None:
    with (
        pytest.raises(ahf.BadCorpus, match=r"(?s)2 faults:.*first.*the file ends") as caught,
        collected("corpus c") as faults,
    ):
        faults.add((1,), "first")
        raise ahf.BadCorpus("the file ends")
    assert str(caught.value.__cause__) == "the file ends"


def test_a_wrong_encoding_that_decodes_is_noted(tmp_path: Path) -> None:
    (tmp_path / "news.csv").write_bytes("text\nCosts €5m.\nCafé opens.\n".encode("cp1252"))
    notes = {
        encoding: Table(TableOptions(path=tmp_path / "news.csv", encoding=encoding)).load().notes
        for encoding in ("latin-1", "cp1252")
    }
    assert notes == {"latin-1": {"with control characters (is the encoding cp1252?)": 1}, "cp1252": {}}


def test_missing_cells_are_dropped_and_counted(tmp_path: Path) -> None:
    (tmp_path / "news.csv").write_text("text,tone\nUp.,good\nDown.,n/a\n-,bad\nDown.,bad\n ,bad\n", encoding="utf-8")
    rows = Table(
        TableOptions(path=tmp_path / "news.csv", label="tone", na_values=("n/a", "-"), drop_missing=True)
    ).load()
    assert list(rows.table["text"]) == ["Up.", "Down."] and list(rows.table["origin"]) == ["news.csv:2", "news.csv:5"]
    assert rows.notes == {"dropped, tone missing": 1, "dropped, text missing": 2}
    assert "line 3: tone is missing" in refused(tmp_path / "news.csv", label="tone", na_values=("n/a",))
    (tmp_path / "none.csv").write_text("text,tone\nUp.,\n", encoding="utf-8")
    assert "no row is left" in refused(tmp_path / "none.csv", label="tone", drop_missing=True)


@pytest.mark.parametrize(
    ("cell", "pattern", "zone", "expected"),
    [
        ("Wed Jun 30 16:05:01 +0000 2021", "%a %b %d %H:%M:%S %z %Y", None, "2021-06-30T16:05:01+00:00"),  # Twitter's
        ("30/06/2021", "%d/%m/%Y", "America/New_York", "2021-07-01T03:59:59.999999+00:00"),
        ("06/30/2021 00:00", "%m/%d/%Y %H:%M", "America/New_York", "2021-07-01T03:59:59.999999+00:00"),  # a day's
        ("06/30/2021 00:00 +0000", "%m/%d/%Y %H:%M %z", "UTC", "2021-06-30T23:59:59.999999+00:00"),
        ("06/30/2021 04:05 PM", "%m/%d/%Y %I:%M %p", "America/New_York", "2021-06-30T20:05:00+00:00"),
        ("1625069101", "unix", None, "2021-06-30T16:05:01+00:00"),
        ("1625069101500", "unix_ms", None, "2021-06-30T16:05:01.500000+00:00"),
        ("1625069101.0000001", "unix", None, "2021-06-30T16:05:01.000001+00:00"),  # never earlier
    ],
)
def test_a_date_is_read_as_it_is_written(
    tmp_path: Path, cell: str, pattern: str, zone: str | None, expected: str
) -> None:
    (tmp_path / "news.jsonl").write_text(json.dumps({"text": "Up.", "at": cell}), encoding="utf-8")
    (at,) = load(tmp_path / "news.jsonl", available_at="at", date_format=pattern, timezone=zone)["available_at"]
    assert at == datetime.fromisoformat(expected).astimezone(UTC)


@pytest.mark.parametrize(
    ("pattern", "cell", "days"), [("%d/%m/%Y", "30/06/2021", 0), ("%d/%m/%Y %H", "30/06/2021 00", 1)]
)
def test_midnights_that_a_format_reads_are_counted_as_days(tmp_path: Path, pattern: str, cell: str, days: int) -> None:
    (tmp_path / "news.csv").write_text(f"text,at\nUp.,{cell}\n", encoding="utf-8")
    options = TableOptions(path=tmp_path / "news.csv", available_at="at", date_format=pattern, timezone="UTC")
    assert Table(options).load().notes.get("read as days, available_at", 0) == days


def test_a_date_of_another_form_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "news.csv").write_text("text,at\nUp.,2021-06-30\nUp.,31/06/2021\n", encoding="utf-8")
    faults = refused(tmp_path / "news.csv", available_at="at", date_format="%d/%m/%Y", timezone="UTC")
    assert "line 2: at: '2021-06-30' isn't a date as date_format %d/%m/%Y has it" in faults and "line 3" in faults


def test_classes_get_names(tmp_path: Path) -> None:
    (tmp_path / "news.jsonl").write_text('{"text": "a", "y": 0}\n{"text": "b", "y": 1.0}\n', encoding="utf-8")
    assert list(load(tmp_path / "news.jsonl", label="y", labels={0: "bearish", 1: "bullish"})["label"]) == [
        "bearish",
        "bullish",
    ]
    assert "line 2: y is '1', which neither the option labels names, which has 0, nor na_values" in refused(
        tmp_path / "news.jsonl", label="y", labels={"0": "x"}
    )


def test_files_of_each_part_keep_their_parts(tmp_path: Path) -> None:
    for name, text in (("a", "One."), ("b", "Two."), ("c", "Three.")):
        (tmp_path / f"{name}.csv").write_text(f"text\n{text}\n", encoding="utf-8")
    parts = {"train": [tmp_path / "b.csv", tmp_path / "a.csv"], "test": tmp_path / "c.csv"}
    table = load(parts)  # type: ignore[arg-type]
    assert list(table["text"]) == ["Two.", "One.", "Three."] and list(table["split"]) == ["train", "train", "test"]
    assert list(load(tmp_path / "[ab].csv")["origin"]) == ["a.csv:2", "b.csv:2"]
    assert "no file matches" in refused(tmp_path / "z*.csv")
    assert "named twice" in refused((tmp_path / "a.csv", tmp_path / "a.csv"))  # type: ignore[arg-type]


def test_two_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "news.csv").write_text("text\n \n", encoding="utf-8")
    faults = refused(tmp_path / "*" / "news.csv")
    assert f"{tmp_path / 'a' / 'news.csv'}, line 2" in faults and f"{tmp_path / 'b' / 'news.csv'}, line 2" in faults


def test_a_csv_of_another_form_is_read(tmp_path: Path) -> None:
    (tmp_path / "all-data.csv").write_bytes("neutral,Año récord.\n".encode("latin-1"))
    table = load(tmp_path / "all-data.csv", encoding="latin-1", header=["tone", "text"], label="tone")
    assert table[0] == {"text": "Año récord.", "label": "neutral", "origin": "all-data.csv:1"}
    (tmp_path / "semi.csv").write_text("text;tone\nUp, a lot.;good\n", encoding="utf-8")
    assert "set separator to ';'" in refused(tmp_path / "semi.csv")
    assert list(load(tmp_path / "semi.csv", separator=";", label="tone")["text"]) == ["Up, a lot."]
    (tmp_path / "tab.tsv").write_text("text\ttone\nUp, a lot.\tgood\n", encoding="utf-8")
    assert list(load(tmp_path / "tab.tsv", label="tone")["text"]) == ["Up, a lot."]
    assert "is not UTF-8" in refused(tmp_path / "all-data.csv") and "cp1252" in refused(tmp_path / "all-data.csv")


def test_tokens_are_a_text_and_columns_have_other_names(tmp_path: Path) -> None:
    row = {"tokens": ["profit", "rose"], "best": "Yes.", "worst": "No."}
    (tmp_path / "news.jsonl").write_text(json.dumps(row), encoding="utf-8")
    table = load(tmp_path / "news.jsonl", rename={"text": "tokens", "chosen": "best"}, columns=["chosen"], text="text")
    assert table[0] == {"text": "profit rose", "chosen": "Yes.", "origin": "news.jsonl:1"}
    table = load(tmp_path / "news.jsonl", columns={"chosen": "best", "rejected": "worst"})
    assert table.column_names == ["chosen", "rejected", "origin"]


def test_weights_are_read_and_are_not_below_zero(tmp_path: Path) -> None:
    (tmp_path / "news.csv").write_text("text,w\na,1\nb,0\n", encoding="utf-8")
    assert list(load(tmp_path / "news.csv", weight="w")["weight"]) == [1.0, 0.0]
    (tmp_path / "news.csv").write_text("text,w\na,-1\n", encoding="utf-8")
    assert "w is '-1', below 0" in refused(tmp_path / "news.csv", weight="w")


@pytest.mark.parametrize(
    ("rename", "row"),
    [
        ({"user": "context", "assistant": "target"}, {"context": "How?", "target": "So."}),
        (
            {"messages": "conversation"},
            {"conversation": [{"role": "user", "content": "How?"}, {"role": "assistant", "content": "So."}]},
        ),
        ({"instruction": "question", "output": "answer"}, {"question": "How?", "answer": "So."}),
    ],
)
def test_conversations_are_found_under_other_names(tmp_path: Path, rename: dict[str, str], row: dict[str, Any]) -> None:
    (tmp_path / "talks.jsonl").write_text(json.dumps(row), encoding="utf-8")
    options = InstructionsOptions(path=tmp_path / "talks.jsonl", rename=rename, system="Be brief.")
    (messages,) = Instructions(options).load().table["messages"]
    assert [(turn["role"], turn["content"]) for turn in messages] == [
        ("system", "Be brief."),
        ("user", "How?"),
        ("assistant", "So."),
    ]


def test_all_faults_of_conversations_are_said(tmp_path: Path) -> None:
    rows = [{"user": "How?", "assistant": "So."}, {"user": "How?"}, {"user": "", "assistant": "So."}]
    (tmp_path / "talks.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with pytest.raises(ahf.BadCorpus, match=r"(?s)2 faults:\n  talks.jsonl, line 2.*\n  talks.jsonl, line 3"):
        Instructions(InstructionsOptions(path=tmp_path / "talks.jsonl")).load()
    kept = Instructions(InstructionsOptions(path=tmp_path / "talks.jsonl", drop_missing=True))
    with pytest.raises(ahf.BadCorpus, match="line 2"):  # a column that is not there is not a missing cell
        kept.load()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("table", {}, "give a path, or rows from memory"),
        ("table", {"path": "a.csv", "data": f"sha256:{'0' * 64}"}, "give a path, or rows from memory"),
        ("table", {"path": {"train": "a.csv"}, "split": "part"}, "both say where a row belongs"),
        ("table", {"path": {"tset": "a.csv"}}, "path"),
        ("table", {"path": "a.csv", "date_format": "%H:%M"}, "does not say the year"),
        ("table", {"path": "a.csv", "date_format": "%Q"}, "date_format"),
        ("table", {"path": "a.csv", "date_format": "%d/%m/%Y %I:%M"}, "reads the afternoon as the morning"),
        ("table", {"path": "a.csv", "date_format": "%Y-%m-%d %H:%M %Z"}, "reads a zone's name and forgets it"),
        ("table", {"path": "a.csv", "labels": {"a": "b"}}, "name it as label"),
        ("table", {"path": "a.csv", "encoding": "utf-9"}, "is no encoding"),
        ("table", {"path": "a.csv", "separator": ";;"}, "separator"),
        ("instructions", {"path": "a.jsonl", "rename": {"human": "x"}}, "a conversation is made of"),
        ("instructions", {}, "give a path, or rows from memory"),
    ],
)
def test_options_that_can_not_be_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ahf.BadRecipe, match=message):
        extensions().options(Corpus, name, options)
