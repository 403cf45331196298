"""The files of a commit, as a Hub shows them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from adapterhub_fin_registry.errors import Corrupted
from adapterhub_fin_registry.hub_server.repo.card import head_of
from adapterhub_fin_registry.hub_server.repo.folders import Folders
from adapterhub_fin_registry.io.hash_cache import Memory
from adapterhub_fin_registry.io.safe_read import NotRegularError, open_regular
from adapterhub_fin_registry.model.manifest import StoredFile
from adapterhub_fin_registry.model.version import Version
from adapterhub_fin_registry.storage.verify import is_whole
from adapterhub_fin_registry.trust.signatures import MANIFEST

CARD = "README.md"
SIGNATURES = "ahf_signatures/"
_BESIDE = frozenset({CARD, ".gitattributes"})
_LICENSES = frozenset({"LICENSE", "COPYING", "NOTICE"})  # in letters of any case, as people write them


@dataclass(frozen=True)
class Blob:
    """A file's bytes: where they lie, or themselves where they are made here."""

    size: int
    sha256: str
    path: Path | None = None
    data: bytes | None = field(default=None, repr=False)

    @classmethod
    def of(cls, data: bytes) -> Blob:
        """A file that is made here."""
        return cls(len(data), hashlib.sha256(data).hexdigest(), data=data)

    @property
    def pointer_size(self) -> int:
        """The size of the git LFS pointer that stands for the file."""
        return len(_pointer(self))

    @cached_property
    def oid(self) -> str:
        """The git id of that pointer, as every file of a repository is shown to be in LFS.

        So clients know each by its sha256, which the manifest has, and nothing need be hashed for them.
        """
        return git_id(_pointer(self))

    def read(self) -> bytes:
        """The bytes of a small file."""
        return self.data if self.data is not None else self.path.read_bytes() if self.path else b""

    def open(self, memory: Memory) -> BinaryIO:
        """The file, once its bytes were found to be those of its sha256, or unchanged since they were."""
        assert self.path is not None
        try:
            file = open_regular(self.path)
        except (NotRegularError, OSError) as error:
            raise Corrupted(f"{self.path} can't be read ({error.strerror}): restore it from a copy") from error
        try:
            if not is_whole(file, StoredFile(self.path.name, self.size, self.sha256), memory):
                raise Corrupted(f"{self.path} has other bytes than it should: restore it from a copy")
            file.seek(0)
        except BaseException:
            file.close()
            raise
        return file


@dataclass(frozen=True)
class Commit:
    """One state of a repository; `manifest` is the one that a draft would be stored by, once it is whole."""

    id: str
    files: Mapping[str, Blob]
    version: Version | None = None
    title: str = ""
    message: str = ""
    author: str = ""
    date: str = ""
    manifest: Path | None = None

    @cached_property
    def folders(self) -> Folders:
        """Index the paths for listings; a commit doesn't change, so that this is done once for all who read it."""
        return Folders({path: blob.oid for path, blob in self.files.items()})

    @cached_property
    def card(self) -> dict[str, Any]:
        """The metadata of its card; none where the card can't be read."""
        if CARD not in self.files:
            return {}
        try:
            return head_of(self.files[CARD].read().decode(errors="replace"))
        except ValueError:
            return {}


def git_id(data: bytes) -> str:
    """The id that git gives a file of these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def version_files(version: Version) -> dict[str, Blob]:
    """A version's own files, its manifest and its signatures, by path."""
    files = {
        path: Blob(size, sha256, version.files / path)
        for path, size, sha256 in version.plain(lambda data: [tuple(row) for row in data["files"]])
    }
    files[MANIFEST] = Blob.of(version.manifest_bytes)
    return files | _signatures(version)


def is_beside(path: str) -> bool:
    """Whether a file is a repository's and no part of any version: its card, its license, what git reads."""
    return path in _BESIDE or path.upper() in _LICENSES


def is_manifests(path: str) -> bool:
    """Whether a path is that of a manifest or of a signature, which a version brings along."""
    return path == MANIFEST or path.startswith(SIGNATURES)


def _signatures(version: Version) -> dict[str, Blob]:
    from adapterhub_fin_registry.trust.signatures import read_signatures

    if not os.path.lexists(version.folder / "signatures"):
        return {}
    return {SIGNATURES + each.file_name: Blob.of(each.data) for each in read_signatures(version)[0]}


def _pointer(blob: Blob) -> bytes:
    said = f"version https://git-lfs.github.com/spec/v1\noid sha256:{blob.sha256}\nsize {blob.size}\n"
    return said.encode()
