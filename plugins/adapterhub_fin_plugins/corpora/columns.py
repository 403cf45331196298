"""Build the columns of a corpus from the rows of a source; faults name the file, the row and the column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from datasets import Dataset

from adapterhub_fin.plugin import BadCorpus, Faults, Offset, Rows
from adapterhub_fin_plugins.corpora.cells import Source
from adapterhub_fin_plugins.corpora.options import Columns
from adapterhub_fin_plugins.corpora.records import PART, Record


def corpus_rows(records: Sequence[Record], columns: Columns, faults: Faults) -> Rows:
    """Return the corpus that `columns` describes; each cell that can't be used is a fault.

    Raises BadCorpus where no row is left.
    """
    source = Source(records, columns, faults)
    notes = source.clean([*_read_columns(columns)])
    table: dict[str, list[Any]] = {}
    if columns.reads_text:
        table["text"] = source.texts(columns.text)
        notes |= source.control_notes(columns.text)
    table |= {name: source.texts_or_turns(column) for name, column in columns.columns.items()}
    if columns.label is not None:
        table["label"] = source.labels(columns.label, columns.labels, columns.label_separator)
    if columns.group is not None:
        table["group"] = source.names(columns.group)
    if columns.slices:
        kept = {name: source.slices(name) for name in columns.slices}
        table["slices"] = [dict(zip(kept, cells, strict=True)) for cells in zip(*kept.values(), strict=True)]
    if (split := PART if source.has(PART) else columns.split) is not None:
        table["split"] = source.parts(split)
    for name, column in (("target", columns.target), ("weight", columns.weight)):
        if column is not None:
            table[name] = source.numbers(column, least=0.0 if name == "weight" else None)
    if columns.features:
        table["features"] = [list(row) for row in zip(*(source.numbers(f) for f in columns.features), strict=True)]
    for name, column in (("available_at", columns.available_at), ("label_known_at", columns.label_known_at)):
        if column is not None:
            dates = source.instants(column)
            table[name] = dates.moments
            notes |= dates.notes(name)
    if faults.count:
        return Rows(Dataset.from_dict({}))  # the faults are raised when all are collected
    if not source.records:
        raise BadCorpus("no row is left, because each lacks a cell that is read: see drop_missing and na_values")
    if columns.label_horizon is not None:
        table["label_known_at"] = Offset(columns.label_horizon, columns.calendar).after(table["available_at"])
    return Rows(Dataset.from_dict({**table, "origin": source.origins()}), notes=notes)


def _read_columns(columns: Columns) -> Iterator[str]:
    """Yield the source's columns that are read: a row without one of these cells can be dropped."""
    if isinstance(columns.text, str) and columns.reads_text:
        yield columns.text
    single = ("label", "target", "weight", "group", "split", "available_at", "label_known_at")
    yield from (str(name) for field in single if (name := getattr(columns, field)) is not None)
    yield from columns.features
    yield from columns.columns.values()
