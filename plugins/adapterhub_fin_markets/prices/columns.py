"""Find the columns of a table of prices by their names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adapterhub_fin_markets.prices.errors import BadPrices

# Spellings in lower case without spaces and marks; the first that a table has is read.
SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "time": (
        "at",
        "startsat",
        "datetime",
        "timestamp",
        "date",
        "time",
        "day",
        "opentime",
        "starttime",
        "start",
        "windowstart",
    ),
    "ticker": ("ticker", "symbol", "instrument", "id", "asset"),
    "open": ("open", "openprice"),
    "high": ("high", "highprice"),
    "low": ("low", "lowprice"),
    "close": ("close", "closeprice", "closelast", "last", "price"),
    "volume": ("volume", "vol"),
    "adj_close": ("adjclose", "adjustedclose", "closeadj", "closeadjusted"),
    "dividends": ("dividends", "dividend", "divcash"),
    "splits": ("stocksplits", "splits", "split", "splitfactor"),
    "capital_gains": ("capitalgains",),
    "turnover": ("turnover", "quotevolume", "quoteassetvolume", "amount"),
}
_PRICES = ("open", "high", "low", "close")
_LETTERS = {"o": "open", "h": "high", "l": "low", "c": "close", "v": "volume"}  # alone, each is a ticker: C, V


@dataclass(frozen=True)
class Layout:
    """Say which column holds what: `fields` by ticker, and under None where each row names its ticker or has none."""

    time: str
    ticker: str | None
    fields: Mapping[str | None, Mapping[str, str]]  # ticker -> field -> column

    def columns(self) -> list[str]:
        """Return the columns that are read."""
        named = [column for fields in self.fields.values() for column in fields.values()]
        return [self.time, *([self.ticker] if self.ticker else []), *named]


def find_columns(names: Sequence[str], renamed: Mapping[str, str], file: str) -> Layout:
    """Return where a table has its times, tickers and fields.

    `renamed` gives a column's name in the file by ours, such as `{"close": "Last"}`. A table with neither a close nor a
    ticker is wide: its columns are closes by ticker (`AAPL`), or fields by ticker (`Close AAPL`, `AAPL_Close`).
    Raises BadPrices where a column is lacking or named twice.
    """
    for ours, theirs in renamed.items():
        if ours not in SPELLINGS:
            raise BadPrices(f"there is no column {ours!r} of prices to name: choose from {', '.join(SPELLINGS)}")
        if theirs not in names:
            raise BadPrices(f"{file} has no column {theirs!r} to read as {ours}: it has {_listed(names)}")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadPrices(f"{file} names the column {twice[0]!r} twice: rename one")
    letters = {_LETTERS[name.lower()]: name for name in names if name.lower() in _LETTERS}
    if not set(_PRICES) <= letters.keys():
        letters = {}
    spelt = {ours: renamed.get(ours) or _spelt(ours, names) or letters.get(ours) for ours in SPELLINGS}
    time = spelt.pop("time") or _index_column(names)
    if time is None:
        raise BadPrices(f"{file} has no column of times: {_naming('time')} ({_listed(names)})")
    ticker = spelt.pop("ticker")
    fields = {ours: column for ours, column in spelt.items() if column}
    if "close" in fields:
        return Layout(time, ticker, {None: fields})
    if ticker is not None or any(name in fields for name in _PRICES):
        raise BadPrices(f"{file} has no column of closes: {_naming('close')} ({_listed(names)})")
    return Layout(time, None, _wide([name for name in names if name != time], file))


def _spelt(ours: str, names: Sequence[str]) -> str | None:
    plain = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in reversed(names)}
    return next((plain[spelling] for spelling in SPELLINGS[ours] if spelling in plain), None)


def _index_column(names: Sequence[str]) -> str | None:
    """Return the column that pandas stores a nameless index in, or that its `to_csv` leaves without a name."""
    return next((name for name in names if name in ("__index_level_0__", "", "Unnamed: 0")), None)


def _wide(names: Sequence[str], file: str) -> dict[str | None, Mapping[str, str]]:
    pairs = {name: _pair(name) for name in names}
    if not any(pairs.values()):
        if not names:
            raise BadPrices(f"{file} has a column of times and no other: add closes")
        return {name: {"close": name} for name in names}
    fields: dict[str | None, dict[str, str]] = {}
    for name, pair in pairs.items():
        if pair is None:
            raise BadPrices(
                f"{file} has the column {name!r} beside columns such as 'Close AAPL': it is no field of a ticker; "
                "leave it out, or rename it"
            )
        field, ticker = pair
        if field in fields.setdefault(ticker, {}):
            raise BadPrices(f"{file} has two columns for {field} of {ticker}: leave one out")
        fields[ticker][field] = name
    if lacking := [ticker for ticker, of in fields.items() if "close" not in of]:
        raise BadPrices(f"{file} has no closes of {lacking[0]}: add them, or leave its other columns out")
    return dict(fields)


def _pair(name: str) -> tuple[str, str] | None:
    """Return the field and the ticker that one column's name holds: `('Close', 'AAPL')`, `AAPL_Close`, `Close BRK.B`.

    A field stands at either end, in one or two words; all that is left is the ticker.
    """
    if name.startswith("("):
        words = re.findall(r"'([^']*)'", name)
        ends = [(words[0], words[1]), (words[1], words[0])] if len(words) == 2 else []
    else:
        parts = re.split(r"([\s_:|/]+)", name.strip())  # words and what separates them, in turn
        ends = []
        for count in (3, 1):  # of two words, and of one
            ends += [
                ("".join(parts[:count]), "".join(parts[count + 1 :])),
                ("".join(parts[-count:]), "".join(parts[: -count - 1])),
            ]
    for first, ticker in ends:
        field = next((ours for ours in SPELLINGS if _spelt(ours, [first])), None)
        if field not in (None, "time", "ticker") and ticker:
            return str(field), ticker
    return None


def _naming(ours: str) -> str:
    return f"name it, as in columns={{'{ours}': ...}}, or --column {ours}=..."


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(name or "''" for name in names[:12])
    return shown if len(names) <= 12 else f"{shown} and {len(names) - 12} more"
