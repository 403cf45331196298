"""A list of labels that lacks some of the rows' own: which, where and how many. G 30"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

import adapterhub_fin as ahf
from adapterhub_fin.engine.base.build_plugin import build_plugin
from adapterhub_fin.engine.data.corpus import check_targets
from adapterhub_fin.plugin.descriptions import Head

LISTED = ["down", "up"]


def head(labels: list[str]) -> Any:
    return build_plugin(Head, "classify", {"labels": labels})


@given(st.lists(st.sampled_from([*LISTED, "flat", "NA", "Up", "x 1"]), min_size=1), st.booleans())
def test_each_label_that_is_not_listed_is_named_with_its_rows(labels: list[str], placed: bool) -> None:
    columns = {"label": labels, **({"origin": [f"news.csv:{row + 2}" for row in range(len(labels))]} if placed else {})}
    rows, unknown = Dataset.from_dict(columns), Counter(labels)
    for known in LISTED:
        del unknown[known]
    if not unknown:
        head(LISTED).fit_labels(rows)
        return
    with pytest.raises(ahf.BadCorpus, match="which head.labels does not list") as told:
        head(LISTED).fit_labels(rows)
    for label, count in unknown.items():
        first = labels.index(label)
        place = f"row {first}" + (f" (news.csv:{first + 2})" if placed else "")
        many = f"{count} rows, the first is " if count > 1 else ""
        assert f"{label!r} ({many}{place})" in str(told.value)


def test_of_many_labels_the_first_five_are_named() -> None:
    rows = Dataset.from_dict({"label": [f"class {number}" for number in range(2000)]})
    with pytest.raises(ahf.BadCorpus, match=r"'class 0' \(row 0\).* and 1,995 more labels, which") as told:
        head(LISTED).fit_labels(rows)
    assert len(str(told.value)) < 300


def test_rows_of_another_part_are_counted_too() -> None:
    built = head(LISTED)
    built.fit_labels(Dataset.from_dict({"label": LISTED}))
    parts = {"test": Dataset.from_dict({"label": ["up", "flat", "down", "flat", "NA"]})}
    with pytest.raises(ahf.BadCorpus, match=r"corpus c: 3 faults:\n  test part, row 1: the label .flat"):
        check_targets(built, parts, "c")
