"""Keep what was found and repaired beside stored prices, and put it back on the panel that is read of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.prices.panel import Prices

KEY: Final = b"adapterhub_fin_markets.marks"  # apart from what the digest of the bars covers
Marks = Mapping[str, Any]  # repairs: bars by kind; flags: by kind and ticker, the first and last start of each run


def marks_of(prices: Prices) -> dict[str, Any]:
    """Return the repairs and flags of a panel as JSON can hold them, {} where there is none."""
    starts = np.datetime_as_string(prices.starts_at.astype("M8[us]"), unit="us")
    flags: dict[str, dict[str, list[list[str]]]] = {}
    for kind, cells in sorted(prices.flags.items()):
        for column in np.flatnonzero(cells.any(axis=0)).tolist():
            edges = np.flatnonzero(np.diff(cells[:, column].astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
            runs = [[str(starts[first]), str(starts[end - 1])] for first, end in edges.tolist()]
            flags.setdefault(kind, {})[prices.tickers[column]] = runs
    return {"repairs": dict(prices.repairs), "flags": flags} if flags or prices.repairs else {}


def read_marks(metadata: Mapping[bytes, bytes]) -> Marks:
    """Return the marks that a file of prices holds, {} where it has none. Raises BadPrices where they can't be read."""
    try:
        marks: Marks = json.loads(metadata.get(KEY, b"{}"))
        return {"repairs": dict(marks["repairs"]), "flags": dict(marks["flags"])} if marks else {}
    except (ValueError, KeyError, TypeError) as error:
        raise BadPrices("what the table says of its repairs can't be read: store it again") from error


def with_marks(prices: Prices, several: Sequence[Marks], instruments: Any = None) -> Prices:
    """Return a panel with the marks of the files that it was read of; dated tickers are turned into their ids."""
    repairs, flags = Counter(prices.repairs), dict(prices.flags)
    for marks in several:
        repairs.update(marks.get("repairs", {}))
        for kind, tickers in marks.get("flags", {}).items():
            cells = flags[kind].copy() if kind in flags else np.zeros(prices.close.shape, bool)
            for ticker, runs in tickers.items():
                for column, rows in _columns(prices, ticker, _rows(prices, runs), instruments):
                    cells[rows, column] = True
            flags[kind] = cells
    return replace(prices, repairs=dict(sorted(repairs.items())), flags=flags)


def _rows(prices: Prices, runs: Sequence[Sequence[str]]) -> np.ndarray:
    """Return the times, (times,) bool, that lie in one of the runs, each given by its first and last start."""
    rows = np.zeros(len(prices), bool)
    for first, last in np.array(runs, "M8[us]").reshape(-1, 2):
        rows |= (prices.starts_at >= first) & (prices.starts_at <= last)
    return rows


def _columns(prices: Prices, ticker: str, rows: np.ndarray, instruments: Any) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the columns that a file's ticker is in the panel, with its rows there: an id for each of its spells."""
    names = [(ticker, rows)]
    if instruments is not None:
        days = prices.starts_at.astype("M8[D]") if prices.days is None else prices.days
        spells = instruments.spells.get(ticker, ())
        names = [(spell.id, rows & (days >= spell.start) & (days < spell.end)) for spell in spells]
    for name, there in names:
        if name in prices.tickers:
            yield prices.tickers.index(name), there
