"""Read dated texts one at a time, from files that may be larger than memory, or from the table of a corpus."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from adapterhub_fin.engine.data.scan import scan
from adapterhub_fin.engine.data.shards.day_ends import DayEnds
from adapterhub_fin.engine.data.weights import REPEAT
from adapterhub_fin.errors import BadCorpus, BadInstant
from adapterhub_fin.plugin.faults import Faults
from adapterhub_fin.plugin.files import files_by_part
from adapterhub_fin.plugin.instants import read_by
from adapterhub_fin.plugin.interfaces import KnownAt
from adapterhub_fin.plugin.reading import emptied
from adapterhub_fin.plugin.tables import SUFFIXES, TableRow, table_rows
from adapterhub_fin.plugin.texts import MARK, problem

if TYPE_CHECKING:
    from datasets import Dataset

    from adapterhub_fin.recipe.tokenize_recipe import TokenizeRecipe

EMPTY = ("is empty", "is blank")  # what `problem` says of a text that holds nothing
MISSING = "without a text or a date"
STREAMED = tuple(suffix for suffix in SUFFIXES if suffix != ".json")  # a .json file is read into memory as a whole


@dataclass(frozen=True)
class Document:
    """Hold one row of a source: its number from 0 among all rows, and its text with when it could first be read.

    `missing` says that it has no text or no date, where the recipe leaves such rows out.
    """

    row: int
    text: str
    available_at: datetime
    missing: bool = False


class Documents(Protocol):
    """Define a source of dated texts that can be read again from any row on."""

    @property
    def stated(self) -> Sequence[KnownAt]:
        """Return the dates that are stated for rows without dates of their own, with how they are known."""
        ...

    @property
    def license(self) -> str | None:
        """Return the license of the rows, as an SPDX id; None where nobody states it."""
        ...

    def check(self) -> Mapping[str, Any]:
        """Read all rows once; return facts that `read` needs, as JSON. Raises BadCorpus with what is wrong."""
        ...

    def identity(self) -> Mapping[str, Any]:
        """Return what the rows are by content, as JSON, without paths of this machine."""
        ...

    def read(self, facts: Mapping[str, Any], start: int) -> Iterator[Document]:
        """Yield the rows from number `start` on, in the source's order; `facts` are those of `check`."""
        ...


