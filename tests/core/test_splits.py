"""Three parts that never overlap, whatever the rows."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub_fin import BadCorpus
from adapterhub_fin.engine.splits import PARTS, split_rows
from adapterhub_fin.recipe import Split

START = datetime(2020, 1, 1, tzinfo=UTC)


def table(labels: list[str], groups: list[int], days: list[int]) -> Dataset:
    rows = zip(labels, groups, days, strict=True)
    return Dataset.from_list(
        [
            {"text": str(i), "label": label, "group": group, "available_at": START + timedelta(days=day)}
            for i, (label, group, day) in enumerate(rows)
        ]
    )


many = st.integers(12, 60).flatmap(
    lambda n: st.tuples(
        st.lists(st.sampled_from("abc"), min_size=n, max_size=n),
        st.lists(st.integers(0, 9), min_size=n, max_size=n),
        st.lists(st.integers(0, 20), min_size=n, max_size=n),
    )
)


@settings(max_examples=60, deadline=None)
@given(many, st.sampled_from(["random", "stratified", "grouped", "time"]), st.integers(0, 5))
def test_every_row_is_in_one_part_and_the_seed_decides(rows: Any, by: Any, seed: int) -> None:
    whole, split = table(*rows), Split(by=by, validation=0.2, test=0.2, seed=seed)
    try:
        parts = split_rows(whole, split, "c")
    except BadCorpus:
        return  # too few rows or groups for three parts, which is said
    assert sorted(text for part in PARTS for text in parts[part]["text"]) == sorted(whole["text"])
    assert {part: list(rows["text"]) for part, rows in parts.items()} == {
        part: list(rows["text"]) for part, rows in split_rows(whole, split, "c").items()
    }
    if by == "grouped":
        groups = [set(parts[part]["group"]) for part in PARTS]
        assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])
    if by == "time":
        assert max(parts["train"]["available_at"]) < min(parts["validation"]["available_at"])
        assert max(parts["validation"]["available_at"]) < min(parts["test"]["available_at"])


def test_strata_keep_their_shares() -> None:
    labels = ["a"] * 60 + ["b"] * 30 + ["c"] * 10
    parts = split_rows(table(labels, [0] * 100, [0] * 100), Split(by="stratified", validation=0.1, test=0.2), "c")
    assert Counter(parts["test"]["label"]) == {"a": 12, "b": 6, "c": 2}
    assert Counter(parts["validation"]["label"]) == {"a": 6, "b": 3, "c": 1}


def test_another_seed_gives_another_split() -> None:
    whole = table(["a", "b"] * 50, [0] * 100, [0] * 100)
    tests = [list(split_rows(whole, Split(by="random", seed=seed), "c")["test"]["text"]) for seed in (0, 1)]
    assert tests[0] != tests[1]


def test_validation_is_carved_from_train_where_only_a_test_part_is_given() -> None:
    whole = table(["a", "b"] * 10, [0] * 20, [0] * 20).add_column("split", ["train"] * 15 + ["test"] * 5)
    parts = split_rows(whole, Split(by="given", validation=0.2), "c")
    assert [len(parts[part]) for part in PARTS] == [12, 3, 5]
    assert list(parts["test"]["text"]) == [str(i) for i in range(15, 20)]


def test_an_empty_part_is_refused_with_its_name() -> None:
    with pytest.raises(BadCorpus, match="leaves validation and test without rows"):
        split_rows(table(["a", "b"], [0, 1], [0, 1]), Split(by="stratified"), "c")
    with pytest.raises(BadCorpus, match="at least 3 groups"):
        split_rows(table(["a"] * 30, [0] * 30, [0] * 30), Split(by="grouped"), "c")
    with pytest.raises(BadCorpus, match="holds 'dev'"):
        whole = table(["a", "b"], [0, 1], [0, 1]).add_column("split", ["dev", "test"])
        split_rows(whole, Split(by="given"), "c")
    with pytest.raises(BadCorpus, match="needs a column 'group'"):
        split_rows(table(["a"] * 9, [0] * 9, [0] * 9).remove_columns("group"), Split(by="grouped"), "c")
