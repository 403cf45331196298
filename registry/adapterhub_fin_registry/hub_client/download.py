"""Files of a commit, fetched into a folder of this project's cache: hashed, and gone on with where they broke off.

The client's own downloads make paths of what a server answers (a commit, an ETag), compare no bytes, and forget what
they had when they break off. Here the session, the token, the addresses and what is tried again are the client's, and a
path is made of nothing but hashes that were checked and of paths that a version may have.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

from adapterhub_fin_registry.errors import AdapterHubError, Corrupted, WriteFailed
from adapterhub_fin_registry.hub_client.client import Hub, is_passing, status_of, transferring
from adapterhub_fin_registry.hub_client.entry import CacheEntry
from adapterhub_fin_registry.hub_client.progress import bar
from adapterhub_fin_registry.io.cache import caches

_TRIES: Final = 5  # of one file in one call, each of which goes on where the last broke off
_KEPT: Final = 7 * 24 * 3600  # seconds for which what nobody asks for any more is kept


class Download:
    """What is fetched of one commit of a repository."""

    def __init__(self, hub: Hub, repository: str, commit: str) -> None:
        self.hub, self.repository, self.commit = hub, repository, commit

    def folder(self, entries: Sequence[CacheEntry]) -> Path:
        """A folder with these files and no others, which stays for a week; Corrupted for bytes that aren't theirs.

        Their paths are those that a version may have. What came in an earlier call, whole or in part, isn't fetched
        again, nor what lies in the client's own cache.
        """
        from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

        listed = sorted((entry.path, entry.size, entry.oid) for entry in entries)
        root = caches() / "downloads"
        place = root / hashlib.sha256(json.dumps(listed).encode()).hexdigest()
        with _writing(root):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.utime(place)
            _sweep(root)
        with WeakFileLock(place.with_suffix(".lock")):  # whoever waits finds the files
            for entry in entries:
                with _writing(root):
                    (place / entry.path).parent.mkdir(parents=True, exist_ok=True)
                self._complete(entry, place / entry.path)
        return place

    def content(self, entry: CacheEntry) -> bytes:
        """The bytes of a small file; Corrupted where they aren't those that the Hub lists."""
        for _ in range(2):
            file = io.BytesIO()
            self._fetch(entry, file)
            if entry.holds(file.getvalue()):
                return file.getvalue()
        raise self._wrong(entry)

    def _complete(self, entry: CacheEntry, target: Path) -> None:
        """Make a file whole; wrong bytes are fetched once more, for a part of them may be from an earlier call."""
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
        """A file in the client's cache, where it is there and its bytes are right."""
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(self.repository, entry.path, revision=self.commit)
        return Path(cached) if isinstance(cached, str) and _is(entry, Path(cached)) else None

    def _fetch(self, entry: CacheEntry, file: BinaryIO) -> None:
        """Append what a file lacks; what breaks off is tried again from there."""
        from huggingface_hub import errors

        what = f"{entry.path} of hf://{self.repository}@{self.commit}"
        with self.hub.asked(what), transferring(), bar(entry.path, entry.size, file.tell()) as shown:
            for tried in range(_TRIES):
                try:
                    self._stream(entry, file, shown)
                    break
                except errors.HTTPError as error:  # type: ignore[attr-defined]
                    refused = isinstance(error, errors.HfHubHTTPError) and not is_passing(status_of(error))
                    if refused or tried + 1 == _TRIES:
                        raise
                    if not isinstance(error, errors.HfHubHTTPError) and file.tell() >= entry.size:
                        break  # all of it came, and only the end of the answer was lost: its hash tells
                    time.sleep(2**tried)  # and not as long as an answer may ask for

    def _stream(self, entry: CacheEntry, file: BinaryIO, shown: Any) -> None:
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
            if answer.status_code != 206:  # all of it, whatever was asked for
                file.seek(0)
                file.truncate()
            for chunk in answer.iter_bytes():
                file.write(chunk)
                shown.update(file.tell() - shown.n)
                if file.tell() > entry.size:  # more than was listed, perhaps without end
                    return

    def _wrong(self, entry: CacheEntry) -> Corrupted:
        return Corrupted(
            f"{entry.path} of hf://{self.repository}@{self.commit} has other bytes than it is listed with: try "
            "again, and tell its owner if it stays so"
        )


def _is(entry: CacheEntry, path: Path) -> bool:
    """Whether a file is there with an entry's bytes."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_size == entry.size and entry.is_of(file)
    except FileNotFoundError:
        return False


def _sweep(root: Path) -> None:
    """Delete what was asked for last more than a week ago."""
    for path in root.iterdir():
        with suppress(OSError):  # another process does the same, or another user left it
            if path.stat().st_mtime < time.time() - _KEPT:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def _writing(place: Path) -> Iterator[None]:
    try:
        yield
    except AdapterHubError:  # of which some are OSErrors too
        raise
    except OSError as error:
        raise WriteFailed(f"{place} can't be written ({error.strerror}): make room there, or set AHF_CACHE") from error
