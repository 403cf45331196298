"""Read columns of a table of predictions, targets or factors: instants, tickers and numbers, by their names."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from adapterhub_fin.plugin import BadCorpus
from adapterhub_fin_markets.prices.cells import EMPTY, read_numbers, read_times
from adapterhub_fin_markets.prices.errors import BadPrices

# In lower case without spaces and marks; the first that a table has is read.
SPELLINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "time": ("at", "decidedat", "time", "datetime", "timestamp", "date", "day"),
    "ticker": ("ticker", "symbol", "instrument", "id", "asset"),
    "score": ("score", "prediction", "predictions", "signal"),
    "signal": ("signal",),
    "value": ("value", "target", "targets", "return", "returns", "forwardreturn"),
    "begins_at": ("beginsat", "filledat", "startsat", "boughtat"),
    "ends_at": ("labelknownat", "endsat", "soldat"),
    "known_at": ("knownat",),
}
_TEXTS: Final = ("time", "ticker", "begins_at", "ends_at", "known_at")  # what a CSV file's types must not be guessed of
_ONE_DAY: Final = np.timedelta64(1, "D")
_TICK: Final = np.timedelta64(1, "us")


@dataclass(frozen=True)
class TableColumns:
    """Hold a table, and find its columns by our names; a message gives its file and the row, from 1."""

    file: str
    cells: Any  # a pyarrow table
    renamed: Mapping[str, str] = field(default_factory=dict)  # the name in the file by ours
    timezone: str | None = None
    date_format: str | None = None

    def find(self, ours: str) -> str | None:
        """Return the name of a column in the table, None where it has none. Raises BadCorpus for a wrong rename."""
        names = list(self.cells.column_names)
        if (theirs := self.renamed.get(ours)) is not None:
            if theirs not in names:
                raise BadCorpus(f"{self.file} has no column {theirs!r} to read as {ours}: it has {', '.join(names)}")
            return theirs
        return _spelt(ours, names)

    def need(self, ours: str) -> str:
        """Return the name of a column in the table. Raises BadCorpus where it has none."""
        if (name := self.find(ours)) is None:
            raise BadCorpus(
                f"{self.file} has no column of {ours}: name it, as in {ours}=THEIRS; it has "
                f"{', '.join(self.cells.column_names)}"
            )
        return name

    def numbers(self, name: str, *, empty: bool = False) -> np.ndarray:
        """Return a column as float64, (rows,). Raises BadCorpus for other cells, and an empty one unless `empty`."""
        with _as_corpus():
            values = read_numbers(self.cells[name], name, self.file)
        if not empty and np.isnan(values).any():
            row = int(np.flatnonzero(np.isnan(values))[0])
            raise BadCorpus(f"{self.file}, row {row + 1} has no {name}: give a number, or remove the row")
        return values

    def tickers(self) -> tuple[tuple[str, ...], np.ndarray]:
        """Return the distinct tickers, ascending, and each row's number in them, (rows,). Raises BadCorpus for none."""
        name = self.need("ticker")
        column = pc.utf8_trim_whitespace(self.cells[name].cast(pa.string()))
        if (row := pc.index(pc.fill_null(column, ""), "").as_py()) >= 0:
            raise BadCorpus(f"{self.file}, row {row + 1} has no {name}: name its ticker, or remove the row")
        names, codes = np.unique(column.to_numpy(zero_copy_only=False).astype(str), return_inverse=True)
        return tuple(names.tolist()), codes

    def texts(self, name: str) -> np.ndarray:
        """Return a column as texts, (rows,). Raises BadCorpus for an empty cell, and where there is no such column."""
        if name not in self.cells.column_names:
            raise BadCorpus(f"{self.file} has no column {name!r}; it has {', '.join(self.cells.column_names)}")
        column = self.cells[name].cast(pa.string())
        if (row := pc.index(pc.fill_null(column, ""), "").as_py()) >= 0:
            raise BadCorpus(f"{self.file}, row {row + 1} has no {name}: fill it, or remove the row")
        texts: np.ndarray = column.to_numpy(zero_copy_only=False).astype(str)
        return texts

    def instants(self, name: str, *, late: bool = True) -> np.ndarray:
        """Return a column of times as UTC, (rows,) datetime64[us].

        A date is its last microsecond, and of an hour that the clocks repeat the later one counts: a decision, and what
        is known. Without `late` it is the first instant: where a target begins. Raises BadCorpus for a cell that is no
        time, times with a zone beside others without, and times without one where no zone is named.
        """
        with _as_corpus():
            labels, at = read_times(self.cells[name], name, self.file, self.date_format)
        if labels.zoned.all():
            return np.asarray(labels.utc[at])
        row = int(np.flatnonzero(~labels.zoned[at])[0]) + 1
        if labels.zoned.any():
            other = int(np.flatnonzero(labels.zoned[at])[0]) + 1
            raise BadCorpus(
                f"{self.file}: {name} of row {other} has a zone and that of row {row} none: write all alike"
            )
        if self.timezone is None:
            raise BadCorpus(f"{self.file}, row {row}: {name} has no zone: name it, as in --timezone America/New_York")
        days = ~np.isnat(labels.day)
        local = labels.utc + np.where(days & late, _ONE_DAY, np.timedelta64(0, "D"))
        utc = _in_utc(local, self.timezone, "latest" if late else "earliest") - np.where(days & late, _TICK, 0 * _TICK)
        return np.asarray(utc[at])


