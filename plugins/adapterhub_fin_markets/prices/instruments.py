"""Give instruments permanent ids under dated tickers, and say who was in a universe on each day."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from os import PathLike
from pathlib import Path

import numpy as np

from adapterhub_fin_markets.prices.bars import Bars
from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.prices.panel import Prices

_START = ("start", "start_date", "from")
_END = ("end", "end_date", "until")
_LASTS = np.datetime64("9999-12-31", "D")


@dataclass(frozen=True)
class Spell:
    """Hold one name's time: from `start` to the day before `end`; `id` is the instrument's, `ticker` its name then."""

    id: str
    ticker: str
    start: np.datetime64
    end: np.datetime64 = _LASTS


class Instruments:
    """Map dated tickers to permanent ids.

    Example:
        >>> meta = Instruments([Spell("meta", "FB", day("2012-05-18"), day("2022-06-09")), ...])
        >>> meta.id_on("FB", day("2020-01-02"))
        'meta'
    """

    def __init__(self, spells: Iterable[Spell]) -> None:
        """Take the spells. Raises BadPrices where two of one ticker overlap."""
        self.spells = _sorted(spells)

    @classmethod
    def read(cls, path: str | PathLike[str]) -> Instruments:
        """Return the instruments of a CSV file with the columns id, ticker, start and end. Raises BadPrices."""
        return cls(_read_spells(Path(path), named=True))

    def id_on(self, ticker: str, on: np.datetime64) -> str:
        """Return the id that a ticker stands for on a day. Raises BadPrices where it stands for none."""
        for spell in self.spells.get(ticker, ()):
            if spell.start <= on < spell.end:
                return spell.id
        raise BadPrices(f"the ticker {ticker} stands for no instrument on {on}: add its spell to the instruments")

    def rename(self, bars: Bars, days: np.ndarray) -> Bars:
        """Return the bars under permanent ids; `days`, (rows,) datetime64[D], are their sessions'. Raises BadPrices."""
        names = np.full(len(bars), -1, np.int64)
        ids = sorted({spell.id for spells in self.spells.values() for spell in spells})
        number = {name: index for index, name in enumerate(ids)}
        for code, ticker in enumerate(bars.tickers):
            rows = np.flatnonzero(bars.ticker == code)
            for spell in self.spells.get(ticker, ()):
                names[rows[(days[rows] >= spell.start) & (days[rows] < spell.end)]] = number[spell.id]
            lacking = rows[names[rows] < 0]
            if len(lacking):
                row = int(lacking[0])
                where = f" ({bars.where(row)})"
                raise BadPrices(
                    f"the ticker {ticker} stands for no instrument on {days[row]}{where}: add its spell to the "
                    "instruments, or leave its bars out"
                )
        used, codes = np.unique(names, return_inverse=True)
        return replace(bars, tickers=tuple(ids[index] for index in used), ticker=codes.astype(np.int32))


class Membership:
    """Say which instruments are in a universe on each day, such as the S&P 500's members."""

    def __init__(self, spells: Iterable[Spell], instruments: Instruments | None = None) -> None:
        """Take the spells; with instruments they name tickers. Raises BadPrices where two of one name overlap."""
        if instruments is not None:
            spells = [replace(spell, id=instruments.id_on(spell.ticker, spell.start)) for spell in spells]
        self.spells = _sorted(replace(spell, ticker=spell.id) for spell in spells)

    @classmethod
    def read(cls, path: str | PathLike[str], instruments: Instruments | None = None) -> Membership:
        """Return the spells of a CSV file with the columns ticker or id, start and end. Raises BadPrices."""
        return cls(_read_spells(Path(path), named=False), instruments)

    def on(self, when: np.datetime64) -> list[str]:
        """Return who is in the universe on a day, ascending."""
        return [
            name for name, spells in self.spells.items() if any(spell.start <= when < spell.end for spell in spells)
        ]

    def mask(self, prices: Prices) -> np.ndarray:
        """Return who is in the universe at each bar, bool (times, tickers).

        Raises BadPrices where no member is a column.
        """
        if not any(name in self.spells for name in prices.tickers):
            raise BadPrices(
                f"no column of the prices, such as {prices.tickers[0]}, is a member of the universe, such as "
                f"{next(iter(self.spells), 'none')}: read both with the same instruments, or both without"
            )
        days = prices.starts_at.astype("M8[D]") if prices.days is None else prices.days
        inside = np.zeros(prices.close.shape, bool)
        for column, name in enumerate(prices.tickers):
            for spell in self.spells.get(name, ()):
                inside[:, column] |= (days >= spell.start) & (days < spell.end)
        return inside


def day(text: str) -> np.datetime64:
    """Return a day as numpy has it. Raises BadPrices for text that is no date."""
    try:
        return np.datetime64(date.fromisoformat(text.strip()).isoformat(), "D")
    except ValueError as error:
        raise BadPrices(f"{text!r} is not a date: write it as 2024-01-31") from error


def _sorted(spells: Iterable[Spell]) -> Mapping[str, Sequence[Spell]]:
    by_ticker: dict[str, list[Spell]] = {}
    for spell in sorted(spells, key=lambda spell: (spell.ticker, spell.start)):
        if not spell.start < spell.end:
            raise BadPrices(f"a spell of {spell.ticker} ends on {spell.end}, and starts on {spell.start}: mend it")
        before = by_ticker.setdefault(spell.ticker, [])
        if before and spell.start < before[-1].end:
            raise BadPrices(f"two spells of {spell.ticker} overlap on {spell.start}: end the first one earlier")
        before.append(spell)
    return by_ticker


def _read_spells(path: Path, *, named: bool) -> list[Spell]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise BadPrices(f"{path} can't be read ({error}): give the path of a CSV file") from error
    spells = []
    for number, row in enumerate(rows, start=1):
        try:
            ticker, name = row.get("ticker") or "", row.get("id") or ""
            if not (name or ticker) or (named and not (name and ticker)):
                raise BadPrices("it needs an id and a ticker" if named else "it needs a ticker or an id")
            start, end = (next((row[key] for key in keys if row.get(key)), "") for keys in (_START, _END))
            spells.append(Spell(name or ticker, ticker or name, day(start), day(end) if end else _LASTS))
        except BadPrices as error:
            raise BadPrices(f"{path.name}, row {number}: {error}") from None
    return spells
