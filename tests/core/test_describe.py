"""A dry run says how long the rows are, when they are from, and where dates are missing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from datasets import Dataset

from adapterhub_fin.engine.data.describe import dates_of, token_lengths

START = datetime(2020, 1, 1, tzinfo=UTC)


def test_lengths_are_of_the_examples_as_training_reads_them() -> None:
    examples = [{"input_ids": [1] * length} for length in (3, 4, 5, 8, 8)]
    lengths = token_lengths(examples, 8)
    assert (lengths.median, lengths.longest, lengths.at_limit) == (5, 8, 2)
    assert token_lengths([{"input_ids": [[1], [1, 2, 3]]}], 8).longest == 3  # of several texts, the longest


def test_the_widest_gaps_are_found() -> None:
    days = [*range(20), *range(60, 80), *range(100, 120)]
    dates = dates_of(Dataset.from_dict({"available_at": [START + timedelta(days=day) for day in reversed(days)]}))
    assert dates is not None
    assert dates.first == START and dates.last == START + timedelta(days=119)
    assert [(later - earlier).days for earlier, later in dates.gaps] == [41, 21]


def test_a_weekend_is_no_gap_and_rows_without_dates_have_none() -> None:
    hours = [START + timedelta(days=day) for day in range(30) if (START + timedelta(days=day)).weekday() < 5]
    dates = dates_of(Dataset.from_dict({"available_at": hours}))
    assert dates is not None and dates.gaps == []
    assert dates_of(Dataset.from_dict({"available_at": [START]})).gaps == []  # type: ignore[union-attr]
    assert dates_of(Dataset.from_dict({"text": ["a"]})) is None
