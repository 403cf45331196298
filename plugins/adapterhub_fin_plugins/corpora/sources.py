"""Read the rows that options name: files, files of each part, or rows from memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from adapterhub_fin.plugin import CsvForm, Faults, FilesByPart, files_by_part, memory_rows
from adapterhub_fin_plugins.corpora.records import PART, Record, read_records


def all_records(
    path: FilesByPart | None, data: str | None, faults: Faults, form: CsvForm | None = None
) -> list[Record]:
    """Return the rows in order, with their part where the files say it; a row that can't be read is a fault.

    Raises BadCorpus for a file that can't be read at all, and for rows from memory that this process doesn't hold.
    """
    if path is None:
        return [Record(cells, "data", number, "row") for number, cells in enumerate(memory_rows(str(data)).rows, 1)]
    files = files_by_part(path)
    records: list[Record] = []
    for number, ((file, part), called) in enumerate(zip(files, _called([file for file, _ in files]), strict=True)):
        cells = {} if part is None else {PART: part}
        records += [
            replace(record, source=called, cells={**record.cells, **cells})
            for record in read_records(file, faults, form, number)
        ]
    return records


def _called(files: Sequence[Path]) -> list[str]:
    """Return what each file is called in messages: its name, or its path where two files have one name."""
    names = Counter(file.name for file in files)
    return [file.name if names[file.name] == 1 else str(file) for file in files]
