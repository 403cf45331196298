"""Read a table's rows a part at a time, with the same columns in all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from adapterhub_fin.errors import BadCorpus
from adapterhub_fin.plugin.faults import Faults
from adapterhub_fin.plugin.tables import TableRow


def row_chunks(rows: Iterator[TableRow], faults: Faults, size: int) -> Iterator[list[TableRow]]:
    """Yield the rows, `size` at a time; where the file can't be read on after a fault, that is the last fault."""
    while True:
        try:
            chunk = list(islice(rows, size))
        except BadCorpus as error:
            if not faults.count:
                raise
            faults.add((2**63,), error)
            return
        if not chunk:
            return
        yield chunk


def check_columns(chunk: Sequence[TableRow], columns: Sequence[str], source: Path) -> None:
    """Raise BadCorpus for a column that the rows before the chunk don't have: the output's columns are settled."""
    settled = set(columns)
    for row in chunk:
        if late := [name for name in row.cells if name not in settled]:
            raise BadCorpus(
                f"{source.name}, {row.unit} {row.number} has a column {late[0]!r}, which the first rows lack: give "
                "every row the same columns"
            )


def count_rows(source: Path) -> int:
    """Return about how many rows a file has, for the bar."""
    if source.suffix.lower() == ".parquet":
        import pyarrow.parquet

        with pyarrow.parquet.ParquetFile(source) as table:
            return int(table.metadata.num_rows)
    with source.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b""))
