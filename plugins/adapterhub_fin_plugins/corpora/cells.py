"""Convert the cells of rows one column at a time; what can't be converted is a fault that names row and column."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, TypeVar

from adapterhub_fin.plugin import (
    MARK,
    BadInstant,
    DayEnd,
    Faults,
    day_end,
    emptied,
    instant,
    is_day_alone,
    joined_tokens,
    problem,
    read_by,
    tells_time,
)
from adapterhub_fin_plugins.corpora.options import Cells
from adapterhub_fin_plugins.corpora.records import Record

T = TypeVar("T")
COMMA = re.compile(r"[+-]?\d*,\d+")
CONTROL = re.compile("[\x80-\x84\x86-\x9f]")  # but U+0085, which ends a line
MISSING = "is missing"
PARTS = ("train", "validation", "test")


@dataclass
class Source:
    """Hold the rows of a source, with its options and the faults that are found in it."""

    records: Sequence[Record]
    options: Cells
    faults: Faults

    def clean(self, columns: Sequence[str]) -> dict[str, int]:
        """Rename columns, empty the cells that stand for a missing value, and drop rows that lack one of `columns`.

        Return the notes of a run: how many rows were dropped for each column, where `drop_missing` says so.
        """
        missing, rename = self.options.missing, self.options.rename
        if rename or missing:
            self.records = [replace(row, cells=_cleaned(row.cells, rename, missing)) for row in self.records]
        if not self.options.drop_missing:
            return {}
        notes: dict[str, int] = {}
        complete = []
        for record in self.records:
            lacking = next((name for name in columns if name in record.cells and is_missing(record.cells[name])), None)
            if lacking is None:
                complete.append(record)
            else:
                notes[f"dropped, {lacking} missing"] = notes.get(f"dropped, {lacking} missing", 0) + 1
        self.records = complete
        return notes

    def read(self, column: str, convert: Callable[[Any], T]) -> list[T | None]:
        """Return a column of converted cells, None for a fault: `convert` raises ValueError with the reason."""
        if self.records and not self.has(column):
            first = self.records[0]
            self.faults.add(first.position, first.lacks(column))
            return [None] * len(self.records)
        values: list[T | None] = []
        for record in self.records:
            values.append(None)
            if column not in record.cells:
                self.faults.add(record.position, record.lacks(column))
                continue
            try:
                values[-1] = convert(record.cells[column])
            except ValueError as error:
                self.faults.add(record.position, f"{record.place}: {column} {error}; {self._advice(str(error))}")
        return values

    def _advice(self, reason: str) -> str:
        """Return what to do about a cell: drop_missing drops rows without one that is read."""
        if reason == MISSING and not self.options.drop_missing:
            return "fill it, or set drop_missing: true to drop such rows"
        return "drop the row or fix it"

    def texts(self, columns: str | Sequence[str]) -> list[str | None]:
        """Return one text for each row: one column, or several joined by line breaks with blank cells left out."""
        columns = (columns,) if isinstance(columns, str) else columns
        before = self.faults.count
        read = [self.read(column, _words) for column in columns]
        joined = ["\n".join(filter(None, row)) for row in zip(*read, strict=True)]
        if self.faults.count == before or len(columns) == 1:
            for record, text, *cells in zip(self.records, joined, *read, strict=True):
                if not text and None not in cells:
                    self.faults.add(
                        record.position,
                        f"{record.place}: {' and '.join(columns)} {'holds' if len(columns) == 1 else 'hold'} no text; "
                        f"{self._advice(MISSING)}",
                    )
        return [text or None for text in joined]

    def control_notes(self, columns: str | Sequence[str]) -> dict[str, int]:
        """Return a run's note on how many rows hold characters that text has where it was decoded wrongly."""
        names = (columns,) if isinstance(columns, str) else columns
        count = sum(any(CONTROL.search(str(record.cells.get(name))) for name in names) for record in self.records)
        return {"with control characters (is the encoding cp1252?)": count} if count else {}

    def names(self, column: str) -> list[str | None]:
        """Return groups: text cells, and integers as text."""
        return self.read(column, _name)

    def slices(self, column: str) -> list[str | None]:
        """Return a column that is kept to tell metrics apart by: cells as text, None where one is missing."""
        return self.read(column, lambda cell: None if is_missing(cell) else str(cell).strip())

    def labels(self, column: str, renamed: Mapping[str, str], separator: str | None = None) -> list[Any]:
        """Return labels: text cells and integers as text, by their new names where `renamed` has any.

        Where a cell is a list, or with a separator, each is a list of labels.
        """
        convert: Callable[[Any], str] = (lambda cell: _renamed(cell, renamed)) if renamed else _name
        if separator is None and not any(isinstance(record.cells.get(column), list) for record in self.records):
            return self.read(column, convert)
        return self.read(column, lambda cell: [convert(part) for part in _label_parts(cell, separator)])

    def parts(self, column: str) -> list[str | None]:
        """Return the part of each row: train, validation or test."""
        return self.read(column, _part)

    def numbers(self, column: str, least: float | None = None) -> list[float | None]:
        """Return a column of finite numbers, none below `least`."""
        return self.read(column, lambda cell: _number(cell, least, self.options.decimal))

    def has(self, column: str) -> bool:
        """Return whether a row has a column."""
        return any(column in record.cells for record in self.records)

    def texts_or_turns(self, column: str) -> list[Any]:
        """Return a column of texts, or of conversations as lists of turns: the core checks those."""
        return self.read(column, _text_or_turns)

    def origins(self) -> list[str]:
        """Return the file and the number of each row, such as `rows.csv:3`."""
        return [record.origin for record in self.records]

    def instants(self, column: str) -> Instants:
        """Return a column of dates as instants in UTC; a midnight becomes the end of its day (see `instants.py`)."""
        zone, parse = self.options.timezone, read_by(self.options.date_format)
        cells = self.read(column, _present)
        values = [self._date(record, column, parse, cell) for record, cell in zip(self.records, cells, strict=True)]
        ends = day_end([value for value in values if value is not None], zone)
        moments = [
            self._date(record, column, lambda value: instant(value, zone, ends), value)
            for record, value in zip(self.records, values, strict=True)
        ]
        alone = (pattern := self.options.date_format) is not None and not tells_time(pattern)
        days = [_was_midnight(c, v, ends, alone) for c, v in zip(cells, values, strict=True) if v is not None]
        return Instants(moments, days)

    def _date(self, record: Record, column: str, convert: Callable[[Any], T], cell: Any) -> T | None:
        if cell is None:
            return None  # a fault already
        try:
            return convert(cell)
        except BadInstant as error:
            other = "" if self.options.date_format or not isinstance(cell, str) else ", or set date_format"
            self.faults.add(record.position, f"{record.place}: {column}: {error}{other}")
            return None