class FileDocuments:
    """Read the rows of files in the order of their names: a row, or a batch of a Parquet file, is in memory."""

    def __init__(self, recipe: TokenizeRecipe) -> None:
        self.recipe = recipe
        self.files = [path for path, _ in files_by_part(tuple(Path(file) for file in recipe.files))]
        for path in self.files:
            if path.suffix.lower() not in STREAMED:
                raise BadCorpus(f"{path.name} can't be read row by row: convert it to one of {', '.join(STREAMED)}")
            if not path.is_file():
                raise BadCorpus(f"{path} is no file: give files, or a glob in quotes")
        self._read = read_by(recipe.date_format)
        self.stated: Sequence[KnownAt] = ()  # each row has a date
        self.license = recipe.license

    def identity(self) -> Mapping[str, Any]:
        """Return the files by name, size and SHA-256."""
        return {"files": [{"name": path.name, **_content(path)} for path in self.files]}

    def check(self) -> Mapping[str, Any]:
        """Return the number of rows and how midnights are read. Raises BadCorpus with up to 20 faults."""
        faults, days, rows = Faults(), DayEnds(self.recipe.timezone), 0
        for file, path in enumerate(self.files):
            for row in table_rows(path, self.recipe.form):
                rows += 1
                if (fault := row.fault or self._fault(row, days)) is not None:
                    faults.add((file, row.number), f"{path.name}, {row.unit} {row.number} {fault}")
        faults.check("tokenize")
        if not rows:
            raise BadCorpus("tokenize: the files have no rows: give files that have some")
        return {"rows": rows, "midnights": days.mode}

    def read(self, facts: Mapping[str, Any], start: int) -> Iterator[Document]:
        """Yield the rows from number `start` on."""
        days, number = DayEnds(self.recipe.timezone, facts["midnights"]), 0
        for path in self.files:
            for row in table_rows(path, self.recipe.form):
                if number >= start:
                    yield self._document(row, number, days)
                number += 1

    def _cells(self, row: TableRow) -> tuple[Any, Any]:
        cells = emptied(row.cells, self.recipe.missing)
        return cells.get(self.recipe.text), cells.get(self.recipe.available_at)

    def _fault(self, row: TableRow, days: DayEnds) -> str | None:
        text, date = self._cells(row)
        if self.recipe.drop_missing and (_has_no_text(text) or _is_missing(date)):
            return None
        for column in (self.recipe.text, self.recipe.available_at):
            if column not in row.cells:
                near = get_close_matches(column, map(str, row.cells), n=1)
                meant = f"; did you mean {near[0]}?" if near else ""
                return f"has no column {column!r}; it has {', '.join(map(str, row.cells))}{meant}"
        if (wrong := problem(text)) is not None:
            return f"{self.recipe.text} {wrong}: mend the row, or set drop_missing: true to leave such rows out"
        if _is_missing(date):
            return (
                f"has no {self.recipe.available_at}: undated text can't be cut at a date; date the row, or set "
                "drop_missing: true to leave such rows out"
            )
        try:
            days.instant(days.add(self._read(date)))
        except BadInstant as error:
            return f"{self.recipe.available_at}: {error}"
        return None

    def _document(self, row: TableRow, number: int, days: DayEnds) -> Document:
        text, date = self._cells(row)
        if _has_no_text(text) or _is_missing(date):
            return Document(number, "", datetime.max.replace(tzinfo=UTC), missing=True)
        return Document(number, str(text).removeprefix(MARK), days.instant(self._read(date)))


class TableDocuments:
    """Read the rows of a corpus, whose table may be mapped from files; one batch is in memory.

    All rows of a table without dates have the one that is stated for it.
    """

    def __init__(
        self, table: Dataset, name: str, stated: Sequence[KnownAt], digest: str, license: str | None = None
    ) -> None:
        """Take a corpus's table, the dates that are stated for its undated rows, and its digest.

        Raises BadCorpus for a table that repeats rows.
        """
        if REPEAT in table.column_names and set(table[REPEAT][:]) != {1}:
            raise BadCorpus(
                f"corpus {name} repeats rows, and shards hold each once: leave repeat out, or pretrain on the corpus"
            )
        self.table, self.name, self.stated, self.digest, self.license = table, name, stated, digest, license

    def identity(self) -> Mapping[str, Any]:
        """Return the corpus's name and the digest of its rows."""
        return {"corpus": self.name, "digest": self.digest}

    def check(self) -> Mapping[str, Any]:
        """Return the number of rows, which the corpus has checked."""
        return {"rows": len(self.table)}

    def read(self, facts: Mapping[str, Any], start: int) -> Iterator[Document]:
        """Yield the rows from number `start` on."""
        dated = "available_at" in self.table.column_names
        columns = ["text", *(["available_at"] if dated else [])]
        number = start
        for batch in scan(self.table.select(range(start, len(self.table))), columns):
            dates: Sequence[Any] = batch["available_at"] if dated else [self.stated[0].at] * len(batch["text"])
            for text, date in zip(batch["text"], dates, strict=True):
                yield Document(number, text, date if date.tzinfo else date.replace(tzinfo=UTC))
                number += 1


def _is_missing(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip()) or cell != cell


def _has_no_text(cell: Any) -> bool:
    """Return whether a cell is empty, or holds nothing to see."""
    return _is_missing(cell) or (isinstance(cell, str) and problem(cell) in EMPTY)


def _content(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return {"bytes": file.tell(), "sha256": digest}
    except OSError as error:
        raise BadCorpus(f"{path} can't be read ({error.strerror}): give the path of a file") from error
