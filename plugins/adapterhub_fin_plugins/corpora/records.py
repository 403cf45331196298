"""Hold the rows of a source, each with its position in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from adapterhub_fin.plugin import BadCorpus, CsvForm, Faults, table_rows

PART = "\0part"  # a cell that no file has: the part that the row's file is


@dataclass(frozen=True)
class Record:
    """Hold one row of a source: its cells by column name, and its position."""

    cells: Mapping[str, Any]
    source: str
    number: int  # from 1
    unit: str = "line"
    file: int = 0  # the file's number among several

    @property
    def place(self) -> str:
        """Return the row's position for a message, such as `rows.csv, line 3`."""
        return f"{self.source}, {self.unit} {self.number}"

    @property
    def origin(self) -> str:
        """Return the row's position for the column `origin`, such as `rows.csv:3`."""
        return f"{self.source}:{self.number}"

    @property
    def columns(self) -> list[str]:
        """Return the names of the row's cells."""
        return [str(name) for name in self.cells if name != PART]

    def lacks(self, column: str) -> str:
        """Return the sentence that the row has no cell of that name, with the names that it has."""
        near = get_close_matches(column, self.columns, n=1, cutoff=0.6)
        meant = f": did you mean {near[0]}?" if near else ""
        return f"{self.place} has no column {column!r}; it has {', '.join(self.columns)}{meant}"

    @property
    def position(self) -> tuple[int, int]:
        """Return the row's position for the order of faults."""
        return self.file, self.number


def read_records(path: Path, faults: Faults, form: CsvForm | None = None, file: int = 0) -> list[Record]:
    """Return all rows of a file; a row that can't be read is a fault.

    `file` is its number among several. Raises BadCorpus for a file that can't be read at all, and for an empty one.
    """
    path, records, before = path.expanduser(), [], faults.count
    for row in table_rows(path, form):
        if row.fault is None:
            records.append(Record(row.cells, path.name, row.number, row.unit, file))
        else:
            faults.add((file, row.number), f"{path.name}, {row.unit} {row.number} {row.fault}")
    if not records and faults.count == before:
        raise BadCorpus(f"{path.name} has no rows")
    return records


@contextmanager
def prefix_errors(corpus: str) -> Iterator[None]:
    """Prefix every BadCorpus raised inside with the corpus's name."""
    try:
        yield
    except BadCorpus as error:
        raise BadCorpus(f"corpus {corpus}: {error}") from error
