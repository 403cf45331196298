"""Rows as their file holds them, each with its place: csv, json, jsonl and parquet.

csv and JSON are read with the standard library, which knows on which line a row stands; pandas forgets it.
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

from adapterhub_fin.errors import BadCorpus


@dataclass(frozen=True)
class Record:
    """One row of a file: its cells by name, and where it stands."""

    cells: Mapping[str, Any]
    source: str
    number: int  # from 1, as an editor counts
    unit: str = "line"

    @property
    def place(self) -> str:
        """For a message."""
        return f"{self.source}, {self.unit} {self.number}"

    @property
    def origin(self) -> str:
        """For the column `origin`."""
        return f"{self.source}:{self.number}"


def read_records(path: Path) -> list[Record]:
    """All rows of a file; BadCorpus names the line that can't be read."""
    readers = {".csv": _csv, ".json": _json, ".jsonl": _jsonl, ".parquet": _parquet}
    path = path.expanduser()
    if path.suffix.lower() not in readers:
        raise BadCorpus(f"{path.name} is no {', '.join(readers)} file: convert it, or mend its name")
    records = list(readers[path.suffix.lower()](path))
    if not records:
        raise BadCorpus(f"{path.name} holds no rows")
    return records


def decoded(path: Path) -> str:
    """The text of a UTF-8 file, without its byte-order mark; BadCorpus names the line that is something else."""
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
        line, end = end + 1, last  # a row in quotes may take several lines: it is named by its first
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
    """Let a cell hold a whole filing: beyond 131,072 characters csv takes it for a slip, process-wide."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _jsonl(path: Path) -> Iterator[Record]:
    # Not splitlines: a JSON text may hold U+2028, which is no end of a line here.
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
        raise BadCorpus(f"{path.name} holds no list of rows: write one, or one row a line as .jsonl")
    for number, item in enumerate(items, start=1):
        yield Record(_object(item, f"{path.name}, item {number}"), path.name, number, "item")


def _object(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadCorpus(f"{place} is {json.dumps(value)[:40]} and not a row of names and values")
    return value


def _parquet(path: Path) -> Iterator[Record]:
    try:
        rows = pyarrow.parquet.ParquetFile(path).read().to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise BadCorpus(f"{path} can't be read as parquet: {' '.join(str(error).split())}") from error
    for number, cells in enumerate(rows, start=1):
        yield Record(cells, path.name, number, "row")
