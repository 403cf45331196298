"""Read prices from CSV and parquet tables."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from adapterhub_fin_markets.prices.bars import Bars, Part, join_bars
from adapterhub_fin_markets.prices.cells import EMPTY, read_numbers, read_times
from adapterhub_fin_markets.prices.checks import check_bars, check_panel
from adapterhub_fin_markets.prices.columns import Layout, find_columns
from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.prices.findings import Finding
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.reading import build_prices
from adapterhub_fin_markets.prices.stored import KEY, read_facts, verify_table

Table = str | PathLike[str] | Any  # a path, a pyarrow table or a pandas DataFrame
_SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".pq")


def read_prices(
    tables: Table | Sequence[Table] | Mapping[str, Table],
    *,
    calendar: str | None = None,
    interval: str | None = None,
    columns: Mapping[str, str] | None = None,
    timezone: str | None = None,
    label: Literal["start", "end"] = "start",
    currency: str | None = None,
    adjusted_as_of: str | None = None,
    split_adjusted: bool | None = None,
    source: str | None = None,
    instruments: Any = None,
    members: Any = None,
    repair: Collection[str] = (),
    allow: Collection[str] = (),
) -> Prices:
    """Read tables of bars into one panel, each bar known at its close.

    A table is long (one row a bar, with a column of tickers, or one file a ticker named as the ticker) or wide (one row
    a time). A bar of a day closes when the exchange's session does: early on half days, at the next midnight UTC on
    `24/7`. A shorter bar closes after its length, or with the session.

    Args:
        tables: Paths of CSV and parquet files, a folder of them, pandas or pyarrow tables; or those by ticker.
        calendar: An exchange of exchange_calendars such as XNYS, `24/7` or `weekdays`. A file of `ahf market fetch`
            holds its own, as it holds `interval`, `currency`, `adjusted_as_of`, `split_adjusted` and `source`.
        interval: The length of a bar: 1d, or less than a day, such as 1h or 15min.
        columns: The names of columns in the file by ours, such as {"close": "Last"}.
        timezone: The zone of times that are written without one.
        label: Whether the time of an intraday bar is its start or its end.
        currency: What the prices are in.
        adjusted_as_of: The day as of which the levels are adjusted, such as 2026-03-27.
        split_adjusted: Whether the levels are adjusted for the listed splits; found from the levels where not given.
        source: Where the table comes from.
        instruments: An `Instruments`, which turns dated tickers into permanent ids.
        members: A `Membership`: which instruments are in the universe, and when.
        repair: Kinds of findings to repair (see `findings.KINDS`); each repaired bar is counted, and marked in `flags`.
        allow: Kinds of findings to accept as they are.

    Raises:
        BadPrices: A table can't be read (the file, the row and the value), or holds what the checks refuse.
        Corrupted: A file of `write_prices` is not what its digest says.

    Example:
        >>> prices = read_prices("btc.csv", calendar="24/7")
        >>> prices.close.shape
        (1193, 1)
    """
    stated: dict[str, Any] = {
        "calendar": calendar,
        "interval": interval,
        "dividend_adjusted": None,
        "currency": currency,
        "adjusted_as_of": adjusted_as_of,
        "split_adjusted": split_adjusted,
        "source": source,
    }
    bars, held = read_bars(tables, columns=columns or {})
    facts = {name: held.get(name) if value is None else value for name, value in stated.items()}
    return build_prices(
        bars,
        facts,
        timezone=timezone,
        label=label,
        instruments=instruments,
        members=members,
        repair=repair,
        allow=allow,
    )


def check_prices(
    prices: Prices | Table | Sequence[Table] | Mapping[str, Table],
    *,
    calendar: str | None = None,
    interval: str | None = None,
    columns: Mapping[str, str] | None = None,
    timezone: str | None = None,
    label: Literal["start", "end"] = "start",
    split_adjusted: bool | None = None,
    instruments: Any = None,
) -> list[Finding]:
    """Return what is wrong, or looks wrong, with prices or with tables of them: nothing is refused or repaired.

    A table is read as `read_prices` does. Prices that were read are checked again as they stand. Raises BadPrices where
    a table can't be read.

    Example:
        >>> [finding.kind for finding in check_prices("spy.csv", calendar="XNYS")]
        ['duplicate-bar', 'two-adjustments']
    """
    if isinstance(prices, Prices):
        return check_panel(prices)
    bars, held = read_bars(prices, columns=columns or {})
    stated = {"calendar": calendar, "interval": interval, "split_adjusted": split_adjusted}
    facts = {**held, **{name: value for name, value in stated.items() if value is not None}}
    return check_bars(bars, facts, timezone=timezone, label=label, instruments=instruments)[1]


def read_bars(
    tables: Table | Sequence[Table] | Mapping[str, Table], *, columns: Mapping[str, str]
) -> tuple[Bars, dict[str, Any]]:
    """Read tables row by row, unchecked, with the facts that files of `ahf market fetch` hold.

    Raises BadPrices where a table can't be read, or where two files hold different facts.
    """
    pieces, facts = [], []
    for ticker, table in _each(tables):
        name, rows = _load(table, columns)
        facts.append(_held(rows))
        pieces.append(_bars(rows, find_columns(rows.column_names, columns, name), ticker or Path(name).stem, name))
    if not sum(len(piece) for piece in pieces):
        raise BadPrices(f"there is no bar in {', '.join(piece.parts[0].file for piece in pieces) or 'no table'}")
    if any(held != facts[0] for held in facts):
        raise BadPrices("the files were fetched from different sources, or at different intervals: read them apart")
    return join_bars(pieces), facts[0]


def _each(tables: Any) -> list[tuple[str | None, Any]]:
    if isinstance(tables, Mapping):
        return [(str(ticker), table) for ticker, table in tables.items()]
    if isinstance(tables, str | PathLike) and Path(tables).is_dir():
        paths = sorted(path for path in Path(tables).iterdir() if path.suffix.lower() in _SUFFIXES)
        if not paths:
            raise BadPrices(f"{tables} holds no CSV or parquet file: name another folder")
        return [(None, path) for path in paths]
    several = isinstance(tables, Sequence) and not isinstance(tables, str)
    return [(None, table) for table in (tables if several else [tables])]


def _load(table: Any, renamed: Mapping[str, str]) -> tuple[str, Any]:
    """Return a table's name for messages, and those of its columns that are read."""
    if not isinstance(table, str | PathLike):
        if not isinstance(table, pa.Table):
            table = pa.Table.from_pandas(table)
        return "the table", table.select(_distinct(find_columns(table.column_names, renamed, "the table")))
    path = Path(table)
    if path.suffix.lower() not in _SUFFIXES:
        raise BadPrices(f"{path.name} isn't a {', '.join(_SUFFIXES)} file: convert it, or rename it")
    try:
        return path.name, _parquet(path, renamed) if path.suffix in (".parquet", ".pq") else _csv(path, renamed)
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
            whole = pyarrow.parquet.read_table(source)
            verify_table(whole, path.name)
            return whole.select(_distinct(layout))
        texts = layout.ticker and pa.types.is_string(schema.field(layout.ticker).type)
        return pyarrow.parquet.read_table(
            source, columns=_distinct(layout), read_dictionary=[layout.ticker] if texts else None
        )


