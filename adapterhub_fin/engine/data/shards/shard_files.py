"""Write and read a shard: the token ids of documents one after the other, and a record of them in JSON.

A file has another name until it is complete and on the disk. The record is written last: a shard with its record is
finished.
"""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Self

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.errors import Corrupted
from adapterhub_fin_registry.io.canonical_json import canonical, digest_of
from adapterhub_fin_registry.io.disk import Disk
from adapterhub_fin_registry.model.knowledge import format_instant

if TYPE_CHECKING:
    import numpy as np

    from adapterhub_fin.engine.data.shards.documents import Document
else:
    np = Lazy("numpy")

DRAFT: Final = ".draft"
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
DISK: Final = Disk()


@dataclass(frozen=True)
class ShardRecord:
    """Describe a finished shard; numbers of rows are those of the source."""

    recipe: str  # the digest of all that its ids depend on, its rows apart
    number: int
    next_row: int  # where the next shard begins
    documents: int
    tokens: int
    characters: int
    first_available_at: str
    last_available_at: str
    ids: str  # the digest of the file of ids
    texts: str  # the digest of the documents' dates and texts
    left_out: Mapping[str, int]  # why, and how many rows, since the shard before
    offsets: Sequence[int] = field(repr=False)  # (documents + 1,): where each document begins, in tokens
    available_at: Sequence[int] = field(repr=False)  # (documents,): microseconds since 1970, in UTC
    sizes: Sequence[int] = field(repr=False)  # (documents,): the bytes of UTF-8 of each text

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return a shard's record. Raises Corrupted for one that can't be read, and OSError for one that isn't there.

        Its numbers are checked by `TokenShards.verify`.
        """
        try:
            values = json.loads(path.read_bytes())
            if values.pop("digest", None) != digest_of(canonical(values)):
                raise ValueError("its digest is another than it says")
            record = cls(**values)
            for column in (record.offsets, record.available_at, record.sizes):
                array("q", column)  # which refuses what is no list of integers
            if not record.offsets:
                raise ValueError("it has no offsets")
            return record
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            raise Corrupted(f"{path} is no record of a shard ({error}): tokenize again with restart") from error

    def contents(self) -> dict[str, Any]:
        """Return what the shard holds, by digest: ids, texts and dates, not where they come from."""
        columns = canonical([list(self.offsets), list(self.available_at), list(self.sizes)])
        return {"ids": self.ids, "texts": self.texts, "documents": digest_of(columns)}

    def document(self) -> dict[str, Any]:
        """Return the record as JSON, with its own digest."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        plain = {name: list(value) if isinstance(value, array) else value for name, value in values.items()}
        return {**plain, "digest": digest_of(canonical(plain))}


def stem(number: int) -> str:
    """Return the name of a shard's files without their endings."""
    return f"shard-{number:05}"


def ids_path(folder: Path, number: int) -> Path:
    """Return the path of a shard's file of ids."""
    return folder / f"{stem(number)}.bin"


def record_path(folder: Path, number: int) -> Path:
    """Return the path of a shard's record."""
    return folder / f"{stem(number)}.json"


def file_digest(path: Path) -> str:
    """Return `sha256:` and the SHA-256 of a file, read in pieces. Raises OSError."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file under another name, and give it its own when it is on the disk. Raises OSError."""
    draft = path.with_name(path.name + DRAFT)
    DISK.write(draft, data)
    DISK.replace(draft, path)
    DISK.sync(path.parent)


class ShardWriter:
    """Write one shard, document by document; `finish` makes it one, and what isn't finished is written again."""

    def __init__(self, folder: Path, number: int, recipe: str) -> None:
        self.folder, self.number, self.recipe = folder, number, recipe
        self.tokens = self._characters = 0
        self._offsets, self._dates, self._sizes = array("q", [0]), array("q"), array("q")  # eight bytes a number
        self._left_out: Counter[str] = Counter()
        self._ids, self._texts = hashlib.sha256(), hashlib.sha256()
        self._file: BinaryIO | None = None
        self._draft = ids_path(folder, number).with_name(ids_path(folder, number).name + DRAFT)

    @property
    def documents(self) -> int:
        """Return how many documents the shard has so far."""
        return len(self._dates)

    @property
    def left_out(self) -> Mapping[str, int]:
        """Return why rows were left out since the shard before, and how many."""
        return dict(sorted(self._left_out.items()))

    def leave_out(self, reason: str) -> None:
        """Count a row that is not written."""
        self._left_out[reason] += 1

    def add(self, document: Document, ids: np.ndarray) -> None:
        """Write a document's ids, (tokens,). Raises OSError."""
        if self._file is None:
            self._file = self._draft.open("wb")
        data = ids.tobytes()
        self._file.write(data)
        self._ids.update(data)
        self._texts.update(canonical([format_instant(document.available_at), document.text]) + b"\n")
        self.tokens += len(ids)
        self._characters += len(document.text)
        self._offsets.append(self.tokens)
        self._sizes.append(len(document.text.encode()))
        self._dates.append((document.available_at - EPOCH) // MICROSECOND)

    def finish(self, next_row: int) -> ShardRecord:
        """Make the shard durable, its ids first, and return its record. Raises OSError."""
        assert self._file is not None, "a shard has a document"
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        DISK.replace(self._draft, ids_path(self.folder, self.number))
        record = ShardRecord(
            recipe=self.recipe,
            number=self.number,
            next_row=next_row,
            documents=self.documents,
            tokens=self.tokens,
            characters=self._characters,
            first_available_at=_instant_text(min(self._dates)),
            last_available_at=_instant_text(max(self._dates)),
            ids=f"sha256:{self._ids.hexdigest()}",
            texts=f"sha256:{self._texts.hexdigest()}",
            left_out=self.left_out,
            offsets=self._offsets,
            available_at=self._dates,
            sizes=self._sizes,
        )
        write_whole(record_path(self.folder, self.number), canonical(record.document()))
        return record

    def abandon(self) -> None:
        """Close the file of ids; the next run writes it again."""
        if self._file is not None:
            self._file.close()


def _instant_text(microseconds: int) -> str:
    return format_instant(EPOCH + microseconds * MICROSECOND)
