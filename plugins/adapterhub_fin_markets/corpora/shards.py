"""Read a source of documents into shards in the cache: Arrow files that are mapped into memory, not loaded.

A shard is finished when its record, a JSON file, is there; before that it has another name. So reading that is killed
at any moment goes on after the last finished shard. A shard is used while the files that it was made of are the first
files of the source and unchanged: a newer file in the folder costs its own reading alone.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow
from datasets import Dataset
from filelock import FileLock

from adapterhub_fin.plugin import BadCorpus, caches, collected
from adapterhub_fin_markets.corpora.documents import BATCH, DocumentSource, Unit, document_schema, unit_rows

log = logging.getLogger(__name__)
SHARD = 256 << 20  # characters of text


@dataclass(frozen=True)
class Shard:
    """Describe a finished shard: where it ends in its source, and what its file is."""

    units: Sequence[Sequence[Any]]  # marks of the files that it was read from
    first: int  # the number of the first of them
    next_unit: int  # where the next shard begins: a file, and how many of its rows stand in shards already
    next_row: int
    rows: int
    sha256: str
    notes: Mapping[str, int]

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Return a shard's record; None where it is missing or not whole."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None


class Shards:
    """Hold the shards of one source, in a folder that is named by all that its documents depend on."""

    def __init__(self, source: DocumentSource, units: Sequence[Unit], normalised: bool, size: int = SHARD) -> None:
        self.source, self.units, self.normalised, self.size = source, units, normalised, size
        key = {
            "corpus": source.name,
            "version": source.version,
            "options": dict(source.key),
            "roots": sorted({str(unit.root) for unit in units}),
            "normalised": normalised,
            "size": size,
        }
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        self.folder = caches() / "markets" / "corpora" / f"{source.name}-{digest[:16]}"

    def read(self) -> tuple[list[Dataset], dict[str, int]]:
        """Return the shards as tables mapped from their files, read first where they aren't there, and the notes.

        Two processes that ask for the same shards read them once. Raises BadCorpus with all faults of the source, and
        where the cache can't be written.
        """
        try:
            return self._read()
        except OSError as error:
            reason = error.strerror or error
            raise BadCorpus(
                f"corpus {self.source.name}: the cache {self.folder} can't be written ({reason}): make room there, set "
                "AHF_CACHE to another folder, or set sharded: false"
            ) from error

    def _read(self) -> tuple[list[Dataset], dict[str, int]]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(str(self.folder / ".lock")):
            shards = self._finished()
            self._drop_from(len(shards))
            at = (shards[-1].next_unit, shards[-1].next_row) if shards else (0, 0)
            with collected(f"corpus {self.source.name}") as faults:
                writer = _Writer(self, len(shards), at)
                for number in range(at[0], len(self.units)):
                    rows = unit_rows(self.source, self.units[number], self.normalised, writer.notes, faults, number)
                    for row in self._skipped(rows, writer, at[1] if number == at[0] else 0):
                        writer.add(row)
                        if faults.count == 0 and writer.is_full:
                            shards.append(writer.finish(number))
                    writer.end_unit(number)
                if faults.count == 0 and writer.has_news:
                    shards.append(writer.finish(len(self.units)))
                writer.abandon()
        notes: dict[str, int] = {}
        for shard in shards:
            for reason, count in shard.notes.items():
                notes[reason] = notes.get(reason, 0) + count
        return [Dataset.from_file(str(self.arrow(n))) for n, shard in enumerate(shards) if shard.rows], notes

    def _skipped(self, rows: Iterator[dict[str, Any]], writer: _Writer, skip: int) -> Iterator[dict[str, Any]]:
        """Yield the rows after those that earlier shards hold; what was noted up to them is noted there."""
        for _ in range(skip):
            next(rows)
        if skip:
            writer.notes.clear()
        writer.row = skip
        yield from rows

    def arrow(self, number: int) -> Path:
        """Return the path of a shard's Arrow file."""
        return self.folder / f"{number:05}.arrow"

    def record(self, number: int) -> Path:
        """Return the path of a shard's record."""
        return self.folder / f"{number:05}.json"

    def _finished(self) -> list[Shard]:
        """Return the finished shards whose files are the source's, from the first on, each checked by its digest."""
        shards: list[Shard] = []
        while (shard := Shard.read(self.record(len(shards)))) is not None:
            number = len(shards)
            marks = [unit.mark for unit in self.units[shard.first : shard.first + len(shard.units)]]
            if marks != [list(mark) for mark in shard.units]:
                break
            if file_digest(self.arrow(number)) != shard.sha256:
                log.warning("%s is damaged and is read again from its source", self.arrow(number))
                break
            shards.append(shard)
        return shards

    def _drop_from(self, number: int) -> None:
        """Delete the records of shards from a number on, then their files and unfinished ones."""
        for path in sorted(self.folder.glob("*.json"), reverse=True):
            if int(path.stem) >= number:
                path.unlink()
        for path in self.folder.glob("*.arrow*"):
            if path.suffix != ".arrow" or int(path.stem) >= number:
                path.unlink()