@dataclass(frozen=True)
class Instants:
    """Hold a column of instants in UTC, and which of them were written as a midnight and read as a day."""

    moments: list[datetime | None]
    days: list[bool]

    def notes(self, column: str) -> dict[str, int]:
        """Return a run's note on how many cells of this column were midnights that were read as days."""
        return {f"read as days, {column}": sum(self.days)} if any(self.days) else {}


def is_missing(cell: Any) -> bool:
    """Return whether a cell is empty, blank, NaN or NaT."""
    return cell is None or (isinstance(cell, str) and not cell.strip()) or cell != cell


def _cleaned(cells: Mapping[str, Any], rename: Mapping[str, str], missing: frozenset[str]) -> Mapping[str, Any]:
    return emptied({**cells, **{new: cells[old] for new, old in rename.items() if old in cells}}, missing)


def _was_midnight(cell: Any, value: date | datetime, ends: DayEnd | None, alone: bool) -> bool:
    """Return whether the cell had a time and was read as a day."""
    if isinstance(value, datetime):
        return value.tzinfo is not None and ends is not None
    return not alone and not is_day_alone(cell)


def _present(cell: Any) -> Any:
    if is_missing(cell):
        raise ValueError(MISSING)
    return cell


def _words(cell: Any) -> str:
    if cell is None:
        return ""
    cell = joined_tokens(cell)
    if not isinstance(cell, str):
        raise ValueError(f"is {cell!r} and not text")
    if cell.strip() and (message := problem(cell)):
        raise ValueError(message)
    return cell.removeprefix(MARK).strip()


def _name(cell: Any) -> str:
    if not isinstance(_present(cell), str | int):
        raise ValueError(f"is {cell!r} and neither text nor an integer")
    if isinstance(cell, str) and (message := problem(cell)):
        raise ValueError(message)
    return str(cell).strip()


def _renamed(cell: Any, renamed: Mapping[str, str]) -> str:
    is_integer = isinstance(cell, float) and cell.is_integer()  # as pandas has integers beside a missing one
    name = _name(int(cell) if is_integer else cell)
    if name not in renamed:
        raise ValueError(
            f"is {name!r}, which neither the option labels names, which has {', '.join(renamed)}, nor na_values"
        )
    return renamed[name]


def _label_parts(cell: Any, separator: str | None) -> list[Any]:
    """Return the labels of a cell as they are written: those of a list, or of a text, none of an empty one."""
    if isinstance(cell, list):
        return cell
    if separator is None or not isinstance(cell, str):
        return [] if separator is not None and is_missing(cell) else [cell]
    return [part.strip() for part in cell.split(separator) if part.strip()]


def _part(cell: Any) -> str:
    if (name := _name(cell)) not in PARTS:
        raise ValueError(f"is {name!r} and none of {', '.join(PARTS)}")
    return name


def _number(cell: Any, least: float | None, decimal: str = ".") -> float:
    written = cell
    if decimal == "," and isinstance(cell, str):
        written = "nan" if "." in cell else cell.replace(",", ".")
    try:
        number = math.nan if isinstance(_present(cell), bool) else float(written)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        comma = decimal == "." and isinstance(cell, str) and COMMA.fullmatch(cell.strip())
        hint = ": set decimal to ',' if that is a decimal comma" if comma else ""
        raise ValueError(MISSING if cell is None or cell == "" else f"is {cell!r} and not a finite number{hint}")
    if least is not None and number < least:
        raise ValueError(f"is {cell!r}, below {least:g}")
    return number


def _text_or_turns(cell: Any) -> Any:
    turns = isinstance(cell, list) and bool(cell) and not isinstance(cell[0], str)
    return cell if turns else _words(_present(cell))
