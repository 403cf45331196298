"""Read the rows of csv, json, jsonl and parquet files, each with its position in the file.

csv and JSON are read with the standard library, because pandas does not keep the line number of a row.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from adapterhub_fin.plugin import BadCorpus


@dataclass(frozen=True)
class Record:
    """Hold one row of a file: its cells by column name, and its position."""

    cells: Mapping[str, Any]
    source: str
    number: int  # from 1
    unit: str = "line"

    @property
    def place(self) -> str:
        """Return the row's position for a message, such as `rows.csv, line 3`."""
        return f"{self.source}, {self.unit} {self.number}"

    @property
    def origin(self) -> str:
        """Return the row's position for the column `origin`, such as `rows.csv:3`."""
        return f"{self.source}:{self.number}"


def read_records(path: Path) -> list[Record]:
    """Return all rows of a file. Raises BadCorpus, naming the line, for what can't be read and for an empty file."""
    readers = {".csv": _csv, ".json": _json, ".jsonl": _jsonl, ".parquet": _parquet}
    path = path.expanduser()
    if path.suffix.lower() not in readers:
        raise BadCorpus(f"{path.name} isn't a {', '.join(readers)} file: convert it, or rename it")
    records = list(readers[path.suffix.lower()](path))
    if not records:
        raise BadCorpus(f"{path.name} has no rows")
    return records


@contextmanager
def prefix_errors(corpus: str) -> Iterator[None]:
    """Prefix every BadCorpus raised inside with the corpus's name."""
    try:
        yield
    except BadCorpus as error:
        raise BadCorpus(f"corpus {corpus}: {error}") from error


def decoded(path: Path) -> str:
    """Return the text of a UTF-8 file without its byte-order mark.

    Raises BadCorpus for a file that can't be read, and for a line that isn't UTF-8, which it names.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadCorpus(f"{path} can't be read ({error.strerror}): give the path of a file") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadCorpus(f"{path.name}, line {line} is not UTF-8: convert the file, as with iconv -t utf-8") from error


def _csv(path: Path) -> Iterator[Record]:
    header: list[str] | None = None
    line, end = 0, 0
    reader = csv.reader(io.StringIO(decoded(path), newline=""), strict=True)
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
            header = cells
            if twice := sorted({name for name in header if header.count(name) > 1}):
                raise BadCorpus(f"{path.name}, line {line} names the column {twice[0]!r} twice: rename one")
            continue
        if len(cells) != len(header):
            raise BadCorpus(f"{path.name}, line {line} has {len(cells)} cells where the header has {len(header)}")
        yield Record(dict(zip(header, cells, strict=True)), path.name, line)


@contextmanager
def _cells_of_any_length() -> Iterator[None]:
    """Lift csv's limit of 131,072 characters a cell, which is process-wide: a cell may hold an entire filing."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _jsonl(path: Path) -> Iterator[Record]:
    # Not splitlines: a JSON string may contain U+2028, which does not end a line here.
    for number, line in enumerate(decoded(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            cells = json.loads(line)
        except json.JSONDecodeError as error:
            raise BadCorpus(f"{path.name}, line {number} is not JSON: {error.msg} at column {error.colno}") from error
        yield Record(_object(cells, f"{path.name}, line {number}"), path.name, number)


def _json(path: Path) -> Iterator[Record]:
    try:
        items = json.loads(decoded(path))
    except json.JSONDecodeError as error:
        raise BadCorpus(f"{path.name}, line {error.lineno} is not JSON: {error.msg}") from error
    if not isinstance(items, list):
        raise BadCorpus(f"{path.name} isn't a list of rows: write one, or one row a line as .jsonl")
    for number, item in enumerate(items, start=1):
        yield Record(_object(item, f"{path.name}, item {number}"), path.name, number, "item")


def _object(value: Any, position: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadCorpus(f"{position} is {json.dumps(value)[:40]} and not an object with the row's cells")
    return value


def _parquet(path: Path) -> Iterator[Record]:
    try:
        rows = pyarrow.parquet.ParquetFile(path).read().to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise BadCorpus(f"{path} can't be read as parquet: {' '.join(str(error).split())}") from error
    for number, cells in enumerate(rows, start=1):
        yield Record(cells, path.name, number, "row")
