"""Take in rows that other code holds: a table of pandas, polars, pyarrow or datasets, or a list of dicts.

A recipe names them by the digest of their rows, which is what a version records. They stay in memory as long as a
recipe with them does; a run keeps them in its folder, so that another process can resume it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Self
from weakref import WeakValueDictionary

from adapterhub_fin.errors import BadCorpus, BadRecipe

PREFIX: Final = "sha256:"
READERS: Final = ("table", "instructions")  # the shipped corpora that read rows from memory, and nothing else as `data`


class MemoryRows(str):
    """Represent rows from memory: a text that is their digest, `sha256:HEX`, and holds them.

    Cells are None, texts, numbers, booleans, lists and mappings; times are texts in ISO 8601 with all their digits.
    """

    rows: Sequence[Mapping[str, Any]]

    @classmethod
    def of(cls, data: Any) -> Self:
        """Return the rows of a table or a list of dicts. Raises BadRecipe for anything else, and for no rows."""
        listed = listed_rows(data)
        if not listed:
            raise BadRecipe("the corpus from memory has no rows: give a table that has some")
        lines = []
        for number, row in enumerate(listed, 1):
            if not isinstance(row, Mapping):
                raise BadRecipe(f"row {number} of the corpus from memory is {type(row).__name__}: give dicts")
            lines.append(_line(row, number))
        return cls.read("\n".join(lines))

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the rows of JSON lines, as `text` writes them."""
        digest = f"{PREFIX}{sha256(text.encode()).hexdigest()}"
        if (rows := _held.get(digest)) is not None:  # else it would go with the newer one
            return rows  # type: ignore[return-value]
        made = cls(digest)
        made.rows = [json.loads(line) for line in text.split("\n")]
        _held[str.__str__(made)] = made  # a plain text as the key: the rows themselves would be kept for ever
        return made

    @property
    def text(self) -> str:
        """Return the rows as JSON lines: the bytes that the digest is of."""
        return "\n".join(_line(row, number) for number, row in enumerate(self.rows, 1))

    def write(self, folder: Path) -> None:
        """Write the rows to the folder of a run, from which `restored` reads them."""
        draft = folder / f"{_file(self)}.draft"
        draft.write_text(self.text, encoding="utf-8")
        draft.replace(folder / _file(self))


_held: WeakValueDictionary[str, MemoryRows] = WeakValueDictionary()


def is_table(value: object) -> bool:
    """Return whether a value holds rows: a table, a data set, or a list of dicts."""
    if isinstance(value, list | tuple):
        return all(isinstance(row, Mapping) for row in value)
    return table_library(value) is not None


def taken_in(corpus: Any) -> Any:
    """Return a corpus of a recipe with its tables replaced by their digests, which hold them; also within a mixture.

    Raises BadRecipe for a table that can't be read.
    """
    if is_table(corpus):
        return {"name": "table", "data": MemoryRows.of(corpus)}
    if not isinstance(corpus, Mapping):
        return corpus
    taken = dict(corpus)
    data, ours = taken.get("data"), taken.get("name", "table") in READERS
    if data is not None and not isinstance(data, str) and (ours or is_table(data)):  # else an option of another corpus
        taken = {"name": "table", **taken, "data": MemoryRows.of(taken["data"])}
    if isinstance(parts := taken.get("corpora"), list | tuple):
        taken["corpora"] = [taken_in(part) for part in parts]
    return taken


def memory_rows(digest: str) -> MemoryRows:
    """Return the rows of a digest that this process holds. Raises BadCorpus if it doesn't."""
    if (rows := _held.get(digest)) is None:
        raise BadCorpus(
            f"the rows {digest[:19]}... came from memory, and this process does not hold them: give them again "
            "(corpus=TABLE)"
        )
    return rows


def digests_in(corpus: Any) -> Iterator[str]:
    """Yield the digests of rows from memory that a corpus of a recipe names, also within a mixture."""
    if isinstance(corpus, Mapping):
        if isinstance(data := corpus.get("data"), str) and data.startswith(PREFIX):
            yield str.__str__(data)
        for inner in corpus.values():
            yield from digests_in(inner)
    elif isinstance(corpus, list | tuple):
        for inner in corpus:
            yield from digests_in(inner)