class _Writer:
    """Write shards of one source, each in batches under a name that it loses when it is finished."""

    def __init__(self, shards: Shards, number: int, at: tuple[int, int]) -> None:
        self.shards, self.number, self.first = shards, number, at[0]
        self.notes: dict[str, int] = {}
        self.row = 0  # rows of the present file that stand in this shard or in earlier ones
        self._schema = document_schema(shards.source)
        self._begin()

    def _begin(self) -> None:
        self._batch: list[dict[str, Any]] = []
        self._batched = self._written = self._rows = 0
        self._sink: Any = None
        self._stream: Any = None
        self._ended = self.first

    @property
    def _draft(self) -> Path:
        return self.shards.arrow(self.number).with_suffix(".arrow-draft")

    @property
    def is_full(self) -> bool:
        """Return whether the shard has its size."""
        return self._written + self._batched >= self.shards.size

    @property
    def has_news(self) -> bool:
        """Return whether anything was read since the last shard."""
        return self._rows > 0 or self._ended > self.first or any(self.notes.values())

    def add(self, row: dict[str, Any]) -> None:
        self._batch.append(row)
        self._batched += len(row["text"])
        self._rows += 1
        self.row += 1
        if self._batched >= BATCH:
            self._flush()

    def end_unit(self, number: int) -> None:
        self._ended, self.row = number + 1, 0

    def _flush(self) -> None:
        if self._stream is None:
            self._sink = pyarrow.OSFile(str(self._draft), "wb")
            self._stream = pyarrow.ipc.new_stream(self._sink, self._schema)
        if self._batch:
            self._stream.write_batch(pyarrow.RecordBatch.from_pylist(self._batch, self._schema))
        self._written += self._batched
        self._batch, self._batched = [], 0

    def finish(self, unit: int) -> Shard:
        """Finish the shard within file number `unit`, or at the end: its file first, then the record."""
        self._flush()
        self._stream.close()
        self._sink.close()
        sync(self._draft)
        at_end = unit >= len(self.shards.units)
        shard = Shard(
            units=[each.mark for each in self.shards.units[self.first : unit if at_end else unit + 1]],
            first=self.first,
            next_unit=unit,
            next_row=0 if at_end else self.row,
            rows=self._rows,
            sha256=file_digest(self._draft) or "",
            notes=dict(self.notes),
        )
        self._draft.replace(self.shards.arrow(self.number))
        record = self.shards.record(self.number)
        draft = record.with_suffix(".arrow-record")
        draft.write_text(json.dumps(shard.__dict__), encoding="utf-8")
        sync(draft)
        draft.replace(record)
        self.number, self.first = self.number + 1, unit
        self.notes.clear()
        self._begin()
        return shard

    def abandon(self) -> None:
        """Close and delete what was not finished."""
        if self._stream is not None:
            self._stream.close()
            self._sink.close()
            self._draft.unlink(missing_ok=True)


def file_digest(path: Path) -> str | None:
    """Return the SHA-256 of a file, read in pieces; None where it can't be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def sync(path: Path) -> None:
    """Write what the system still holds of a file to the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
