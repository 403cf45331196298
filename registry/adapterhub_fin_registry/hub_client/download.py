"""Download files of a commit into this project's cache: hashes are checked, and interrupted downloads are resumed.

The client's own downloads build paths from a server's answers (a commit, an ETag), don't check the bytes, and start
again after an interruption. Here the client provides the session, the token and the addresses; a path is built only
from checked hashes and from the paths that a version may have.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Self

from adapterhub_fin_registry.errors import AdapterHubError, Corrupted, WriteFailed
from adapterhub_fin_registry.hub_client.client import Hub, is_passing, status_of, transferring
from adapterhub_fin_registry.hub_client.progress import bar
from adapterhub_fin_registry.io.cache import caches

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile

_TRIES: Final = 5  # per file and call; each resumes where the last one stopped
_LIFETIME: Final = 7 * 24 * 3600  # seconds after its last use until a folder is deleted
_CHUNK: Final = 2**20  # bytes
_SHA1: Final = re.compile(r"[0-9a-f]{40}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class CacheEntry:
    """Describe a file of a commit as the Hub lists it.

    `size` is in bytes. `oid` is the git blob id (SHA-1), or the SHA-256 where the file is stored as LFS (`lfs`).
    """

    path: str
    size: int
    oid: str
    lfs: bool

    @classmethod
    def of(cls, listed: RepoFile) -> Self:
        """Return the entry for a file that the client listed. Raises ValueError for an invalid size or id."""
        lfs = listed.lfs is not None
        size, oid = (listed.lfs.size, listed.lfs.sha256) if listed.lfs else (listed.size, listed.blob_id)
        if type(size) is not int or size < 0:
            raise ValueError(f"{listed.path!r} has no size")
        if not (isinstance(oid, str) and (_SHA256 if lfs else _SHA1).fullmatch(oid)):
            raise ValueError(f"{listed.path!r} has no id")
        return cls(listed.path, size, oid, lfs)

    def holds(self, data: bytes) -> bool:
        """Return whether `data` are the bytes of this entry."""
        return self.is_of(io.BytesIO(data))

    def is_of(self, file: BinaryIO) -> bool:
        """Return whether an open file, read from its current position, has the bytes of this entry."""
        digest = hashlib.sha256() if self.lfs else hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)
        size = 0
        while chunk := file.read(_CHUNK):
            size += len(chunk)
            digest.update(chunk)
        return size == self.size and digest.hexdigest() == self.oid


class Download:
    """Download files of one commit of a repository."""

    def __init__(self, hub: Hub, repository: str, commit: str) -> None:
        self.hub, self.repository, self.commit = hub, repository, commit

    def folder(self, entries: Sequence[CacheEntry]) -> Path:
        """Return a folder that contains exactly these files. It stays for a week after its last use.

        The caller has checked that the paths are those that a version may have. Files, or parts of them, that an
        earlier call downloaded or that the client's own cache has are not downloaded again. Raises Corrupted for files
        with other bytes than listed, WriteFailed where the cache can't be written, and what the Hub raises.
        """
        from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

        listed = sorted((entry.path, entry.size, entry.oid) for entry in entries)
        root = caches() / "downloads"
        folder = root / hashlib.sha256(json.dumps(listed).encode()).hexdigest()
        with _writing(root):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.utime(folder)
            _sweep(root)
        with WeakFileLock(folder.with_suffix(".lock")):  # a process that waited finds the files complete
            for entry in entries:
                with _writing(root):
                    (folder / entry.path).parent.mkdir(parents=True, exist_ok=True)
                self._complete(entry, folder / entry.path)
        return folder

    def content(self, entry: CacheEntry) -> bytes:
        """Return the bytes of a small file. Raises Corrupted where they differ from what the Hub lists."""
        for _ in range(2):
            file = io.BytesIO()
            self._fetch(entry, file)
            if entry.holds(file.getvalue()):
                return file.getvalue()
        raise self._wrong(entry)

    def _complete(self, entry: CacheEntry, target: Path) -> None:
        """Complete a file. Wrong bytes are downloaded once more, since a part may come from an earlier call."""
        if _is(entry, target):
            return
        if (cached := self._cached(entry)) is not None:
            with _writing(target):
                shutil.copyfile(cached, target)
            return
        for _ in range(2):
            with _writing(target), target.open("ab") as file:
                if file.tell() >= entry.size:
                    file.seek(0)
                    file.truncate()
                self._fetch(entry, file)
            if _is(entry, target):
                return
            target.unlink()
        raise self._wrong(entry)

    def _cached(self, entry: CacheEntry) -> Path | None:
        """Return the file in the client's cache; None where it isn't there or has other bytes."""
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(self.repository, entry.path, revision=self.commit)
        return Path(cached) if isinstance(cached, str) and _is(entry, Path(cached)) else None

    def _fetch(self, entry: CacheEntry, file: BinaryIO) -> None:
        """Append the bytes that a file lacks; an interrupted download is resumed."""
        from huggingface_hub import errors

        what = f"{entry.path} of hf://{self.repository}@{self.commit}"
        with self.hub.translating_errors(what), transferring(), bar(entry.path, entry.size, file.tell()) as progress:
            for attempt in range(_TRIES):
                try:
                    self._stream(entry, file, progress)
                    break
                except errors.HTTPError as error:  # type: ignore[attr-defined]
                    refused = isinstance(error, errors.HfHubHTTPError) and not is_passing(status_of(error))
                    if refused or attempt + 1 == _TRIES:
                        raise
                    if not isinstance(error, errors.HfHubHTTPError) and file.tell() >= entry.size:
                        break  # every byte arrived before the connection failed; the hash decides
                    time.sleep(2**attempt)  # seconds, whatever the answer's Retry-After says

    def _stream(self, entry: CacheEntry, file: BinaryIO, progress: Any) -> None:
        from huggingface_hub import constants, hf_hub_url
        from huggingface_hub.utils import (  # type: ignore[attr-defined]
            build_hf_headers,
            hf_raise_for_status,
            http_stream_backoff,
        )

        url = hf_hub_url(self.repository, entry.path, revision=self.commit, endpoint=self.hub.endpoint)
        headers = build_hf_headers(token=self.hub.api.token, library_name="adapterhub_fin")
        headers["Accept-Encoding"] = "identity"
        if done := file.tell():
            headers["Range"] = f"bytes={done}-"
        timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
        with http_stream_backoff(
            "GET", url, headers=headers, timeout=timeout, retry_on_exceptions=(), retry_on_status_codes=()
        ) as answer:
            hf_raise_for_status(answer)
            if answer.status_code != 206:  # the server ignored the range and sends the file from its start
                file.seek(0)
                file.truncate()
            for chunk in answer.iter_bytes():
                file.write(chunk)
                progress.update(file.tell() - progress.n)
                if file.tell() > entry.size:  # more than was listed: the answer may be endless
                    return

    def _wrong(self, entry: CacheEntry) -> Corrupted:
        return Corrupted(
            f"{entry.path} of hf://{self.repository}@{self.commit} has other bytes than it is listed with: try "
            "again, and tell its owner if it stays so"
        )


def _is(entry: CacheEntry, path: Path) -> bool:
    """Return whether a file exists and has the bytes of an entry."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_size == entry.size and entry.is_of(file)
    except FileNotFoundError:
        return False


def _sweep(root: Path) -> None:
    """Delete the folders that were last used more than a week ago."""
    for path in root.iterdir():
        with suppress(OSError):  # another process may sweep too, or another user may own it
            if path.stat().st_mtime < time.time() - _LIFETIME:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except AdapterHubError:  # some of which are OSErrors, too
        raise
    except OSError as error:
        raise WriteFailed(f"{path} can't be written ({error.strerror}): make room there, or set AHF_CACHE") from error
