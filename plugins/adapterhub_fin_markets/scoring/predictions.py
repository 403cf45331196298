"""Read predictions: a number an instrument and an instant of decision, from a table of signals or any other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from adapterhub_fin import LookAhead
from adapterhub_fin.plugin import BadCorpus
from adapterhub_fin_markets.prices.timing import usable
from adapterhub_fin_markets.scoring.options import SPANS
from adapterhub_fin_markets.scoring.rows import match, match_latest
from adapterhub_fin_markets.scoring.table_columns import TableColumns, check_order


@dataclass(frozen=True, eq=False)
class Predictions:
    """Hold predictions in the order of their table, (rows,) each; each ticker's are in the order of time."""

    file: str
    at: np.ndarray  # datetime64[us]: the instant of the decision
    tickers: tuple[str, ...]
    ticker: np.ndarray  # into tickers
    score: np.ndarray
    direction: np.ndarray  # the signal where there is one, else the score: its sign counts

    def select(self, rows: np.ndarray) -> Predictions:
        """Return some of the rows, (rows,) bool."""
        return Predictions(
            self.file, self.at[rows], self.tickers, self.ticker[rows], self.score[rows], self.direction[rows]
        )


@dataclass(frozen=True, eq=False)
class Eras:
    """Hold the eras of predictions in the order of time: their names, and which of them each row is in, (rows,)."""

    names: tuple[str, ...]
    codes: np.ndarray


def read_predictions(table: TableColumns, *, allow_late: bool = False) -> Predictions:
    """Return the predictions of a table with `time`, `ticker` and `score`, or `signal`.

    Raises BadCorpus for what can't be read, a ticker's rows that are not in the order of time and two of one instant,
    and LookAhead where `known_at` is not before the decision, unless `allow_late`.
    """
    at = table.instants(table.need("time"))
    tickers, ticker = table.tickers()
    score, signal = table.numbers(table.need("score")), table.find("signal")
    check_order(at, ticker, tickers, table.file)
    if (available := table.find("known_at")) is not None:
        late = ~usable(table.instants(available), at)
        if late.any() and not allow_late:
            row = int(np.flatnonzero(late)[0])
            raise LookAhead(
                f"{table.file}, row {row + 1}: {tickers[ticker[row]]} is decided at {at[row]}Z by what was not known "
                f"before; so are {int(late.sum()) - 1:,} others: decide later, or by less"
            )
    direction = score if signal is None else table.numbers(signal)
    return Predictions(table.file, at, tickers, ticker, score, direction)


def read_eras(table: TableColumns, at: np.ndarray, era: str) -> Eras:
    """Return the eras of predictions decided `at`, (rows,): day, week or month in UTC, or a column of the table.

    A week is that of ISO 8601, such as 2021-W05. Raises BadCorpus where two eras of a column overlap in time.
    """
    if era not in SPANS:
        names, codes = np.unique(table.texts(era), return_inverse=True)
        return _ordered(names, codes, at, table.file)
    days = at.astype("M8[D]")
    if era == "week":
        thursday = (days.astype(np.int64) + 3) // 7 * 7  # of the same ISO week: 1970-01-01 was one
        distinct, codes = np.unique(thursday, return_inverse=True)
        labels = [np.datetime64(int(day), "D").item().strftime("%G-W%V") for day in distinct]
        return Eras(tuple(labels), codes)
    distinct, codes = np.unique(days.astype("M8[M]") if era == "month" else days, return_inverse=True)
    return Eras(tuple(map(str, distinct)), codes)


def _ordered(names: np.ndarray, codes: np.ndarray, at: np.ndarray, file: str) -> Eras:
    order = np.argsort(at, kind="stable")
    first = np.full(len(names), at.max())
    last = np.full(len(names), at.min())
    np.minimum.at(first, codes, at)
    np.maximum.at(last, codes, at)
    order = np.argsort(first, kind="stable")
    overlap = np.flatnonzero(last[order][:-1] >= first[order][1:])
    if overlap.size:
        one, other = names[order][overlap[0]], names[order][overlap[0] + 1]
        raise BadCorpus(f"{file}: the eras {one} and {other} overlap in time: an era is a span of it")
    number = np.empty(len(names), np.int64)
    number[order] = np.arange(len(names))
    return Eras(tuple(names[order].tolist()), number[codes])


def read_meta(table: TableColumns, predictions: Predictions) -> np.ndarray:
    """Return a meta model's prediction at the instant and ticker of each of ours, (rows,), NaN where it has none."""
    other = read_predictions(table)
    number = np.unique(np.concatenate([other.at, predictions.at]), return_inverse=True)[1]
    column = _numbers(predictions.tickers, other.tickers)[predictions.ticker]
    at = match(other.ticker, number[: len(other.at)], column, number[len(other.at) :])
    return np.where((at >= 0) & (column >= 0), other.score[at], np.nan)


def read_factors(table: TableColumns, predictions: Predictions) -> Mapping[str, np.ndarray]:
    """Return each factor's value that was known last, strictly before each decision, (rows,), NaN where there is none.

    Every column of numbers beside `time`, `ticker` and `known_at` is one; what has no `known_at` is known at its time.
    Raises BadCorpus for a table without one, or that can't be read.
    """
    time, available = table.need("time"), table.find("known_at")
    tickers, ticker = table.tickers()
    known_at = table.instants(available or time)
    check_order(table.instants(time), ticker, tickers, table.file)
    column = _numbers(predictions.tickers, tickers)[predictions.ticker]
    at = match_latest(ticker, known_at, column, predictions.at)
    keys = {time, available, table.need("ticker")}
    names = [name for name in table.cells.column_names if name not in keys]
    if not names:
        raise BadCorpus(f"{table.file} has no column of a factor: add one beside {time} and {table.need('ticker')}")
    return {name: np.where(at >= 0, table.numbers(name, empty=True)[at], np.nan) for name in names}


def _numbers(names: tuple[str, ...], others: tuple[str, ...]) -> np.ndarray:
    """Return the number of each name among others, (names,), -1 where it is none."""
    number: Mapping[str, Any] = {name: index for index, name in enumerate(others)}
    return np.array([number.get(name, -1) for name in names], np.int64)
