"""The corpus earnings-calls: a transcript needs a date, and is known some hours after its call."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from adapterhub_fin.errors import BadCorpus, BadRecipe
from adapterhub_fin.plugin import corpus_options, load_corpus
from adapterhub_fin.plugin.interfaces import Rows


def load(**options: Any) -> Rows:
    return load_corpus(*corpus_options({"name": "earnings-calls", **options}))


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    folder = tmp_path / "calls"
    folder.mkdir()
    (folder / "ACME_q1_2024.txt").write_text("Acme Corp\nDate: 2024-04-25 17:00\nRevenue was $5.2 billion, up 3%.")
    turns = [{"speaker": "CEO", "text": "Good morning."}, "Thanks."]
    call = {"symbol": "beta", "date": "2024-04-26", "quarter": 1, "transcript": turns}
    (folder / "beta.json").write_text(json.dumps([call]))
    return folder


def test_a_time_is_known_hours_later_and_a_day_at_its_end(calls: Path) -> None:
    rows = load(path=calls, timezone="America/New_York")
    assert dict(zip(rows.table["group"], rows.table["available_at"], strict=True)) == {
        "ACME": datetime(2024, 4, 26, 0, 0, tzinfo=UTC),  # 17:00 in New York, and three hours
        "BETA": datetime(2024, 4, 27, 3, 59, 59, 999999, tzinfo=UTC),
    }
    assert rows.table["text"][1] == "CEO: Good morning.\nThanks." and "$5.2 billion" in rows.table["text"][0]
    later = load(path=calls, timezone="America/New_York", delay="1d").table["available_at"]
    assert later[0] == datetime(2024, 4, 26, 21, 0, tzinfo=UTC)
    with pytest.raises(BadRecipe, match="business days"):
        load(path=calls, delay="1B")


def test_a_call_without_a_date_is_refused_with_what_to_do(calls: Path) -> None:
    (calls / "GAMMA_q2_2024.txt").write_text(json.dumps({"quarter": 2, "transcript": "Hello."}))
    with pytest.raises(BadCorpus, match=r"GAMMA_q2_2024\.txt has no date \(a fiscal quarter is none\): write a line"):
        load(path=calls, timezone="America/New_York")
    dates = calls.parent / "dates.csv"
    dates.write_text("file,available_at\nGAMMA_q2_2024.txt,2024-08-01T21:30:00Z\n")
    rows = load(path=calls, timezone="America/New_York", dates=dates)
    assert rows.table["available_at"][1] == datetime(2024, 8, 2, 0, 30, tzinfo=UTC)
    assert rows.table["group"][:] == ["ACME", "GAMMA", "BETA"]


@pytest.mark.parametrize("zone", ["America/New_York", None])
def test_a_midnight_with_a_zone_is_the_end_of_its_day(tmp_path: Path, zone: str | None) -> None:
    folder = tmp_path / "calls"
    folder.mkdir()
    day = datetime(2024, 4, 26, 3, 59, 59, 999999, tzinfo=UTC)  # the end of 25 April in New York
    if zone is None:
        day = datetime(2024, 4, 25, 23, 59, 59, 999999, tzinfo=UTC)
    for hour in (0, 4) if zone else (0,):
        (folder / "a.json").write_text(json.dumps({"date": f"2024-04-25T0{hour}:00:00Z", "transcript": "Hello."}))
        assert load(path=folder, timezone=zone).table["available_at"][0] == day
        dates = pa.array([datetime(2024, 4, 25, hour, tzinfo=UTC)], pa.timestamp("us", "UTC"))
        pq.write_table(pa.table({"file": ["a.json"], "available_at": dates}), tmp_path / "dates.parquet")
        assert load(path=folder, timezone=zone, dates=tmp_path / "dates.parquet").table["available_at"][0] == day


def test_a_midnight_among_other_times_of_a_table_is_a_time(calls: Path) -> None:
    dates = calls.parent / "dates.csv"
    dates.write_text("file,available_at\nbeta.json,2024-04-25T00:00:00Z\nACME_q1_2024.txt,2024-04-25T21:00:00Z\n")
    assert load(path=calls, timezone="America/New_York", dates=dates).table["available_at"][:] == [
        datetime(2024, 4, 26, 0, 0, tzinfo=UTC),
        datetime(2024, 4, 25, 3, 0, tzinfo=UTC),
    ]
    dates.write_text("file,available_at\nbeta.json,soon\n")
    with pytest.raises(BadCorpus, match=r"dates\.csv, line 2: 'soon' isn't a date"):
        load(path=calls, timezone="America/New_York", dates=dates)


def test_a_time_without_a_zone_and_files_that_hold_no_call(calls: Path) -> None:
    (calls / "delta.json").write_text(json.dumps({"date": "2024-01-01T10:00:00Z", "body": "x"}))
    (calls / "eps.json").write_text("{")
    with pytest.raises(BadCorpus) as caught:
        load(path=calls)
    message = str(caught.value)
    assert "ACME_q1_2024.txt: 2024-04-25 17:00:00 has no time zone" in message
    assert "delta.json has no text under 'transcript'; it has date, body" in message and "eps.json, line 1" in message