def restored(corpus: Any, runs: Path) -> list[MemoryRows]:
    """Return the rows from memory that a corpus of a recipe names, from this process or a run's folder under `runs`.

    They stay readable for as long as the list is kept. Rows that are in neither are left out: reading them raises.
    """
    restored_rows = []
    for digest in digests_in(corpus):
        if (rows := _held.get(digest)) is None:
            rows = next(filter(None, (_stored(path, digest) for path in sorted(runs.glob(f"*/{_file(digest)}")))), None)
        if rows is not None:
            restored_rows.append(rows)
    return restored_rows


def _stored(path: Path, digest: str) -> MemoryRows | None:
    """Return the rows of a file; None for one that is gone, or does not hold the rows of the digest."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    same = f"{PREFIX}{sha256(data).hexdigest()}" == digest
    return MemoryRows.read(data.decode()) if same else None


def _file(digest: str) -> str:
    return f"rows-{digest.removeprefix(PREFIX)}.jsonl"


def listed_rows(data: Any) -> list[Any]:
    """Return the rows of a table, a data set or a list. Raises BadRecipe for anything else."""
    kind = table_library(data)
    if kind == "pandas":
        if not data.columns.is_unique:
            twice = sorted({str(name) for name in data.columns[data.columns.duplicated()]})
            raise BadRecipe(f"the table names the column {twice[0]!r} twice: rename one")
        records: list[Any] = data.to_dict("records")
        return records
    if kind == "polars":
        return list(data.to_dicts())
    if kind == "pyarrow":
        return list(data.to_pylist())
    if kind == "datasets":
        return _with_class_names(data)
    if isinstance(data, Iterable) and not isinstance(data, str | bytes | Mapping):
        return list(data)
    raise BadRecipe(
        f"corpus is {type(data).__name__}: give a table of pandas, polars, pyarrow or datasets, a list of dicts, "
        "or the name of a corpus with its options"
    )


def _with_class_names(data: Any) -> list[Any]:
    """Return the rows of a `datasets.Dataset`; the numbers of a ClassLabel become its names, as from a Hub."""
    classes = {name: kind.names for name, kind in data.features.items() if hasattr(kind, "names")}
    return [{**row, **class_names(row, classes)} for row in data.with_format(None)]


def class_names(row: Mapping[str, Any], classes: Mapping[str, Sequence[str]]) -> dict[str, str | None]:
    """Return the names of a row's class numbers; -1 stands for an unpublished label and becomes None."""
    numbers = {column: row[column] for column in classes}
    return {column: None if n is None or n < 0 else classes[column][n] for column, n in numbers.items()}


def table_library(value: Any) -> str | None:
    """Return the library that a table is of, by its type's name: none of them is imported for it; None for the rest."""
    homes = {(cls.__module__.partition(".")[0], cls.__name__) for cls in type(value).__mro__}
    kinds = {"pandas": "DataFrame", "polars": "DataFrame", "pyarrow": "Table", "datasets": "Dataset"}
    return next((library for library, name in kinds.items() if (library, name) in homes), None)


def _line(row: Mapping[str, Any], number: int) -> str:
    cells = {str(name): _plain(cell, f"row {number}, {name}") for name, cell in row.items()}
    return json.dumps(cells, ensure_ascii=False, separators=(",", ":"))


def _plain(cell: Any, where: str) -> Any:
    """Return a cell as JSON has it: missing values as None, dates and times as ISO 8601, arrays as lists."""
    if cell is None or isinstance(cell, str | bool | int):
        return cell if type(cell) in (str, bool, int, type(None)) else _exact(cell)
    if isinstance(cell, float):
        return None if math.isnan(cell) else float(cell)
    if type(cell).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(cell, date):  # also a datetime, and a Timestamp of pandas with its nanoseconds
        return cell.isoformat()
    if isinstance(cell, Decimal):
        return float(cell)
    if isinstance(cell, Mapping):
        return {str(key): _plain(inner, where) for key, inner in cell.items()}
    if isinstance(cell, list | tuple):
        return [_plain(inner, where) for inner in cell]
    if hasattr(cell, "tolist"):  # numpy's scalars and arrays
        return _plain(cell.tolist(), where) if not hasattr(cell, "dtype") or cell.dtype.kind != "M" else str(cell)
    raise BadCorpus(f"{where} is {type(cell).__name__}: give text, numbers, dates, lists or mappings")


def _exact(cell: Any) -> Any:
    return next(kind(cell) for kind in (bool, int, str) if isinstance(cell, kind))
