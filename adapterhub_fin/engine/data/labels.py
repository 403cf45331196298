"""The labels of a corpus, counted by part, and what about them is probably a slip: a warning each, with its remedy."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.data.splits import SPLITS

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

    from adapterhub_fin.plugin.heads import HeadImplementation
else:
    np = Lazy("numpy")

FEW = 5  # rows of a class below which neither training nor a metric says much
_MISSING = frozenset(
    ["", "-", "--", ".", "?", "#n/a", "<na>", "n/a", "na", "n.a.", "nan", "nat", "nil", "none", "null", "missing"]
)
_NAMED = 5  # labels that one warning names

Counts = Mapping[str, Mapping[str, int]]


def count_labels(splits: Mapping[str, Dataset]) -> dict[str, dict[str, int]]:
    """Return how many rows of each part have each label; empty where rows have none."""
    if "label" not in splits["train"].column_names:
        return {}
    found = {split: Counter(map(str, splits[split]["label"][:])) for split in SPLITS}
    return {label: {split: found[split][label] for split in SPLITS} for label in sorted(set().union(*found.values()))}


def missing_labels(counts: Counts) -> dict[str, int]:
    """Return, as notes, how many classes a part that is held out lacks, and the first of them by name."""
    lacking = {split: [label for label in counts if not counts[label][split]] for split in SPLITS}
    return {f"classes not in {split}: {_listed(labels)}": len(labels) for split, labels in lacking.items() if labels}


def label_warnings(counts: Counts) -> list[str]:
    """Return one line for each kind of slip among labels, with what to do about it."""
    found = [
        (
            _differing_in_case(counts),
            "the labels {} differ only in case or blanks, and are classes of their own: write each in one way",
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
    return [text.format(_listed(labels, repr)) for labels, text in found if labels]


def one_answer(head: HeadImplementation, truth: np.ndarray, answers: np.ndarray, split: str) -> str | None:
    """Return a warning where a classifier answers one label alone though the rows have several; else None.

    `truth` and `answers` are those of the head's `truth` and `decide`, one a row.
    """
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
    first: Sequence[str] = [form(label) for label in list(labels)[:_NAMED]]
    more = len(labels) - len(first)
    return ", ".join(first) + (f" and {more:,} more" if more else "")
