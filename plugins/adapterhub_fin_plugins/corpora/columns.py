"""The columns of a corpus from the rows of a source; what can't be used is refused with its place."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, TypeVar

from datasets import Dataset

from adapterhub_fin.errors import BadCorpus, BadInstant
from adapterhub_fin.plugin.calendars import Offset
from adapterhub_fin.plugin.interfaces import Rows
from adapterhub_fin.plugin.texts import MARK, problem
from adapterhub_fin_plugins.corpora.instants import DayEnd, day_end, instant, is_day_alone, moment
from adapterhub_fin_plugins.corpora.options import Columns
from adapterhub_fin_plugins.corpora.records import Record

T = TypeVar("T")


def corpus_rows(records: Sequence[Record], wanted: Columns) -> Rows:
    """Return the table that `wanted` describes; BadCorpus names the file, the row and the column."""
    notes: dict[str, int] = {}
    table: dict[str, list[Any]] = {"text": texts(records, wanted.text)}
    for name, column in (("label", wanted.label), ("group", wanted.group), ("split", wanted.split)):
        if column is not None:
            table[name] = names(records, column)
    if wanted.target is not None:
        table["target"] = numbers(records, wanted.target)
    if wanted.features:
        table["features"] = [list(row) for row in zip(*(numbers(records, f) for f in wanted.features), strict=True)]
    for name, column in (("available_at", wanted.available_at), ("label_known_at", wanted.label_known_at)):
        if column is not None:
            found = instants(records, column, wanted.timezone)
            table[name] = found.moments
            notes |= found.notes(name)
    if wanted.label_horizon is not None:
        table["label_known_at"] = Offset(wanted.label_horizon, wanted.calendar).after(table["available_at"])
    return Rows(Dataset.from_dict({**table, "origin": origins(records)}), notes=notes)


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


@dataclass(frozen=True)
class Instants:
    """A column of instants in UTC, and which of them were days written as a midnight."""

    moments: list[datetime]
    days: list[bool]

    def notes(self, column: str) -> dict[str, int]:
        """Return what a run's notes say of this column of a corpus."""
        return {f"read as days, {column}": sum(self.days)} if any(self.days) else {}


def instants(records: Sequence[Record], column: str, zone: str | None) -> Instants:
    """Return a column of dates as instants; a midnight is the end of its day (see `instants.py`)."""
    cells = _read(records, column, _present)
    found = [_placed(record, column, moment, cell) for record, cell in zip(records, cells, strict=True)]
    ends = day_end(found, zone)
    moments = [_placed(record, column, instant, each, zone, ends) for record, each in zip(records, found, strict=True)]
    days = [_was_midnight(*pair, ends) for pair in zip(cells, found, strict=True)]
    return Instants(moments, days)


def _was_midnight(cell: Any, found: date | datetime, ends: DayEnd | None) -> bool:
    """Whether a time was written, and a day was read."""
    if isinstance(found, datetime):
        return found.tzinfo is not None and ends is not None
    return not is_day_alone(cell)


def _placed(record: Record, column: str, convert: Callable[..., T], *arguments: Any) -> T:
    try:
        return convert(*arguments)
    except BadInstant as error:
        raise BadCorpus(f"{record.place}: {column}: {error}") from error


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
    if (
        cell is None or (isinstance(cell, str) and not cell.strip()) or cell != cell
    ):  # NaN and NaT differ from themselves
        raise ValueError("is missing")
    return cell


def _words(cell: Any) -> str:
    if cell is None:
        return ""
    if not isinstance(cell, str):
        raise ValueError(f"is {cell!r} and not a text")
    if cell.strip() and (wrong := problem(cell)):
        raise ValueError(wrong)
    return cell.removeprefix(MARK).strip()


def _name(cell: Any) -> str:
    if not isinstance(_present(cell), str | int):
        raise ValueError(f"is {cell!r} and neither a text nor a whole number")
    if isinstance(cell, str) and (wrong := problem(cell)):
        raise ValueError(wrong)
    return str(cell).strip()


def _number(cell: Any) -> float:
    try:
        number = math.nan if isinstance(_present(cell), bool) else float(cell)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError("is missing" if cell is None or cell == "" else f"is {cell!r} and not a finite number")
    return number