def _csv(path: Path, renamed: Mapping[str, str]) -> Any:
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline()
    separator = max(",;\t|", key=first.count)
    names = next(csv.reader([first], delimiter=separator), [])
    layout = find_columns([name.strip() for name in names], renamed, path.name)
    texts = {name: pa.string() for name in (layout.time, layout.ticker) if name is not None}
    return pyarrow.csv.read_csv(
        path,
        read_options=pyarrow.csv.ReadOptions(column_names=[name.strip() for name in names], skip_rows=1),
        parse_options=pyarrow.csv.ParseOptions(delimiter=separator),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=texts, include_columns=_distinct(layout), null_values=list(EMPTY), strings_can_be_null=False
        ),
    )


def _held(table: Any) -> dict[str, Any]:
    return read_facts(table.schema.metadata or {})


def _bars(table: Any, layout: Layout, ticker: str, file: str) -> Bars:
    labels, at = read_times(table[layout.time], layout.time, file)
    if None not in layout.fields:
        wide = [
            Bars(
                (str(name),),
                np.zeros(len(at), np.int32),
                labels,
                at,
                {ours: read_numbers(table[column], column, file) for ours, column in fields.items()},
                [Part(file, len(at))],
            )
            for name, fields in layout.fields.items()
        ]
        return join_bars([bars.select(~np.isnan(bars.fields["close"])) for bars in wide])
    fields = {ours: read_numbers(table[column], column, file) for ours, column in layout.fields[None].items()}
    if layout.ticker is None:
        return Bars((ticker,), np.zeros(len(at), np.int32), labels, at, fields, [Part(file, len(at))])
    tickers, codes = _tickers(table[layout.ticker], layout.ticker, file)
    return Bars(tickers, codes, labels, at, fields, [Part(file, len(at))])


def _tickers(column: Any, name: str, file: str) -> tuple[tuple[str, ...], np.ndarray]:
    array = column.combine_chunks()
    encoded = array if pa.types.is_dictionary(array.type) else array.cast(pa.string()).dictionary_encode()
    texts = [str(text or "").strip() for text in encoded.dictionary.to_pylist()]
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    empty = np.array([not text for text in [*texts, ""]])[codes]
    if empty.any():
        row = int(np.flatnonzero(empty)[0])
        raise BadPrices(f"{file}, row {row + 1} has no {name}: name its ticker, or remove the row")
    used = sorted({texts[code] for code in np.unique(codes)})
    number = {text: index for index, text in enumerate(used)}
    return tuple(used), np.array([number.get(text, -1) for text in texts], np.int32)[codes]
