"""Read the instant of each row of a table: its dates and times as a corpus reads them, a date at its end."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.errors import BadCorpus, BadInstant, BadRecipe
from adapterhub_fin.plugin.date_formats import check_date_format
from adapterhub_fin.plugin.faults import Faults
from adapterhub_fin.plugin.instants import DayEnd, day_end, instant, read_by
from adapterhub_fin.plugin.reading import TableReading, emptied
from adapterhub_fin.plugin.tables import TableRow, table_rows

if TYPE_CHECKING:
    import numpy as np
else:
    np = Lazy("numpy")

_START: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TICK: Final = timedelta(microseconds=1)


@dataclass(frozen=True)
class TimeColumn:
    """Say which column holds when a row's text could first be read, and how its times are written."""

    name: str
    timezone: str | None = None  # of times without one, and of midnights that stand for days
    date_format: str | None = None

    def __post_init__(self) -> None:
        """Check the format of dates. Raises BadRecipe for one that strptime can't read."""
        try:
            if self.date_format is not None:
                check_date_format(self.date_format)
        except ValueError as error:
            raise BadRecipe(f"date_format {error}") from None


def row_instants(source: Path, reading: TableReading, column: TimeColumn) -> np.ndarray:
    """Return the instant of each row of a file, (rows,) datetime64[us] in UTC; 8 bytes a row are in memory.

    A date, and a midnight without a zone, is the last microsecond of its day. Midnights with a zone are days where all
    the column's times with one are midnights. Raises BadCorpus for rows without a time and times that can't be read,
    which it names, and BadRecipe where there is no such column.
    """
    if not source.is_file():
        raise BadCorpus(f"{source} is no file that can be read twice: write the rows to one first")
    ends = _day_ends(source, reading, column)
    faults, instants = Faults(), array("q")
    for row, moment in _moments(source, reading, column, faults):
        try:
            instants.append((instant(moment, column.timezone, ends) - _START) // _TICK)
        except BadInstant as error:
            faults.add((row.number,), f"{where(source, row)}: {column.name}: {error}")
    faults.check("embed")
    if not instants:
        raise BadCorpus(f"{source.name} has no rows: give a table that has some")
    return np.frombuffer(instants, np.int64).view("datetime64[us]")


def where(source: Path, row: TableRow) -> str:
    """Return how messages name a row."""
    return f"{source.name}, {row.unit} {row.number}"


def row_at(source: Path, reading: TableReading, index: int) -> str:
    """Return how messages name the row with an index from 0 among those that can be read."""
    return where(source, next(islice(table_rows(source, reading.form), index, None)))


def _day_ends(source: Path, reading: TableReading, column: TimeColumn) -> DayEnd | None:
    """Return what turns midnights with a zone into ends of days; None where a time of the column is no midnight."""
    midnights: set[date | datetime] = set()
    for _, moment in _moments(source, reading, column, Faults()):
        if isinstance(moment, datetime) and moment.tzinfo is not None and moment not in midnights:
            if day_end([moment], column.timezone) is None:
                return None
            midnights.add(moment)
    return day_end(midnights, column.timezone)


def _moments(
    source: Path, reading: TableReading, column: TimeColumn, faults: Faults
) -> Iterator[tuple[TableRow, date | datetime]]:
    """Yield each row with its time or day, and add what is wrong with the others."""
    read = read_by(column.date_format)
    for row in table_rows(source, reading.form):
        if row.fault is not None:
            faults.add((row.number,), f"{where(source, row)} {row.fault}")
            continue
        cells = emptied(row.cells, reading.missing)
        if column.name not in cells:
            near = get_close_matches(column.name, map(str, cells), n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise BadRecipe(f"the table has no column {column.name!r}; it has {', '.join(map(str, cells))}{meant}")
        cell = cells[column.name]
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            faults.add((row.number,), f"{where(source, row)} has no {column.name}: give its time, or remove the row")
            continue
        try:
            yield row, read(cell)
        except BadInstant as error:
            faults.add((row.number,), f"{where(source, row)}: {column.name}: {error}")
