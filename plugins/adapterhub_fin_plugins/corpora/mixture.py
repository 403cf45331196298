"""Mix corpora into one: all their rows, of which training sees those of some corpora several times an epoch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from datasets import Dataset, concatenate_datasets

from adapterhub_fin.plugin import BadCorpus, CorpusImplementation, KnownAt, Rows, load_corpus
from adapterhub_fin_plugins.corpora.options import MixtureOptions


class Mixture(CorpusImplementation):
    """Read the corpora in their order. They are divided as one, so that copies of a text stay in one part."""

    def __init__(self, options: MixtureOptions) -> None:
        self.options = options

    def load(self) -> Rows:
        """Return the rows. Raises BadCorpus as the corpora do, and where one lacks a column that another has."""
        parts, stated = _dated([load_corpus(part.name, part.options) for part in self.options.corpora])
        repeats = [part.repeat for part in self.options.corpora]
        tables = [part.table for part in parts]
        if any(times > 1 for times in repeats) or any("repeat" in table.column_names for table in tables):
            tables = [_repeated(table, times) for table, times in zip(tables, repeats, strict=True)]
        tables = _alike(tables, [part.name for part in self.options.corpora])
        notes: Counter[str] = Counter({"dated by their stated end": stated} if stated else {})
        for part in parts:
            notes.update(part.notes)
        read = {f"{number}.{key}": value for number, part in enumerate(parts) for key, value in part.read.items()}
        fitted = max((part.fitted_before for part in parts if part.fitted_before is not None), default=None)
        return Rows(
            concatenate_datasets(tables), known=_latest(parts), notes=dict(notes), read=read, fitted_before=fitted
        )


def _dated(parts: Sequence[Rows]) -> tuple[list[Rows], int]:
    """Return the corpora, and how many rows have their corpus's stated end as their date, beside rows with dates."""
    is_dated = ["available_at" in part.table.column_names for part in parts]
    if not any(is_dated):
        return list(parts), 0
    dated, stated = [], 0
    for part, has_dates in zip(parts, is_dated, strict=True):
        if not has_dates and part.known is not None and part.known.kind == "asserted":
            stated += len(part.table)
            part = replace(part, table=part.table.add_column("available_at", [part.known.at] * len(part.table)))
        dated.append(part)
    return dated, stated


def _repeated(table: Dataset, times: int) -> Dataset:
    """Return a table whose rows an epoch sees so many times as often; a mixture's rows may have a number already."""
    if "repeat" not in table.column_names:
        return table.add_column("repeat", [times] * len(table))
    numbers = [times * number for number in table["repeat"]]
    return table.remove_columns("repeat").add_column("repeat", numbers)


def _latest(parts: Sequence[Rows]) -> KnownAt | None:
    """Return the latest publication of the corpora; None where one states none, and this moment bounds its rows."""
    dates = [part.known for part in parts]
    return None if None in dates else max((each for each in dates if each is not None), key=lambda each: each.at)


def _alike(tables: Sequence[Dataset], names: Sequence[str]) -> list[Dataset]:
    """Return the tables with their columns in one order and of one type. Raises BadCorpus where one lacks a column."""
    columns: Any = dict.fromkeys(column for table in tables for column in table.column_names)
    for table, name in zip(tables, names, strict=True):
        if lacking := [column for column in columns if column not in table.column_names]:
            other = next(n for t, n in zip(tables, names, strict=True) if lacking[0] in t.column_names)
            raise BadCorpus(
                f"corpus mixture: {name} has no column {lacking[0]!r}, which {other} has: give it to both or to neither"
            )
    ordered = [table.select_columns(list(columns)) for table in tables]
    features = ordered[0].features
    return [table if table.features == features else table.cast(features) for table in ordered]
