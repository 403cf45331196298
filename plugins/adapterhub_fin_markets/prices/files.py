"""Load the columns that a table of prices needs, from CSV, parquet, pandas or pyarrow."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from adapterhub_fin_markets.prices.cells import EMPTY
from adapterhub_fin_markets.prices.columns import Layout, find_columns
from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.prices.form import Form
from adapterhub_fin_markets.prices.stored import KEY, verify_table

SUFFIXES: Final = (".csv", ".tsv", ".txt", ".parquet", ".pq")
HEADERS: Final = 3  # lines of a header at most


def table_files(table: Any) -> list[Any]:
    """Return the files of a folder, or the table itself. Raises BadPrices for a folder without any."""
    if not (isinstance(table, str | PathLike) and Path(table).is_dir()):
        return [table]
    paths = sorted(path for path in Path(table).iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise BadPrices(f"{table} holds no CSV or parquet file: name another folder")
    return [*paths]


def load_table(table: Any, form: Form) -> tuple[str, Any]:
    """Return a table's name for messages, and the columns that are read. Raises BadPrices where it can't be read."""
    if not isinstance(table, str | PathLike):
        if not isinstance(table, pa.Table):
            table = pa.Table.from_pandas(table)
        return "the table", table.select(_distinct(find_columns(table.column_names, form.columns, "the table")))
    path = Path(table)
    if path.suffix.lower() not in SUFFIXES:
        raise BadPrices(f"{path.name} isn't a {', '.join(SUFFIXES)} file: convert it, or rename it")
    try:
        return path.name, _parquet(path, form.columns) if path.suffix in (".parquet", ".pq") else _csv(path, form)
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise BadPrices(f"{path.name} can't be read: {str(error).splitlines()[0]}") from error
    except OSError as error:
        raise BadPrices(f"{path} can't be read ({error.strerror or error}): give the path of a file") from error


def _distinct(layout: Layout) -> list[str]:
    return list(dict.fromkeys(layout.columns()))


def _parquet(path: Path, renamed: Mapping[str, str]) -> Any:
    with pa.OSFile(str(path)) as source:  # opened once: the file may be replaced meanwhile
        schema = pyarrow.parquet.read_schema(source)
        layout = find_columns(schema.names, renamed, path.name)
        if KEY in (schema.metadata or {}):
            stored = pyarrow.parquet.ParquetFile(source).read()
            verify_table(stored, path.name)
            return stored.select(_distinct(layout))
        texts = layout.ticker and pa.types.is_string(schema.field(layout.ticker).type)
        file = pyarrow.parquet.ParquetFile(source, read_dictionary=[layout.ticker] if texts else None)
        return file.read(_distinct(layout))


def _csv(path: Path, form: Form) -> Any:
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = [file.readline() for _ in range(HEADERS)]
    if not first[0].strip():
        raise BadPrices(f"{path.name} is empty, or begins with an empty line: give a header, and a row for each bar")
    separator = max(",;\t|", key=first[0].count)
    names, headers = _header(list(csv.reader(first, delimiter=separator)))
    layout = find_columns(names, form.columns, path.name)
    texts = [layout.time, layout.ticker] if form.decimal is None else layout.columns()
    return pyarrow.csv.read_csv(
        path,
        read_options=pyarrow.csv.ReadOptions(column_names=names, skip_rows=headers),
        parse_options=pyarrow.csv.ParseOptions(delimiter=separator),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types={name: pa.string() for name in texts if name is not None},
            include_columns=_distinct(layout),
            null_values=list(EMPTY),
            strings_can_be_null=False,
        ),
    )


def _header(lines: Sequence[Sequence[str]]) -> tuple[list[str], int]:
    """Return the names of a CSV file's columns, and how many lines they take.

    yfinance's tables of several tickers have three: fields, tickers, and the name of the column of times.
    """
    names = [name.strip() for name in lines[0]]
    if len(lines) == HEADERS and {line[0].strip() for line in lines[:2] if line} <= {"", "Price", "Ticker"}:
        tickers, times = lines[1], lines[2]
        if len(tickers) == len(names) and times and not any(map(str.strip, times[1:])):
            both = [str((first.strip(), second.strip())) for first, second in zip(names[1:], tickers[1:], strict=True)]
            return [times[0].strip(), *both], HEADERS
    return names, 1
