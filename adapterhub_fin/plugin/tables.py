"""Read the rows of csv, tsv, json, jsonl and parquet files one by one, each with its position in the file.

csv and JSON are read with the standard library, because pandas does not keep the line number of a row. Nothing but a
.json file is held in memory.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from adapterhub_fin.errors import BadCorpus
from adapterhub_fin.plugin.texts import HALF

SUFFIXES: Final = (".csv", ".tsv", ".json", ".jsonl", ".parquet")


@dataclass(frozen=True)
class CsvForm:
    """Say how a csv file is written: its encoding, the separator of its cells, and its columns if it has no header.

    Without a separator, a .tsv file has tabs and any other a comma.
    """

    encoding: str = "utf-8"
    separator: str | None = None
    header: Sequence[str] | None = None


@dataclass(frozen=True)
class TableRow:
    """Hold one row of a file, by its number from 1, or the `fault` that keeps it from being read."""

    number: int
    cells: Mapping[str, Any]
    fault: str | None = None
    unit: str = "line"


def table_rows(path: Path, form: CsvForm | None = None) -> Iterator[TableRow]:
    """Yield the rows of a file in order; a row that can't be read has a fault, and the rows after it follow.

    Raises BadCorpus for a file that can't be read at all, or not beyond some line.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise BadCorpus(f"{path.name} isn't a {', '.join(SUFFIXES)} file: convert it, or rename it")
    readers: dict[str, Callable[[Path], Iterator[TableRow]]] = {".json": _json, ".jsonl": _jsonl, ".parquet": _parquet}
    try:
        yield from readers[suffix](path) if suffix in readers else _csv(path, form or CsvForm())
    except OSError as error:
        raise BadCorpus(f"{path} can't be read ({error.strerror or error}): give the path of a file") from error


def _csv(path: Path, form: CsvForm) -> Iterator[TableRow]:
    header = None if form.header is None else list(form.header)
    utf8 = form.encoding == "utf-8"
    separator = form.separator or ("\t" if path.suffix.lower() == ".tsv" else ",")
    line, end = 0, 0
    with path.open("rb") as raw:
        text = io.TextIOWrapper(
            raw, "utf-8-sig" if utf8 else form.encoding, "surrogateescape" if utf8 else "strict", newline=""
        )
        reader = csv.reader(text, strict=True, delimiter=separator)
        while (cells := _next(reader, path, form.encoding)) is not None:
            line, end = end + 1, reader.line_num  # a quoted row may span several lines: its number is the first's
            if not cells:
                continue
            if utf8 and HALF.search("".join(cells)):
                yield TableRow(line, {}, _not_in(form.encoding))
            elif header is None:
                header = _header(cells, path, line, separator)
            elif len(cells) != len(header):
                yield TableRow(line, {}, f"has {len(cells)} cells where the header has {len(header)}")
            else:
                yield TableRow(line, dict(zip(header, cells, strict=True)))


def _next(reader: Any, path: Path, encoding: str) -> list[str] | None:
    """Return the cells of the next row, None after the last.

    csv's limit of 131,072 characters a cell is lifted meanwhile, because a cell may hold an entire filing; the limit is
    one for the whole process.
    """
    before = csv.field_size_limit(2**31 - 1)
    try:
        cells: list[str] | None = next(reader, None)
        return cells
    except csv.Error as error:
        raise BadCorpus(f"{path.name}, line {reader.line_num} is not CSV: {error}") from error
    except UnicodeDecodeError as error:
        raise BadCorpus(f"{path.name}, line {reader.line_num + 1} or later {_not_in(encoding)}") from error
    finally:
        csv.field_size_limit(before)


def _not_in(encoding: str) -> str:
    return f"is not {encoding.upper()}: convert the file, as with iconv -t utf-8, or name its encoding, such as cp1252"


def _header(names: list[str], path: Path, line: int, separator: str) -> list[str]:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadCorpus(f"{path.name}, line {line} names the column {twice[0]!r} twice: rename one")
    others = [mark for mark in (";", "\t", "|", ",") if mark != separator]
    if len(names) == 1 and (marks := [mark for mark in others if mark in names[0]]):
        raise BadCorpus(f"{path.name}, line {line} is one cell, {names[0]!r}: set separator to {marks[0]!r}")
    return [name.strip() for name in names]


def _jsonl(path: Path) -> Iterator[TableRow]:
    with path.open("rb") as file:  # by bytes: a JSON string may contain U+2028, which does not end a line here
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                if text.strip():
                    yield _object(json.loads(text), number, "line")
            except UnicodeDecodeError:
                yield TableRow(number, {}, "is not UTF-8: convert the file, as with iconv -t utf-8")
            except json.JSONDecodeError as error:
                yield TableRow(number, {}, f"is not JSON: {error.msg} at column {error.colno}")


def _json(path: Path) -> Iterator[TableRow]:
    try:
        items = json.loads(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = path.read_bytes().count(b"\n", 0, error.start) + 1
        raise BadCorpus(f"{path.name}, line {line} is not UTF-8: convert the file, as with iconv -t utf-8") from error
    except json.JSONDecodeError as error:
        raise BadCorpus(f"{path.name}, line {error.lineno} is not JSON: {error.msg}") from error
    if not isinstance(items, list):
        raise BadCorpus(f"{path.name} isn't a list of rows: write one, or one row a line as .jsonl")
    for number, item in enumerate(items, start=1):
        yield _object(item, number, "item")


def _object(value: Any, number: int, unit: str) -> TableRow:
    if isinstance(value, dict):
        return TableRow(number, value, unit=unit)
    return TableRow(number, {}, f"is {json.dumps(value)[:40]} and not an object with the row's cells", unit)


def _parquet(path: Path) -> Iterator[TableRow]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=8192):
                for cells in batch.to_pylist():
                    number += 1
                    yield TableRow(number, cells, unit="row")
    except pyarrow.ArrowException as error:
        raise BadCorpus(f"{path} can't be read as parquet: {' '.join(str(error).split())}") from error
