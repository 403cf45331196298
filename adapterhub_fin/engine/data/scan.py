"""Read a table once through, in batches, without keeping the pages of its files in memory."""

from __future__ import annotations

import ctypes
import re
import sys
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset

BATCH_BYTES = 4 << 20  # of rows that are read at once
_FILE_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r--\S \S+ \S+ \d+ +(/.*?)(?: \(deleted\))?\n")
_MADV_DONTNEED = 4  # of Linux: the pages are read from the file again where they are needed


def scan(table: Dataset, columns: Sequence[str]) -> Iterator[dict[str, list[Any]]]:
    """Yield the rows in order, in batches of at most 1,000 rows and about 4 MB, as lists by column.

    What was read of a file that is mapped into memory is given back, so that memory doesn't grow with the table.
    """
    # Row by row takes four times as long, but a row may be an annual report.
    rows = max(1, min(1000, BATCH_BYTES * len(table.data) // max(1, table.data.nbytes)))
    mappings = _mappings(table)
    for batch in table.select_columns(list(columns)).iter(batch_size=rows):
        _give_back(mappings)
        yield batch


def cells(table: Dataset, column: str) -> Iterator[Any]:
    """Yield a column's cells in order, read as `scan` reads."""
    for batch in scan(table, [column]):
        yield from batch[column]


def _mappings(table: Dataset) -> list[tuple[int, int]]:
    """Return the address and the size of each mapped file of a table; it must outlive their use.

    Linux alone says where files are mapped. Elsewhere there are none.
    """
    files = {str(Path(file["filename"]).resolve()) for file in table.cache_files}
    if not files or sys.platform != "linux":
        return []
    with Path("/proc/self/maps").open(encoding="utf-8", errors="surrogateescape") as lines:
        mapped = [_FILE_MAPPING.fullmatch(line) for line in lines]
    spans = sorted((int(line[1], 16), int(line[2], 16)) for line in mapped if line and line[3] in files)
    starts = [start for start, _ in spans]
    buffers = (buffer for column in table.data.itercolumns() for chunk in column.chunks for buffer in chunk.buffers())
    places = {bisect_right(starts, buffer.address) - 1 for buffer in buffers if buffer is not None}
    return [(start, end - start) for start, end in (spans[place] for place in sorted(places) if place >= 0)]


def _give_back(mappings: Sequence[tuple[int, int]]) -> None:
    if mappings:
        advise = ctypes.CDLL(None).madvise
        for start, size in mappings:
            advise(ctypes.c_void_p(start), ctypes.c_size_t(size), _MADV_DONTNEED)
