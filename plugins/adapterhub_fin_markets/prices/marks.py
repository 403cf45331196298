"""Keep what was found and repaired beside stored prices, and put it back on the panel that is read of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
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
        held: Marks = json.loads(metadata.get(KEY, b"{}"))
        return {"repairs": dict(held["repairs"]), "flags": dict(held["flags"])} if held else {}
    except (ValueError, KeyError, TypeError) as error:
        raise BadPrices("what the table says of its repairs can't be read: store it again") from error


def with_marks(prices: Prices, several: Sequence[Marks], instruments: Any = None) -> Prices:
    """Return a panel with the marks of the files that it was read of; dated tickers are turned into their ids."""
    repairs, flags = Counter(prices.repairs), dict(prices.flags)
    days = prices.starts_at.astype("M8[D]") if prices.days is None else prices.days
    for marks in several:
        repairs.update(marks.get("repairs", {}))
        for kind, tickers in marks.get("flags", {}).items():
            cells = flags[kind].copy() if kind in flags else np.zeros(prices.close.shape, bool)
            for ticker, runs in tickers.items():
                rows = np.zeros(len(prices), bool)
                for first, last in np.array(runs, "M8[us]").reshape(-1, 2):
                    rows |= (prices.starts_at >= first) & (prices.starts_at <= last)
                if instruments is None:
                    named = [(ticker, rows)]
                else:
                    spells = instruments.spells.get(ticker, ())
                    named = [(spell.id, rows & (days >= spell.start) & (days < spell.end)) for spell in spells]
                for name, marked in named:
                    if name in prices.tickers:
                        cells[marked, prices.tickers.index(name)] = True
            flags[kind] = cells
    return replace(prices, repairs=dict(sorted(repairs.items())), flags=flags)