def load_columns(
    table: Any,
    renamed: Mapping[str, str],
    timezone: str | None = None,
    date_format: str | None = None,
    file: str = "the table",
) -> TableColumns:
    """Return a table's columns: of a .csv, .tsv or .parquet file, or of a table of pandas, polars or pyarrow.

    Raises BadCorpus where it can't be read, or has no rows.
    """
    if isinstance(table, str | PathLike):
        file, cells = Path(table).name, _read(Path(table), renamed)
    else:
        to_arrow = getattr(table, "to_arrow", None)
        cells = table if isinstance(table, pa.Table) else to_arrow() if to_arrow else _frame(table)
    if not cells.num_rows:
        raise BadCorpus(f"{file} has no rows: give a table that has some")
    return TableColumns(file, cells, renamed, timezone, date_format)


def check_order(at: np.ndarray, ticker: np.ndarray, tickers: tuple[str, ...], file: str) -> None:
    """Raise BadCorpus where a ticker's rows, (rows,), are not in the order of time, or two are of one instant."""
    order = np.argsort(ticker, kind="stable")
    apart = np.diff(at[order])
    wrong = (np.diff(ticker[order]) == 0) & (apart <= np.timedelta64(0, "us"))
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        before, row = int(order[first]), int(order[first + 1])
        if at[before] == at[row]:
            what, mend = (
                f"has {tickers[ticker[row]]} at {at[row]}Z again, after row {before + 1}",
                "keep one of the two",
            )
        else:
            what, mend = f"comes before row {before + 1}, of the same ticker, in time", "sort the table by time"
        raise BadCorpus(f"{file}, row {row + 1} {what}: {mend}")


def _spelt(ours: str, names: Sequence[str]) -> str | None:
    plain = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in reversed(names)}
    return next((plain[spelling] for spelling in SPELLINGS[ours] if spelling in plain), None)


def _read(path: Path, renamed: Mapping[str, str]) -> Any:
    suffix = path.suffix.lower()
    try:
        if suffix in (".parquet", ".pq"):
            return pyarrow.parquet.read_table(path)
        if suffix not in (".csv", ".tsv"):
            raise BadCorpus(f"{path.name} isn't a .csv, .tsv or .parquet file: convert it, or rename it")
        return _csv(path, renamed)
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise BadCorpus(f"{path.name} can't be read: {str(error).splitlines()[0]}") from error
    except OSError as error:
        raise BadCorpus(f"{path} can't be read ({error.strerror or error}): give the path of a file") from error


def _csv(path: Path, renamed: Mapping[str, str]) -> Any:
    """Return a CSV file's cells; times and tickers stay texts, as they are written."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        line = file.readline()
    if not line.strip():
        raise BadCorpus(f"{path.name} is empty, or begins with an empty line: give a header, and a row for each")
    separator = max(",;\t|", key=line.count)
    names = [name.strip() for name in next(csv.reader([line], delimiter=separator))]
    texts = [renamed.get(ours) or _spelt(ours, names) for ours in _TEXTS]
    return pyarrow.csv.read_csv(
        path,
        read_options=pyarrow.csv.ReadOptions(column_names=names, skip_rows=1),
        parse_options=pyarrow.csv.ParseOptions(delimiter=separator),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types={name: pa.string() for name in texts if name},
            null_values=list(EMPTY),
            strings_can_be_null=False,
        ),
    )


def _frame(table: Any) -> Any:
    try:
        return pa.Table.from_pandas(table)
    except (AttributeError, TypeError) as error:
        raise BadCorpus(f"{type(table).__name__} is no table: give a file, or one of pandas or pyarrow") from error


def _in_utc(local: np.ndarray, timezone: str, which: str) -> np.ndarray:
    try:
        zoned = pc.assume_timezone(pa.array(local, pa.timestamp("us")), timezone, ambiguous=which, nonexistent=which)
    except pa.ArrowInvalid as error:
        raise BadCorpus(f"there is no time zone {timezone!r}: write it as America/New_York or UTC") from error
    utc: np.ndarray = zoned.cast(pa.timestamp("us", "UTC")).to_numpy(zero_copy_only=False).astype("M8[us]")
    return utc


@contextmanager
def _as_corpus() -> Iterator[None]:
    try:
        yield
    except BadPrices as error:
        raise BadCorpus(str(error)) from error
