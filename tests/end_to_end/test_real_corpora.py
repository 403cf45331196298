"""The corpora on real material; skipped, visibly, where it is not at hand."""

from __future__ import annotations

import csv
import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapterhub_fin.engine.base.build_plugin import build_plugin
from adapterhub_fin.engine.data.splits import SPLITS, divide
from adapterhub_fin.plugin.descriptions import Corpus
from adapterhub_fin.plugin.interfaces import Rows
from adapterhub_fin.recipe.splitter import Splitter

NEW_YORK = "America/New_York"


def load(name: str, **options: Any) -> Rows:
    rows: Rows = build_plugin(
        Corpus, name, {key: str(v) if isinstance(v, Path) else v for key, v in options.items()}
    ).load()
    return rows


def test_fiqa_as_it_is(shared: Path) -> None:
    """1,111 sentences and 1,173 opinions; the firm in the text keeps two opinions of one sentence apart."""
    rows = load("fiqa", path=shared / "data" / "fiqa_absa")
    assert Counter(rows.table["split"]) == {"train": 379 + 575, "test": 119 + 100}
    assert dict(rows.notes) == {"repeated": 0, "conflicting": 0} and len(set(rows.table["group"])) == 1111
    assert min(rows.table["target"]) == -0.938 and max(rows.table["target"]) == 0.975
    parts = divide(rows.table, Splitter(by="given"), "fiqa").splits
    groups = [set(parts[part]["group"]) for part in SPLITS]
    assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])


def test_fiqa_without_the_firm_loses_the_sentences_that_contradict_themselves(shared: Path) -> None:
    rows = load("fiqa", path=shared / "data" / "fiqa_absa", name_entity=False)
    assert dict(rows.notes) == {"repeated": 2, "conflicting": 115} and len(rows.table) == 1173 - 117


@pytest.fixture(scope="module")
def minutes(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """Minutes of the FOMC, dated by when they were released, not by when the meeting was."""
    folder = shared / "data" / "fomc_minutes"
    dates = tmp_path_factory.mktemp("minutes") / "dates.csv"
    with (folder / "release_dates_raw.csv").open(encoding="utf-8", newline="") as source, dates.open("w") as table:
        released = {row["Url"][-12:-4]: row["ReleaseDate"] for row in csv.DictReader(source) if row["ReleaseDate"]}
        table.write("file,available_at\n" + "".join(f"{met}.txt,{out}\n" for met, out in released.items()))
    return load("text", path=folder, glob="2*.txt", dates=dates, timezone=NEW_YORK)


def test_minutes_are_available_when_they_were_released(minutes: Rows) -> None:
    table = minutes.table
    assert dict(minutes.notes) == {"repeated": 2, "other files": 0}, "two of the 54 files are copies of the one before"
    assert len(table) == 52 and all(text.strip() for text in table["text"])
    lags = [
        seen.date() - datetime.strptime(name[:8], "%Y%m%d").date()
        for name, seen in zip(table["group"], table["available_at"], strict=True)
    ]
    assert timedelta(days=14) <= min(lags), "minutes come out weeks after the meeting"
    assert all((seen + timedelta(microseconds=1)).hour in (4, 5) for seen in table["available_at"]), (
        "New York's midnight"
    )


def test_minutes_walk_forward_under_an_embargo(minutes: Rows) -> None:
    split = Splitter(by="walk-forward", folds=4, fold=2, validation=0.25, embargo="60d")
    division = divide(minutes.table, split, "text")
    assert division.notes["under embargo, train"] > 0 and division.notes["under embargo, validation"] > 0
    for part, following in (("train", "validation"), ("validation", "test")):
        gap = min(division.splits[following]["available_at"]) - max(division.splits[part]["available_at"])
        assert gap >= timedelta(days=60)


def test_filings_lose_their_markup_and_keep_their_words(shared: Path) -> None:
    folder = shared / "data" / "sec_filings"
    rows = load("text", path=folder, glob="10-Q/*.html")
    assert [Path(name).name[:4] for name in rows.table["group"]] == ["aapl", "nvda", "pg-1"]
    for name, text in zip(rows.table["group"], rows.table["text"], strict=True):
        assert len(text) < 0.3 * (folder / name).stat().st_size, "nine tenths of a filing are markup"
        assert "UNITED STATES" in text and "<" not in text.replace("< ", "") and "xbrli" not in text
        assert "us-gaap:" not in text and "  " not in text


def test_tweets_are_a_table_once_their_times_are_written_as_instants(shared: Path, tmp_path: Path) -> None:
    source = (shared / "data" / "stocknet" / "tweets" / "JPM.jsonl").read_text(encoding="utf-8").split("\n")
    rows = [json.loads(line) for line in source if line][:500]
    for row in rows:
        row["at"] = datetime.strptime(row["created_at"], "%a %b %d %H:%M:%S %z %Y").isoformat()
    path = tmp_path / "JPM.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    table = load("table", path=path, available_at="at").table
    assert len(table) == 500 and min(table["available_at"]).year == 2014


def test_a_price_is_known_when_its_day_is_over(shared: Path) -> None:
    path = shared / "data" / "stocknet" / "prices" / "AAPL.csv"
    table = load("table", path=path, text="Date", features=["Close", "Volume"], available_at="Date", timezone=NEW_YORK)
    first = table.table[0]
    assert first["available_at"] == datetime(2012, 9, 5, 3, 59, 59, 999999, tzinfo=UTC)
    assert first["features"] == [96.424286, 91973000.0] and first["text"] == date(2012, 9, 4).isoformat()
