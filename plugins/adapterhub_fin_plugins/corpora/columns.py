"""The columns of a corpus from the rows of a source; what can't be used is refused with its place."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime, time
from typing import Any, TypeVar

from datasets import Dataset

from adapterhub_fin.calendars import Span
from adapterhub_fin.errors import BadCorpus, BadInstant
from adapterhub_fin_plugins.corpora.columns_options import Columns
from adapterhub_fin_plugins.corpora.instants import instant
from adapterhub_fin_plugins.corpora.records import Record

T = TypeVar("T")


def corpus_table(records: Sequence[Record], wanted: Columns) -> Dataset:
    """The table that `wanted` describes; BadCorpus names the file, the row and the column."""
    table: dict[str, list[Any]] = {"text": texts(records, wanted.text)}
    for name, column in (("label", wanted.label), ("group", wanted.group), ("split", wanted.part)):
        if column is not None:
            table[name] = names(records, column)
    if wanted.target is not None:
        table["target"] = numbers(records, wanted.target)
    if wanted.features:
        table["features"] = [list(row) for row in zip(*(numbers(records, f) for f in wanted.features), strict=True)]
    for name, column in (("available_at", wanted.available_at), ("label_known_at", wanted.label_known_at)):
        if column is not None:
            table[name] = instants(records, column, wanted.timezone)
    if wanted.label_horizon is not None:
        table["label_known_at"] = Span(wanted.label_horizon, wanted.calendar).after(table["available_at"])
    return Dataset.from_dict({**table, "origin": origins(records)})


def origins(records: Sequence[Record]) -> list[str]:
    """Where each row comes from."""
    return [record.origin for record in records]


def texts(records: Sequence[Record], columns: str | Sequence[str]) -> list[str]:
    """One text a row: of one column, or of several joined by a line break, without those that are blank."""
    columns = (columns,) if isinstance(columns, str) else columns
    joined = ["\n".join(filter(None, row)) for row in zip(*(_read(records, c, _words) for c in columns), strict=True)]
    for record, text in zip(records, joined, strict=True):
        if not text:
            raise BadCorpus(f"{record.place}: {' and '.join(columns)} hold no text; drop the row or mend it")
    return joined


def names(records: Sequence[Record], column: str) -> list[str]:
    """Labels, groups or parts: texts, or whole numbers as texts."""
    return _read(records, column, _name)


def numbers(records: Sequence[Record], column: str) -> list[float]:
    """Finite numbers."""
    return _read(records, column, _number)


def instants(records: Sequence[Record], column: str, zone: str | None) -> list[datetime]:
    """Instants in UTC."""
    cells = _read(records, column, _present)
    if all(map(_is_midnight, cells)):
        cells = [cell.date() for cell in cells]
    found = []
    for record, cell in zip(records, cells, strict=True):
        try:
            found.append(instant(cell, zone))
        except BadInstant as error:
            raise BadCorpus(f"{record.place}: {column}: {error}") from error
    return found


def _is_midnight(cell: Any) -> bool:
    """Whether it may stand for a day: pandas has no days, and holds 2021-06-30 as its midnight, a day too early."""
    return isinstance(cell, datetime) and cell.tzinfo is None and cell.time() == time()


def _read(records: Sequence[Record], column: str, convert: Callable[[Any], T]) -> list[T]:
    found = []
    for record in records:
        if column not in record.cells:
            raise BadCorpus(f"{record.place} has no column {column!r}; it has {', '.join(map(str, record.cells))}")
        try:
            found.append(convert(record.cells[column]))
        except ValueError as error:
            raise BadCorpus(f"{record.place}: {column} {error}; drop the row or mend it") from error
    return found


def _present(cell: Any) -> Any:
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        raise ValueError("is missing")
    return cell


def _words(cell: Any) -> str:
    if cell is None:
        return ""
    if not isinstance(cell, str):
        raise ValueError(f"is {cell!r} and not a text")
    return cell.strip()


def _name(cell: Any) -> str:
    if not isinstance(_present(cell), str | int):
        raise ValueError(f"is {cell!r} and neither a text nor a whole number")
    return str(cell).strip()


def _number(cell: Any) -> float:
    try:
        number = math.nan if isinstance(_present(cell), bool) else float(cell)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError("is missing" if cell is None or cell == "" else f"is {cell!r} and not a finite number")
    return number
