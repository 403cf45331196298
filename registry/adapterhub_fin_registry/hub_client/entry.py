"""A file of a commit as a Hub lists it, and whether bytes are its own."""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final, Self

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile

_CHUNK: Final = 2**20
_SHA1: Final = re.compile(r"[0-9a-f]{40}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class CacheEntry:
    """A file of a commit: `oid` is git's id, or with `lfs` the sha256, as of what is kept apart as LFS."""

    path: str
    size: int
    oid: str
    lfs: bool

    @classmethod
    def of(cls, listed: RepoFile) -> Self:
        """What the client read of a list; ValueError where its size or its id is none."""
        lfs = listed.lfs is not None
        size, oid = (listed.lfs.size, listed.lfs.sha256) if listed.lfs else (listed.size, listed.blob_id)
        if type(size) is not int or size < 0:
            raise ValueError(f"{listed.path!r} has no size")
        if not (isinstance(oid, str) and (_SHA256 if lfs else _SHA1).fullmatch(oid)):
            raise ValueError(f"{listed.path!r} has no id")
        return cls(listed.path, size, oid, lfs)

    def holds(self, data: bytes) -> bool:
        """Whether these are its bytes."""
        return self.is_of(io.BytesIO(data))

    def is_of(self, file: BinaryIO) -> bool:
        """Whether an open file has its bytes, from where it is on."""
        digest = hashlib.sha256() if self.lfs else hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)
        size = 0
        while chunk := file.read(_CHUNK):
            size += len(chunk)
            digest.update(chunk)
        return size == self.size and digest.hexdigest() == self.oid
