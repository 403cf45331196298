"""Build the columns of a corpus from the rows of a source; errors name the file, the row and the column."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, TypeVar

from datasets import Dataset

from adapterhub_fin.plugin import MARK, BadCorpus, BadInstant, Offset, Rows, problem
from adapterhub_fin_plugins.corpora.instants import DayEnd, day_end, instant, is_day_alone, moment
from adapterhub_fin_plugins.corpora.options import Columns
from adapterhub_fin_plugins.corpora.records import Record

T = TypeVar("T")


def corpus_rows(records: Sequence[Record], columns: Columns) -> Rows:
    """Return the corpus that `columns` describes.

    Raises BadCorpus, naming the file, the row and the column, for a cell that can't be used.
    """
    notes: dict[str, int] = {}
    table: dict[str, list[Any]] = {"text": texts(records, columns.text)} if columns.reads_text else {}
    table |= {name: _read(records, column, _text_or_turns) for name, column in columns.columns.items()}
    for name, column in (("label", columns.label), ("group", columns.group), ("split", columns.split)):
        if column is not None:
            table[name] = names(records, column)
    if columns.target is not None:
        table["target"] = numbers(records, columns.target)
    if columns.features:
        table["features"] = [list(row) for row in zip(*(numbers(records, f) for f in columns.features), strict=True)]
    for name, column in (("available_at", columns.available_at), ("label_known_at", columns.label_known_at)):
        if column is not None:
            dates = instants(records, column, columns.timezone)
            table[name] = dates.moments
            notes |= dates.notes(name)
    if columns.label_horizon is not None:
        table["label_known_at"] = Offset(columns.label_horizon, columns.calendar).after(table["available_at"])
    return Rows(Dataset.from_dict({**table, "origin": origins(records)}), notes=notes)


def origins(records: Sequence[Record]) -> list[str]:
    """Return the file and the number of each row, such as `rows.csv:3`."""
    return [record.origin for record in records]


def texts(records: Sequence[Record], columns: str | Sequence[str]) -> list[str]:
    """Return one text for each row: one column, or several joined by line breaks with blank cells left out.

    Raises BadCorpus for a row without text.
    """
    columns = (columns,) if isinstance(columns, str) else columns
    joined = ["\n".join(filter(None, row)) for row in zip(*(_read(records, c, _words) for c in columns), strict=True)]
    for record, text in zip(records, joined, strict=True):
        if not text:
            raise BadCorpus(f"{record.place}: {' and '.join(columns)} hold no text; drop the row or fix it")
    return joined


def names(records: Sequence[Record], column: str) -> list[str]:
    """Return labels, groups or splits: text cells, and integers as text. Raises BadCorpus for any other cell."""
    return _read(records, column, _name)


def numbers(records: Sequence[Record], column: str) -> list[float]:
    """Return a column of finite numbers. Raises BadCorpus for a cell that is none."""
    return _read(records, column, _number)


@dataclass(frozen=True)
class Instants:
    """Hold a column of instants in UTC, and which of them were written as a midnight and read as a day."""

    moments: list[datetime]
    days: list[bool]

    def notes(self, column: str) -> dict[str, int]:
        """Return a run's note on how many cells of this column were midnights that were read as days."""
        return {f"read as days, {column}": sum(self.days)} if any(self.days) else {}


def instants(records: Sequence[Record], column: str, zone: str | None) -> Instants:
    """Return a column of dates as instants in UTC; a midnight becomes the end of its day (see `instants.py`).

    `zone` is the time zone of the cells without one. Raises BadCorpus for a cell that is missing or not a date.
    """
    cells = _read(records, column, _present)
    values = [_convert(record, column, moment, cell) for record, cell in zip(records, cells, strict=True)]
    ends = day_end(values, zone)
    moments = [_convert(record, column, instant, v, zone, ends) for record, v in zip(records, values, strict=True)]
    days = [_was_midnight(cell, value, ends) for cell, value in zip(cells, values, strict=True)]
    return Instants(moments, days)


def _was_midnight(cell: Any, value: date | datetime, ends: DayEnd | None) -> bool:
    """Return whether the cell had a time and was read as a day."""
    if isinstance(value, datetime):
        return value.tzinfo is not None and ends is not None
    return not is_day_alone(cell)


def _convert(record: Record, column: str, convert: Callable[..., T], *arguments: Any) -> T:
    try:
        return convert(*arguments)
    except BadInstant as error:
        raise BadCorpus(f"{record.place}: {column}: {error}") from error


def _read(records: Sequence[Record], column: str, convert: Callable[[Any], T]) -> list[T]:
    values = []
    for record in records:
        if column not in record.cells:
            raise BadCorpus(f"{record.place} has no column {column!r}; it has {', '.join(map(str, record.cells))}")
        try:
            values.append(convert(record.cells[column]))
        except ValueError as error:
            raise BadCorpus(f"{record.place}: {column} {error}; drop the row or fix it") from error
    return values


def _present(cell: Any) -> Any:
    # NaN and NaT differ from themselves.
    if cell is None or (isinstance(cell, str) and not cell.strip()) or cell != cell:
        raise ValueError("is missing")
    return cell


def _words(cell: Any) -> str:
    if cell is None:
        return ""
    if not isinstance(cell, str):
        raise ValueError(f"is {cell!r} and not text")
    if cell.strip() and (message := problem(cell)):
        raise ValueError(message)
    return cell.removeprefix(MARK).strip()


def _text_or_turns(cell: Any) -> Any:
    """Return a text, or the turns of a conversation as they are: the core checks them."""
    return cell if isinstance(cell, list) and cell else _words(_present(cell))


def _name(cell: Any) -> str:
    if not isinstance(_present(cell), str | int):
        raise ValueError(f"is {cell!r} and neither text nor an integer")
    if isinstance(cell, str) and (message := problem(cell)):
        raise ValueError(message)
    return str(cell).strip()


def _number(cell: Any) -> float:
    try:
        number = math.nan if isinstance(_present(cell), bool) else float(cell)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError("is missing" if cell is None or cell == "" else f"is {cell!r} and not a finite number")
    return number
