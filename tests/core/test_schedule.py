"""The windows of a schedule, and the rows that each learns from and is tested on."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub_fin import BadCorpus, BadRecipe, Recipe
from adapterhub_fin.engine.data.splits import SPLITS, divide
from adapterhub_fin.recipe.schedule import Schedule, Window
from adapterhub_fin.recipe.splitter import Splitter

START = datetime(2020, 1, 1, 12, tzinfo=UTC)


def days(schedule: dict[str, Any], last: date) -> list[str]:
    return [str(window.cutoff) for window in Schedule.model_validate(schedule).until(last)]


@pytest.mark.parametrize(
    ("windows", "expected"),
    [
        ("monthly", ["2020-11-15", "2020-12-15", "2021-01-15", "2021-02-15"]),
        ("quarterly", ["2020-11-15", "2021-02-15"]),
        ("yearly", ["2020-11-15"]),
        ("2mo", ["2020-11-15", "2021-01-15"]),
        ("1y", ["2020-11-15"]),
    ],
)
def test_cut_offs_follow_from_the_first(windows: str, expected: list[str]) -> None:
    assert days({"windows": windows, "start": "2020-11-15"}, date(2021, 3, 14)) == expected


def test_a_window_tests_up_to_the_next_cut_off_and_may_have_a_length() -> None:
    schedule = Schedule.model_validate({"windows": "6mo", "start": "2020-07-01", "length": "2y", "end": "2021-01-01"})
    assert list(schedule.until(date(2030, 1, 1))) == [
        Window(date(2018, 7, 1), date(2020, 7, 1), date(2021, 1, 1)),
        Window(date(2019, 1, 1), date(2021, 1, 1), date(2021, 7, 1)),
    ]


GOOD: dict[str, Any] = {"windows": "quarterly", "start": "2020-04-01"}


@pytest.mark.parametrize(
    ("schedule", "split", "why"),
    [
        ({"windows": "weekly"}, {}, "write monthly, quarterly, yearly, 6mo or 2y"),
        ({"windows": "0mo"}, {}, "is no length"),
        ({"start": "2020-01-31"}, {}, "one of the days 1 to 28"),
        ({"end": "2020-01-01"}, {}, "lies before start"),
        ({"embargo": "5B"}, {}, "name their calendar"),
        ({"embargo": "5d", "calendar": "XNYS"}, {}, "goes by the clock"),
        ({"calendar": "XNYS"}, {}, "give one, such as 5B"),
        ({"length": "5d"}, {}, "schedule.length"),
        ({"step": 3}, {}, "there is no option 'schedule.step'"),
        ({}, {"by": "time"}, "leave by and embargo out of corpus.splitter"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(schedule: dict[str, Any], split: dict[str, Any], why: str) -> None:
    with pytest.raises(BadRecipe, match=why):
        Recipe.read({"corpus": {"name": "headlines", "splitter": split}, "schedule": {**GOOD, **schedule}})


@pytest.mark.parametrize(
    ("split", "why"),
    [
        ({"by": "window", "cutoff": "2020-04-01"}, "needs both cutoff and until"),
        ({"by": "window", "cutoff": "2020-04-01", "until": "2020-04-01"}, "must follow one another"),
        ({"by": "window", "since": "2020-05-01", "cutoff": "2020-04-01", "until": "2020-07-01"}, "must follow"),
        ({"by": "time", "cutoff": "2020-04-01"}, "cutoff 2020-04-01 belongs to by window"),
        ({"by": "time", "embargo": "5B"}, "name their calendar"),
        ({"by": "time", "calendar": "XNYS"}, "give one, such as 5B"),
    ],
)
def test_a_window_that_cannot_be_is_refused(split: dict[str, Any], why: str) -> None:
    with pytest.raises(BadRecipe, match=why):
        Recipe.read({"corpus": {"name": "headlines", "splitter": split}})


def test_the_recipe_of_a_window_is_a_run_of_its_own() -> None:
    whole = Recipe.read({"corpus": "headlines", "schedule": {**GOOD, "embargo": "5B", "calendar": "weekdays"}})
    alone = whole.window(Window(None, date(2020, 4, 1), date(2020, 7, 1)))
    assert alone.schedule is None and Recipe.read(alone.document()) == alone
    assert alone.document()["corpus"]["splitter"] == {
        "by": "window",
        "cutoff": "2020-04-01",
        "until": "2020-07-01",
        "embargo": "5B",
        "calendar": "weekdays",
        "validation": 0.1,
        "test": 0.2,
        "seed": 0,
    }


def table(hours: list[int], horizons: list[int]) -> Dataset:
    at = [START + timedelta(hours=hour) for hour in hours]
    known = [moment + timedelta(hours=horizon) for moment, horizon in zip(at, horizons, strict=True)]
    return Dataset.from_dict(
        {
            "text": [str(place) for place in range(len(at))],
            "label": [str(place % 2) for place in range(len(at))],
            "available_at": at,
            "label_known_at": known,
        }
    )


rows = st.integers(10, 60).flatmap(
    lambda n: st.tuples(*(st.lists(st.integers(0, most), min_size=n, max_size=n) for most in (24 * 300, 24 * 40)))
)
embargoes = st.sampled_from([(None, None), ("0d", None), ("36h", None), ("9d", None), ("3B", "weekdays")])


@settings(max_examples=150, deadline=None)
@given(rows, embargoes, st.none() | st.integers(1, 9), st.sampled_from([0.1, 0.4]))
def test_no_window_learns_from_what_was_not_known_an_embargo_before_its_cut_off(
    drawn: Any, embargo: Any, length: int | None, validation: float
) -> None:
    whole = table(*drawn)
    schedule = Schedule.model_validate(
        {
            "windows": "2mo",
            "start": "2020-03-01",
            "length": length and f"{length}mo",
            "embargo": embargo[0],
            "calendar": embargo[1],
        }
    )
    recipe = Recipe.read(
        {"corpus": {"name": "headlines", "splitter": {"validation": validation}}, "schedule": schedule}
    )
    tested: list[str] = []
    for window in schedule.until(max(whole["available_at"]).date()):
        split = recipe.window(window).corpus.splitter
        cutoff = datetime(window.cutoff.year, window.cutoff.month, window.cutoff.day, tzinfo=UTC)
        assert split.embargo_span is not None
        (limit,) = split.embargo_span.before([cutoff])
        try:
            division = divide(whole, split, "c")
        except BadCorpus as error:
            assert "without rows" in str(error)  # too few rows, or too long an embargo, which is said
            continue
        parts = division.splits
        for part in SPLITS[:2]:
            assert max(parts[part]["available_at"]) < limit and max(parts[part]["label_known_at"]) < limit <= cutoff
            assert window.since is None or min(parts[part]["available_at"]).date() >= window.since
        assert max(parts["train"]["label_known_at"]) <= min(parts["validation"]["available_at"])
        assert cutoff <= min(parts["test"]["available_at"])
        assert max(parts["test"]["available_at"]).date() < window.until
        known = [row for row in whole if max(row["available_at"], row["label_known_at"]) < limit]
        known = [row for row in known if window.since is None or row["available_at"].date() >= window.since]
        kept = len(parts["train"]) + len(parts["validation"])
        assert kept + division.notes["under embargo, train"] == len(known), "nothing else is left out"
        assert not set(tested) & set(parts["test"]["text"])
        tested += parts["test"]["text"]


def test_a_window_s_days_begin_at_midnight() -> None:
    """The first day counts with its first instant, and neither end of a part belongs to two of them."""
    split = Splitter.model_validate(
        {"by": "window", "since": "2020-01-03", "cutoff": "2020-01-08", "until": "2020-01-12"}
    )
    whole = table([24 * day - 12 for day in range(15)], [0] * 15)  # a row at each midnight from the 1st on
    parts = divide(whole, split, "c").splits
    days = {part: sorted(at.day for at in parts[part]["available_at"]) for part in SPLITS}
    assert days["train"] + days["validation"] == [3, 4, 5, 6, 7] and days["test"] == [8, 9, 10, 11]


def test_an_embargo_of_business_days_counts_over_a_holiday() -> None:
    pytest.importorskip("exchange_calendars", reason="the business days of exchanges need exchange_calendars")
    # Rows at noon of each day up to the 5th of July 2020; the 3rd was a holiday in New York, and no weekday's.
    whole = table([24 * (day + 150) for day in range(60)], [0] * 60)
    latest = {}
    for calendar in ("weekdays", "XNYS"):
        split = {"by": "window", "cutoff": "2020-07-06", "until": "2020-08-01", "embargo": "5B", "calendar": calendar}
        latest[calendar] = max(divide(whole, Splitter.model_validate(split), "c").splits["validation"]["available_at"])
    assert latest == {
        "weekdays": datetime(2020, 6, 28, 12, tzinfo=UTC),  # before Monday the 29th
        "XNYS": datetime(2020, 6, 26, 12, tzinfo=UTC),  # before the open of Friday the 26th, at 13:30
    }
    by_time = Splitter(by="time", validation=0.3, test=0.4, embargo="5B", calendar="XNYS")
    parts = divide(whole, by_time, "c").splits
    assert min(parts["test"]["available_at"]) - max(parts["validation"]["available_at"]) >= timedelta(days=7)


def test_labels_without_a_date_are_refused() -> None:
    split = Splitter.model_validate({"by": "window", "cutoff": "2020-03-01", "until": "2020-05-01"})
    whole = table([24 * day for day in range(90)], [0] * 90)
    with pytest.raises(BadCorpus, match="split by window needs a column 'label_known_at'"):
        divide(whole.remove_columns("label_known_at"), split, "c")
    assert len(divide(whole.remove_columns(["label_known_at", "label"]), split, "c").splits["test"]) == 30
