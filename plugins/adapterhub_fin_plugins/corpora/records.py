"""Read the rows of csv, json, jsonl and parquet files, each with its position in the file.

csv and JSON are read with the standard library, because pandas does not keep the line number of a row.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from adapterhub_fin.plugin import BadCorpus, Faults

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
    def columns(self) -> str:
        """Return the names of the row's cells for a message."""
        return ", ".join(str(name) for name in self.cells if name != PART)

    @property
    def position(self) -> tuple[int, int]:
        """Return the row's position for the order of faults."""
        return self.file, self.number


@dataclass(frozen=True)
class CsvForm:
    """Say how a csv file is written: its encoding, the separator of its cells, and its columns if it has no header."""

    encoding: str = "utf-8"
    separator: str = ","
    header: Sequence[str] | None = None


def read_records(path: Path, faults: Faults, form: CsvForm | None = None, file: int = 0) -> list[Record]:
    """Return all rows of a file; a row that can't be read is a fault.

    `file` is its number among several. Raises BadCorpus for a file that can't be read at all, and for an empty one.
    """
    readers = {".csv": _csv, ".tsv": _csv, ".json": _json, ".jsonl": _jsonl, ".parquet": _parquet}
    path, before = path.expanduser(), faults.count
    if path.suffix.lower() not in readers:
        raise BadCorpus(f"{path.name} isn't a {', '.join(readers)} file: convert it, or rename it")
    form = form or CsvForm(separator="\t" if path.suffix.lower() == ".tsv" else ",")
    records = list(readers[path.suffix.lower()](path, faults, form, file))
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


def decoded(path: Path, encoding: str = "utf-8") -> str:
    """Return the text of a file without its byte-order mark.

    Raises BadCorpus for a file that can't be read, and for a line that isn't in the encoding, which it names.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadCorpus(f"{path} can't be read ({error.strerror}): give the path of a file") from error
    try:
        return data.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadCorpus(
            f"{path.name}, line {line} is not {encoding.upper()}: convert the file, as with iconv -t utf-8, or name "
            "its encoding, such as cp1252"
        ) from error


def _csv(path: Path, faults: Faults, form: CsvForm, file: int) -> Iterator[Record]:
    header = None if form.header is None else list(form.header)
    line, end = 0, 0
    text = io.StringIO(decoded(path, form.encoding), newline="")
    reader = csv.reader(text, strict=True, delimiter=form.separator)
    try:
        with _cells_of_any_length():
            rows = [(reader.line_num, cells) for cells in reader]
    except csv.Error as error:
        raise BadCorpus(f"{path.name}, line {reader.line_num} is not CSV: {error}") from error
    for last, cells in rows:
        line, end = end + 1, last  # a quoted row may span several lines: its number is that of the first
        if not cells:
            continue
        if header is None:
            header = _header(cells, path, line)
            continue
        if len(cells) != len(header):
            faults.add(
                (file, line), f"{path.name}, line {line} has {len(cells)} cells where the header has {len(header)}"
            )
            continue
        yield Record(dict(zip(header, cells, strict=True)), path.name, line, file=file)


def _header(names: list[str], path: Path, line: int) -> list[str]:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadCorpus(f"{path.name}, line {line} names the column {twice[0]!r} twice: rename one")
    if len(names) == 1 and (marks := [mark for mark in (";", "\t", "|") if mark in names[0]]):
        raise BadCorpus(f"{path.name}, line {line} is one cell, {names[0]!r}: set separator to {marks[0]!r}")
    return [name.strip() for name in names]


@contextmanager
def _cells_of_any_length() -> Iterator[None]:
    """Lift csv's limit of 131,072 characters a cell, which is process-wide: a cell may hold an entire filing."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _jsonl(path: Path, faults: Faults, form: CsvForm, file: int) -> Iterator[Record]:
    # Not splitlines: a JSON string may contain U+2028, which does not end a line here.
    for number, line in enumerate(decoded(path).split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{path.name}, line {number}"
        try:
            cells = json.loads(line)
        except json.JSONDecodeError as error:
            faults.add((file, number), f"{place} is not JSON: {error.msg} at column {error.colno}")
            continue
        if (row := faults.caught((file, number), _object, cells, place)) is not None:
            yield Record(row, path.name, number, file=file)


def _json(path: Path, faults: Faults, form: CsvForm, file: int) -> Iterator[Record]:
    try:
        items = json.loads(decoded(path))
    except json.JSONDecodeError as error:
        raise BadCorpus(f"{path.name}, line {error.lineno} is not JSON: {error.msg}") from error
    if not isinstance(items, list):
        raise BadCorpus(f"{path.name} isn't a list of rows: write one, or one row a line as .jsonl")
    for number, item in enumerate(items, start=1):
        if (row := faults.caught((file, number), _object, item, f"{path.name}, item {number}")) is not None:
            yield Record(row, path.name, number, "item", file)


def _object(value: Any, position: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadCorpus(f"{position} is {json.dumps(value)[:40]} and not an object with the row's cells")
    return value


def _parquet(path: Path, faults: Faults, form: CsvForm, file: int) -> Iterator[Record]:
    try:
        rows = pyarrow.parquet.ParquetFile(path).read().to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise BadCorpus(f"{path} can't be read as parquet: {' '.join(str(error).split())}") from error
    for number, cells in enumerate(rows, start=1):
        yield Record(cells, path.name, number, "row", file)
