"""Hold bars as a table gives them, before they stand on one clock."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

FIELDS = ("open", "high", "low", "close", "volume", "adj_close", "dividends", "splits", "capital_gains", "turnover")


@dataclass(frozen=True, eq=False)
class Labels:
    """Hold the distinct times that rows are labelled with, as they were written; arrays of shape (labels,).

    `day` is the date as it was written, where the label is a date or a midnight, and NaT where it is another time.
    """

    utc: np.ndarray  # datetime64[us]; where `zoned` is False, the time as written
    day: np.ndarray  # datetime64[D]
    zoned: np.ndarray  # bool: whether the label has a zone
    bare: np.ndarray  # bool: whether the label is a date without a time

    def __len__(self) -> int:
        return len(self.utc)


@dataclass(frozen=True)
class Part:
    """Name the rows that came from one file, for messages."""

    file: str
    rows: int
    per_row: int = 1  # bars a row of the file gives: more than one in a wide table


@dataclass(frozen=True, eq=False)
class Bars:
    """Hold one bar a row, in the order of their files; arrays of shape (rows,)."""

    tickers: tuple[str, ...]  # distinct, ascending
    ticker: np.ndarray  # int32, into tickers
    labels: Labels
    at: np.ndarray  # int32, into labels
    fields: Mapping[str, np.ndarray]  # float64 by a name of FIELDS; NaN where the cell is empty
    parts: Sequence[Part]

    def __len__(self) -> int:
        return len(self.ticker)

    def where(self, row: int) -> str:
        """Return the file and the row in it, from 1, that a bar came from. Raises IndexError beyond the last."""
        for part in self.parts:
            if row < part.rows * part.per_row:
                return f"{part.file}, row {row % part.rows + 1}"
            row -= part.rows * part.per_row
        raise IndexError(f"there is no row {row}")

    def select(self, rows: np.ndarray) -> Bars:
        """Return the bars of some rows, (rows,) bool or integer; they no longer know their file's rows."""
        count = len(self.ticker[rows])
        names = ", ".join(sorted({part.file for part in self.parts}))
        fields = {name: values[rows] for name, values in self.fields.items()}
        return Bars(self.tickers, self.ticker[rows], self.labels, self.at[rows], fields, [Part(names, count)])

    def of_tickers(self, names: Collection[str]) -> Bars:
        """Return the bars of some tickers; they no longer know their file's rows."""
        chosen = tuple(name for name in self.tickers if name in names)
        codes = np.array([chosen.index(name) if name in names else -1 for name in self.tickers], np.int32)[self.ticker]
        bars = self.select(codes >= 0)
        return replace(bars, tickers=chosen, ticker=codes[codes >= 0]).compact()

    def compact(self) -> Bars:
        """Return the same bars with the labels that they use, and no other."""
        used, at = np.unique(self.at, return_inverse=True)
        labels = Labels(*(getattr(self.labels, name)[used] for name in Labels.__dataclass_fields__))
        return replace(self, labels=labels, at=at.astype(np.int32))


def join_bars(pieces: Sequence[Bars]) -> Bars:
    """Return the bars of several tables as one. A field that one of them lacks is NaN there."""
    if len(pieces) == 1:
        return pieces[0]
    tickers = tuple(sorted({name for piece in pieces for name in piece.tickers}))
    number = {name: index for index, name in enumerate(tickers)}
    offsets = np.cumsum([0, *(len(piece.labels) for piece in pieces)])
    names = [name for name in FIELDS if any(name in piece.fields for piece in pieces)]
    return Bars(
        tickers,
        np.concatenate(
            [np.array([number[name] for name in piece.tickers], np.int32)[piece.ticker] for piece in pieces]
        ),
        Labels(
            *(np.concatenate([getattr(piece.labels, name) for piece in pieces]) for name in Labels.__dataclass_fields__)
        ),
        np.concatenate([piece.at + np.int32(offset) for piece, offset in zip(pieces, offsets[:-1], strict=True)]),
        {
            name: np.concatenate([piece.fields.get(name, np.full(len(piece), np.nan)) for piece in pieces])
            for name in names
        },
        [part for piece in pieces for part in piece.parts],
    )
