"""Describe what a run would do in facts, by name: a command prints them, and a notebook shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin.engine.data.describe import Dates, Lengths, dates_of, token_lengths

if TYPE_CHECKING:
    from adapterhub_fin.engine.data.corpus import Corpora

LABELS_SHOWN: Final = 20  # --json has all of them
Facts = list[tuple[str, Any]]


def row_facts(corpora: Corpora, examples: Mapping[str, Sequence[Any]], max_length: int, work: Facts) -> Facts:
    """Return what a run would read, by part, with its notes and labels; `work` stands between."""
    rows = {split: len(table) for split, table in corpora.splits.items()}
    counts = {split: len(table) for split, table in examples.items()}
    lengths = {split: token_lengths(table, max_length) for split, table in examples.items()}
    dates = {split: spanned for split, table in corpora.splits.items() if (spanned := dates_of(table)) is not None}
    return [
        *((f"rows of {split}", f"{count:,}") for split, count in rows.items()),
        *((f"examples of {split}", f"{count:,}") for split, count in counts.items() if count != rows[split]),
        *work,
        *(_length_fact(split, length, counts[split]) for split, length in lengths.items()),
        *(fact for split, spanned in dates.items() for fact in _date_facts(split, spanned)),
        *note_facts(corpora.notes),
        *label_facts(corpora.labels),
    ]


def stage_facts(stages: Sequence[Mapping[str, Any]]) -> Facts:
    """Return a line for each stage of a curriculum, from `Stages.documents`."""
    return [
        (
            f"stage {number} of {len(stages)}",
            f"{stage['corpus']}: {', '.join(f'{split} {count:,}' for split, count in stage['rows'].items())} rows; "
            f"{stage['steps']:,} steps at a rate of {stage['learning_rate']:g}",
        )
        for number, stage in enumerate(stages, 1)
    ]


def note_facts(notes: Mapping[str, int]) -> Facts:
    """Return the notes of a corpus as facts; they count rows, unless the note names classes."""
    return [(reason if reason.startswith("classes ") else f"rows {reason}", count) for reason, count in notes.items()]


def label_facts(labels: Mapping[str, Mapping[str, int]]) -> Facts:
    """Return how many rows have each label, the labels with the most rows first."""
    listed = sorted(labels.items(), key=lambda item: -sum(item[1].values()))
    facts: Facts = [
        (f"label {label}", f"{sum(splits.values()):,} ({', '.join(f'{split} {n:,}' for split, n in splits.items())})")
        for label, splits in listed[:LABELS_SHOWN]
    ]
    return [*facts, *([("more labels", f"{len(listed) - LABELS_SHOWN:,}")] if len(listed) > LABELS_SHOWN else [])]


def _length_fact(split: str, length: Lengths, examples: int) -> tuple[str, str]:
    cut = f", {length.at_limit:,} of {examples:,} at the limit" if length.at_limit else ""
    return f"tokens of {split}", f"median {length.median:,}, 95 % {length.p95:,}, longest {length.longest:,}{cut}"


def _date_facts(split: str, dates: Dates) -> Facts:
    facts: Facts = [(f"dates of {split}", f"{dates.first:%Y-%m-%d} to {dates.last:%Y-%m-%d}")]
    return [*facts, *((f"gap in {split}", f"{since:%Y-%m-%d} to {until:%Y-%m-%d}") for since, until in dates.gaps)]
