"""Read prices from CSV and parquet tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from adapterhub_fin_markets.prices.bars import Bars, Part, join_bars
from adapterhub_fin_markets.prices.cells import read_numbers, read_times
from adapterhub_fin_markets.prices.checks import check_bars, check_panel
from adapterhub_fin_markets.prices.columns import Layout, find_columns
from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.prices.files import load_table, table_files
from adapterhub_fin_markets.prices.findings import Finding
from adapterhub_fin_markets.prices.form import Form
from adapterhub_fin_markets.prices.marks import read_marks
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.reading import build_prices
from adapterhub_fin_markets.prices.stored import read_facts

Table = str | PathLike[str] | Any  # a path, a pyarrow table or a pandas DataFrame


def read_prices(
    tables: Table | Sequence[Table] | Mapping[str, Table],
    *,
    calendar: str | None = None,
    interval: str | None = None,
    columns: Mapping[str, str] | None = None,
    date_format: str | None = None,
    decimal: Literal[".", ","] | None = None,
    timezone: str | None = None,
    label: Literal["start", "end"] = "start",
    currency: str | None = None,
    adjusted_as_of: str | None = None,
    split_adjusted: bool | None = None,
    source: str | None = None,
    instruments: Any = None,
    members: Any = None,
    tickers: Collection[str] | None = None,
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
        date_format: How dates are written where they aren't ISO, such as `%d.%m.%Y`.
        decimal: The decimal sign of numbers with separators of thousands, such as 1,234.50; the comma then means
            thousands where it is a point, and the other way round.
        timezone: The zone of times that are written without one.
        label: Whether the time of an intraday bar is its start or its end.
        currency: What the prices are in.
        adjusted_as_of: The day as of which the levels are adjusted, such as 2026-03-27.
        split_adjusted: Whether the levels are adjusted for the listed splits; found from the levels where not given.
        source: Where the table comes from.
        instruments: An `Instruments`, which turns dated tickers into permanent ids.
        members: A `Membership`: which instruments are in the universe, and when.
        tickers: Those to read of the tables' tickers, or of their ids where `instruments` gives them; others are
            neither read nor checked.
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
    bars, recorded = read_bars(tables, Form(columns or {}, date_format, decimal))
    facts = {name: recorded.get(name) if value is None else value for name, value in stated.items()}
    facts["marks"] = recorded.get("marks", ())
    if tickers is not None:
        bars = _chosen(bars, tickers, instruments)
    prices = build_prices(
        bars,
        facts,
        timezone=timezone,
        label=label,
        instruments=instruments,
        members=members,
        repair=repair,
        allow=allow,
    )
    # A ticker that was chosen for one id may have stood for another, too.
    return prices if tickers is None or instruments is None else prices.select(slice(None), tickers)


def _chosen(bars: Bars, tickers: Collection[str], instruments: Any) -> Bars:
    """Return the bars of some tickers, or ids. Raises BadPrices for one that the tables have not."""
    ids = {name: {name} for name in bars.tickers}
    if instruments is not None:
        ids = {name: {spell.id for spell in instruments.spells.get(name, ())} for name in bars.tickers}
    there = set().union(*ids.values())
    if missing := sorted({*tickers} - there):
        listed = ", ".join(sorted(there)[:10])
        raise BadPrices(f"the tables have no bar of {', '.join(missing)}: choose among {listed}")
    return bars.of_tickers([name for name, own in ids.items() if own & {*tickers}])


def check_prices(
    prices: Prices | Table | Sequence[Table] | Mapping[str, Table],
    *,
    calendar: str | None = None,
    interval: str | None = None,
    columns: Mapping[str, str] | None = None,
    date_format: str | None = None,
    decimal: Literal[".", ","] | None = None,
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
    bars, recorded = read_bars(prices, Form(columns or {}, date_format, decimal))
    stated = {"calendar": calendar, "interval": interval, "split_adjusted": split_adjusted}
    facts = {**recorded, **{name: value for name, value in stated.items() if value is not None}}
    return check_bars(bars, facts, timezone=timezone, label=label, instruments=instruments)[1]


def read_bars(tables: Table | Sequence[Table] | Mapping[str, Table], form: Form) -> tuple[Bars, dict[str, Any]]:
    """Read tables row by row, unchecked, with the facts that files of `ahf market fetch` hold, and their marks.

    Raises BadPrices where a table can't be read, or where two files hold different facts.
    """
    pieces, facts, marks = [], [], []
    for ticker, table in _each(tables):
        name, rows = load_table(table, form)
        facts.append(_held(rows))
        marks.append(read_marks(rows.schema.metadata or {}))
        layout = find_columns(rows.column_names, form.columns, name)
        pieces.append(_bars(rows, layout, form, ticker or Path(name).stem, name))
    if not sum(len(piece) for piece in pieces):
        raise BadPrices(f"there is no bar in {', '.join(piece.parts[0].file for piece in pieces) or 'no table'}")
    if any(of_file != facts[0] for of_file in facts):
        raise BadPrices("the files were fetched from different sources, or at different intervals: read them apart")
    return join_bars(pieces), {**facts[0], "marks": [each for each in marks if each]}


def _each(tables: Any) -> list[tuple[str | None, Any]]:
    if isinstance(tables, Mapping):
        return [(str(ticker), table) for ticker, table in tables.items()]
    several = isinstance(tables, Sequence) and not isinstance(tables, str)
    return [(None, file) for table in (tables if several else [tables]) for file in table_files(table)]


def _held(table: Any) -> dict[str, Any]:
    return read_facts(table.schema.metadata or {})


def _bars(table: Any, layout: Layout, form: Form, ticker: str, file: str) -> Bars:
    labels, at = read_times(table[layout.time], layout.time, file, form.date_format)
    if None not in layout.fields:
        wide = [
            Bars(
                (str(name),),
                np.zeros(len(at), np.int32),
                labels,
                at,
                {ours: read_numbers(table[column], column, file, form.decimal) for ours, column in fields.items()},
                [Part(file, len(at))],
            )
            for name, fields in layout.fields.items()
        ]
        return join_bars([bars.select(_there(bars.fields)) for bars in wide])
    fields = {
        ours: read_numbers(table[column], column, file, form.decimal) for ours, column in layout.fields[None].items()
    }
    if layout.ticker is None:
        return Bars((ticker,), np.zeros(len(at), np.int32), labels, at, fields, [Part(file, len(at))])
    tickers, codes = _tickers(table[layout.ticker], layout.ticker, file)
    return Bars(tickers, codes, labels, at, fields, [Part(file, len(at))])


def _there(fields: Mapping[str, np.ndarray]) -> np.ndarray:
    """Mark the rows of one ticker of a wide table that hold a price, or a dividend or split; the others have no bar."""
    prices = [~np.isnan(fields[name]) for name in ("open", "high", "low", "close") if name in fields]
    events = [np.nan_to_num(fields[name]) != 0 for name in ("dividends", "splits", "capital_gains") if name in fields]
    there: np.ndarray = np.logical_or.reduce([*prices, *events])
    return there


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
