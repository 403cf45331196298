"""Divide rows into train, validation and test; always three, and never by looking at the answers of the test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adapterhub_fin.errors import BadCorpus

if TYPE_CHECKING:
    from datasets import Dataset

    from adapterhub_fin.recipe import Split

PARTS = ("train", "validation", "test")


def split_rows(table: Dataset, split: Split, corpus: str) -> Mapping[str, Dataset]:
    """The three parts, in the order of the table; BadCorpus names what leaves one empty."""
    divide = {"random": _random, "stratified": _stratified, "grouped": _grouped, "time": _by_time, "given": _given}
    rows = divide[split.by](table, split, np.random.default_rng(split.seed), corpus)
    if empty := [part for part in PARTS if not len(rows[part])]:
        raise BadCorpus(
            f"corpus {corpus}: split by {split.by} leaves {' and '.join(empty)} without rows "
            f"({len(table)} rows in all): give it more rows or other shares"
        )
    return {part: table.select(sorted(rows[part])) for part in PARTS}


def _column(table: Dataset, name: str, split: Split, corpus: str) -> list[Any]:
    if name not in table.column_names:
        raise BadCorpus(
            f"corpus {corpus}: split by {split.by} needs a column {name!r}; it has {', '.join(table.column_names)}"
        )
    return list(table[name])


def _shares(order: Sequence[int], split: Split) -> dict[str, list[int]]:
    """Cut an order into test, validation and train, each share rounded."""
    test = round(len(order) * split.test)
    validation = round(len(order) * split.validation)
    order = [int(row) for row in order]
    return {"test": order[:test], "validation": order[test : test + validation], "train": order[test + validation :]}


def _random(table: Dataset, split: Split, rng: np.random.Generator, corpus: str) -> dict[str, list[int]]:
    return _shares(list(rng.permutation(len(table))), split)


def _stratified(table: Dataset, split: Split, rng: np.random.Generator, corpus: str) -> dict[str, list[int]]:
    labels = _column(table, "label", split, corpus)
    parts: dict[str, list[int]] = {part: [] for part in PARTS}
    for label in sorted(set(labels), key=str):
        rows = [row for row, each in enumerate(labels) if each == label]
        for part, chosen in _shares([rows[i] for i in rng.permutation(len(rows))], split).items():
            parts[part] += chosen
    return parts


def _grouped(table: Dataset, split: Split, rng: np.random.Generator, corpus: str) -> dict[str, list[int]]:
    """Whole groups, taken in a shuffled order, each to the part that is furthest below its share."""
    groups: dict[Any, list[int]] = {}
    for row, group in enumerate(_column(table, "group", split, corpus)):
        groups.setdefault(group, []).append(row)
    if len(groups) < len(PARTS):
        raise BadCorpus(f"corpus {corpus}: split by group needs at least 3 groups and has {len(groups)}")
    wanted = {"test": split.test, "validation": split.validation, "train": 1 - split.test - split.validation}
    parts: dict[str, list[int]] = {part: [] for part in PARTS}
    names = sorted(groups, key=str)
    for place in rng.permutation(len(names)):
        part = max(wanted, key=lambda p: wanted[p] * len(table) - len(parts[p]))
        parts[part] += groups[names[place]]
    return parts


def _by_time(table: Dataset, split: Split, rng: np.random.Generator, corpus: str) -> dict[str, list[int]]:
    """Oldest to train, newest to test; rows of one instant stay together, on the earlier side."""
    instants = _column(table, "available_at", split, corpus)
    order = sorted(range(len(table)), key=lambda row: instants[row])
    ends = [round(len(order) * share) for share in (1 - split.test - split.validation, 1 - split.test)]
    for place, end in enumerate(ends):
        while 0 < end < len(order) and instants[order[end]] == instants[order[end - 1]]:
            end += 1
        ends[place] = end
    return {"train": order[: ends[0]], "validation": order[ends[0] : ends[1]], "test": order[ends[1] :]}


def _given(table: Dataset, split: Split, rng: np.random.Generator, corpus: str) -> dict[str, list[int]]:
    """The source's own parts; validation is carved from train where only a test part is given."""
    given = _column(table, "split", split, corpus)
    if unknown := sorted(set(given) - set(PARTS), key=str):
        raise BadCorpus(f"corpus {corpus}: column 'split' holds {unknown[0]!r}; it may hold {', '.join(PARTS)}")
    parts = {part: [row for row, each in enumerate(given) if each == part] for part in PARTS}
    if not parts["validation"]:
        order = [parts["train"][i] for i in rng.permutation(len(parts["train"]))]
        cut = round(len(order) * split.validation)
        parts["validation"], parts["train"] = order[:cut], order[cut:]
    return parts
