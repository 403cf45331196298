"""Hold a list of texts a row, such as the digests of what a signal was made of, without a Python object for each."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Self, overload

import numpy as np
import pyarrow as pa


class Lists(Sequence[tuple[str, ...]]):
    """Hold a tuple of texts for each row: item i is `names[codes[offsets[i]:offsets[i + 1]]]`.

    `offsets` has one more item than there are rows; `codes` (items,) point into `names`, which are distinct.
    """

    def __init__(self, offsets: np.ndarray, codes: np.ndarray, names: Sequence[str]) -> None:
        self.offsets, self.codes, self.names = offsets, codes, tuple(names)

    @classmethod
    def of(cls, rows: Sequence[tuple[str, ...]]) -> Self:
        """Return the rows of any sequence of tuples as one; `Lists` as they are."""
        if isinstance(rows, cls):
            return rows
        counts = np.fromiter(map(len, rows), np.int64, len(rows))
        items = [item for row in rows for item in row]
        return cls._encoded(np.concatenate([[0], np.cumsum(counts)]), pa.array(items, pa.string()))

    @classmethod
    def read(cls, column: Any) -> Self:
        """Return the rows of a pyarrow column of list<string>."""
        array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        offsets = array.offsets.to_numpy()
        return cls._encoded(offsets - offsets[0], array.flatten())

    @classmethod
    def _encoded(cls, offsets: np.ndarray, items: Any) -> Self:
        encoded = items.dictionary_encode()
        return cls(offsets.astype(np.int64), encoded.indices.to_numpy(), encoded.dictionary.to_pylist())

    def arrow(self) -> Any:
        """Return the rows as a pyarrow array of list<string>."""
        items = pa.array(self.names, pa.string()).take(pa.array(self.codes))
        return pa.ListArray.from_arrays(pa.array(self.offsets, pa.int32()), items)

    def take(self, marked: np.ndarray) -> Lists:
        """Return the rows that a mask (rows,) marks."""
        counts = np.diff(self.offsets)
        offsets = np.concatenate([[0], np.cumsum(counts[marked])]).astype(np.int64)
        return Lists(offsets, self.codes[np.repeat(marked, counts)], self.names)

    def holding(self, names: Collection[str]) -> np.ndarray:
        """Mark the rows that hold any of the names, (rows,)."""
        among = np.array([name in names for name in self.names], bool)
        marked = np.zeros(len(self), bool)
        marked[np.repeat(np.arange(len(self)), np.diff(self.offsets))[among[self.codes]]] = True
        return marked

    def latest(self, instants: np.ndarray) -> np.ndarray:
        """Return for each row the latest of its items' instants, (rows,), NaT where it has none.

        `instants` (names,) are datetime64[us], one for each of `names`.
        """
        return self._reduced(np.maximum, instants)

    def earliest(self, instants: np.ndarray) -> np.ndarray:
        """Return for each row the earliest of its items' instants, (rows,), as `latest` does the latest."""
        return self._reduced(np.minimum, instants)

    def _reduced(self, choose: np.ufunc, instants: np.ndarray) -> np.ndarray:
        result = np.full(len(self), np.datetime64("NaT"), "datetime64[us]")
        filled = np.flatnonzero(np.diff(self.offsets))
        if len(filled):
            result[filled] = choose.reduceat(instants[self.codes], self.offsets[filled])
        return result

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, row: int) -> tuple[str, ...]: ...
    @overload
    def __getitem__(self, row: slice) -> list[tuple[str, ...]]: ...
    def __getitem__(self, row: int | slice) -> tuple[str, ...] | list[tuple[str, ...]]:
        if isinstance(row, slice):
            return [self[index] for index in range(*row.indices(len(self)))]
        index = range(len(self))[row]
        return tuple(self.names[code] for code in self.codes[self.offsets[index] : self.offsets[index + 1]])

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        for index in range(len(self)):
            yield self[index]

    def __repr__(self) -> str:
        return f"Lists({len(self):,} rows, {len(self.codes):,} items of {len(self.names):,} names)"
