"""Folds divide train and validation and leave the test part alone; by time, no label span of train meets validation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub_fin.engine.data.duplicates import text_keys
from adapterhub_fin.engine.data.splits import divide
from adapterhub_fin.engine.sweeping.folds import fold_rows, purged
from adapterhub_fin.errors import BadCorpus
from adapterhub_fin.recipe.splitter import Splitter

START = datetime(2020, 1, 1, tzinfo=UTC)


def dated(spans: list[tuple[int, int]], **columns: list[Any]) -> Dataset:
    """Rows that are available on a day and labelled so many days later."""
    available = [START + timedelta(days=day) for day, _ in spans]
    known = [START + timedelta(days=day + length) for day, length in spans]
    texts = [f"row {number}" for number in range(len(spans))]
    return Dataset.from_dict({"text": texts, "available_at": available, "label_known_at": known, **columns})


def folds_of(table: Dataset, folds: int, **splitter: Any) -> tuple[list[Any], Any]:
    division = divide(table, Splitter(**splitter), "rows")
    return fold_rows(table, division, folds, "rows"), division


@settings(max_examples=150, deadline=None)
@given(
    spans=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)), min_size=30, max_size=60),
    folds=st.integers(2, 5),
    embargo=st.sampled_from([None, "0d", "1d", "3d"]),
)
def test_no_label_span_of_train_meets_one_of_validation(
    spans: list[tuple[int, int]], folds: int, embargo: str | None
) -> None:
    table = dated(spans)
    try:
        divided, division = folds_of(table, folds, by="time", embargo=embargo)
    except BadCorpus:
        return  # too few instants, or nothing left to train on
    gap = int((embargo or "0d")[0])
    test = min(spans[row][0] for row in division.row_indices["test"])
    seen = {*division.row_indices["train"], *division.row_indices["validation"]}
    validated: list[int] = []
    for fold in divided:
        validated += fold["validation"]
        assert fold["train"] and not {*fold["train"]} & {*fold["validation"]} and {*fold["train"]} <= seen
        for row in fold["train"]:
            begin, end = spans[row][0], sum(spans[row])
            assert end < test - gap
            for other in fold["validation"]:
                first, last = spans[other][0], sum(spans[other])
                assert end < first - gap or begin - gap > last, (spans[row], spans[other])
    assert len(validated) == len(set(validated))
    assert {*validated} == {row for row in seen if sum(spans[row]) < test - gap}


def test_vectors_23_and_24_of_purging() -> None:
    """Ten days, labels of two days: purgedcv keeps what only touches a fold's span; a closed span purges it too."""
    begin, end = (
        [START + timedelta(days=day) for day in range(10)],
        [START + timedelta(days=day + 2) for day in range(10)],
    )

    def trained(held_out: list[int], embargo: int = 0) -> list[int]:
        early = [day - timedelta(days=embargo) for day in begin]
        return purged([row for row in range(10) if row not in held_out], held_out, early, end)

    half_open = {(2, 3): [0, 5, 6, 7, 8, 9], (4, 5): [0, 1, 2, 7, 8, 9]}  # purgedcv's
    assert trained([2, 3]) == [6, 7, 8, 9] == [row for row in half_open[2, 3] if row not in (0, 5)]
    assert trained([4, 5]) == [0, 1, 8, 9] == [row for row in half_open[4, 5] if row not in (2, 7)]
    assert trained([2, 3], embargo=1) == [7, 8, 9]
    assert trained([4, 5], embargo=1) == [0, 9]


def test_rows_of_one_instant_stay_in_one_fold() -> None:
    table = dated([(day // 5, 0) for day in range(60)])
    divided, _ = folds_of(table, 3, by="time")
    for fold in divided:
        days = [{table[row]["available_at"] for row in fold[part]} for part in ("train", "validation")]
        assert not days[0] & days[1]


@settings(max_examples=60, deadline=None)
@given(groups=st.lists(st.integers(0, 12), min_size=40, max_size=60), folds=st.integers(2, 4), copies=st.booleans())
def test_groups_and_copies_stay_in_one_fold(groups: list[int], folds: int, copies: bool) -> None:
    texts = [f"row {number % 35 if copies else number}" for number in range(len(groups))]
    table = Dataset.from_dict({"text": texts, "group": list(map(str, groups))})
    try:
        divided, division = folds_of(table, folds, by="grouped")
    except BadCorpus:
        return  # too few groups
    seen = sorted([*division.row_indices["train"], *division.row_indices["validation"]])
    keys = text_keys(table) or []
    for fold in divided:
        for of_row in (lambda row: table[row]["group"], keys.__getitem__):
            assert not {of_row(row) for row in fold["train"]} & {of_row(row) for row in fold["validation"]}
        assert sorted([*fold["train"], *fold["validation"]]) == seen
    assert sorted(row for fold in divided for row in fold["validation"]) == seen


def test_classes_have_like_shares_in_each_fold() -> None:
    labels = ["up"] * 60 + ["down"] * 30 + ["flat"] * 10
    table = Dataset.from_dict({"text": [f"row {number}" for number in range(100)], "label": labels})
    divided, _ = folds_of(table, 4)
    for fold in divided:
        counts = [sum(labels[row] == name for row in fold["validation"]) for name in ("up", "down", "flat")]
        assert counts[0] in (12, 13) and counts[1] in (6, 7) and counts[2] in (1, 2, 3)


def test_too_few_groups_texts_and_instants_are_refused() -> None:
    grouped = Dataset.from_dict({"text": [f"row {n}" for n in range(40)], "group": [str(n % 8) for n in range(40)]})
    with pytest.raises(BadCorpus, match="8 folds need as many groups, and it has [67]"):
        folds_of(grouped, 8, by="grouped")
    few = Dataset.from_dict({"text": [f"row {n}" for n in range(8)], "label": ["a", "b"] * 4})
    with pytest.raises(BadCorpus, match="9 folds need as many distinct texts"):
        folds_of(few, 9)
    with pytest.raises(BadCorpus, match="too few instants for 9 folds"):
        folds_of(dated([(n // 4, 0) for n in range(40)]), 9, by="time")
    with pytest.raises(BadCorpus, match="fold 2 of 2 has nothing to train on"):
        spread = dated([(day, 0) for day in (0, 1, 2, 3, 20, 21, 40, 41)])
        folds_of(spread, 2, by="time", embargo="5d", validation=0.25, test=0.25)
