"""Count the labels of a corpus in each part, and warn of those that are probably a mistake."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.data.splits import SPLITS

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

    from adapterhub_fin.plugin.heads import HeadImplementation
else:
    np = Lazy("numpy")

FEW = 5  # rows; a class with fewer can neither be learnt nor measured
_MISSING = frozenset(
    ["", "-", "--", ".", "?", "#n/a", "<na>", "n/a", "na", "n.a.", "nan", "nat", "nil", "none", "null", "missing"]
)
_LISTED = 5  # labels that one warning names, at most

Counts = Mapping[str, Mapping[str, int]]


def labels_in(cell: Any) -> tuple[str, ...]:
    """Return the labels of a cell of the column `label`: one, or those of a list in their sorted order."""
    return tuple(sorted(set(map(str, cell)))) if isinstance(cell, list) else (str(cell),)


def count_labels(splits: Mapping[str, Dataset]) -> dict[str, dict[str, int]]:
    """Return the number of rows by label and part; empty if the rows have no labels."""
    if "label" not in splits["train"].column_names:
        return {}
    cells = {split: map(labels_in, splits[split]["label"][:]) for split in SPLITS}
    counts = {split: Counter(chain.from_iterable(cells[split])) for split in SPLITS}
    return {label: {split: counts[split][label] for split in SPLITS} for label in sorted(set().union(*counts.values()))}


def missing_labels(counts: Counts) -> dict[str, int]:
    """Return a note for each part that lacks classes: their number, by a text that names the first of them."""
    lacking = {split: [label for label in counts if not counts[label][split]] for split in SPLITS}
    return {f"classes not in {split}: {_listed(labels)}": len(labels) for split, labels in lacking.items() if labels}


def label_warnings(counts: Counts) -> list[str]:
    """Return a line for each kind of probable mistake among labels, with what to do about it."""
    checks = [
        (
            _differing_in_case(counts),
            "the labels {} differ only in case or blanks, and are separate classes: write each in one way",
        ),
        (
            [label for label in counts if _plain(label) in _MISSING],
            "{} stands for a missing value in most tables, and is a class here: drop its rows, or rename the class",
        ),
        (
            [label for label in counts if sum(counts[label].values()) < FEW],
            f"of {{}} there are fewer than {FEW} rows, too few to learn or to measure: give more, or merge the class",
        ),
    ]
    return [text.format(_listed(labels, repr)) for labels, text in checks if labels]


def one_answer(head: HeadImplementation, truth: Any, answers: Any, split: str) -> str | None:
    """Return a warning if a classifier gives every row the same label though the rows have several; else None.

    `truth` and `answers` come from the head's `truth` and `decide`, each of shape (rows,) or one by kind of metric.
    """
    if isinstance(answers, Mapping):
        if "classification" not in answers:
            return None
        truth, answers = truth["classification"], answers["classification"]
    if head.labels is None or answers.ndim != 1 or len(np.unique(truth)) < 2 or len(given := np.unique(answers)) > 1:
        return None
    return (
        f"the model answers {head.labels[int(given[0])]!r} to all {len(answers)} rows ({split}): train it longer, "
        "with another learning rate, or with classes of like size"
    )


def _differing_in_case(labels: Iterable[str]) -> list[str]:
    alike: dict[str, list[str]] = {}
    for label in labels:
        alike.setdefault(_plain(label), []).append(label)
    return [label for group in alike.values() if len(group) > 1 for label in group]


def _plain(label: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", label).casefold().split())


def _listed(labels: Collection[str], form: Callable[[str], str] = str) -> str:
    first: Sequence[str] = [form(label) for label in list(labels)[:_LISTED]]
    more = len(labels) - len(first)
    return ", ".join(first) + (f" and {more:,} more" if more else "")
