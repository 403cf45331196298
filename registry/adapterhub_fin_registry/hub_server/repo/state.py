"""Store what the server has beyond the registry: drafts, branches, cards, visibility. Losing it loses no version."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import BinaryIO, Final

from adapterhub_fin_registry.errors import Corrupted, Refused, WriteFailed
from adapterhub_fin_registry.hub_server.repo.draft_state import RepositoryState, parse_state
from adapterhub_fin_registry.hub_server.settings import Settings
from adapterhub_fin_registry.io.canonical_json import canonical
from adapterhub_fin_registry.io.disk import Disk
from adapterhub_fin_registry.io.safe_read import read_object
from adapterhub_fin_registry.model.reference import check_name, is_segment
from adapterhub_fin_registry.storage.transaction import now

ABANDONED: Final = Settings.upload_age  # default seconds after which an upload without a commit is removed
READ_ONLY: Final = "read-only"  # while this file exists in the folder, a running server refuses every change


class State:
    """Store one document per repository, and the files that no version has, named by their SHA-256."""

    def __init__(self, folder: Path, disk: Disk | None = None, *, upload_age: float = ABANDONED) -> None:
        self.folder = folder.absolute()
        self.disk = disk or Disk()
        self.upload_age = upload_age  # seconds after which an upload without a commit is removed
        self.changes: Counter[str] = Counter()  # by repository: changes of its files by this process
        self._uploaded_by: dict[tuple[str, str], str] = {}  # the token of a file without a commit
        self.generation = 0  # counts the writes of this process, to invalidate caches over all repositories
        self._read: dict[str, tuple[tuple[int, int, int], RepositoryState]] = {}

    @property
    def is_read_only(self) -> bool:
        """Return whether a running server refuses every change."""
        return (self.folder / READ_ONLY).exists()

    def set_read_only(self, read_only: bool) -> None:
        """Make a running or later server refuse every change, or accept changes again."""
        self.disk.make(self.folder)
        if read_only:
            self.disk.overwrite(self.folder / READ_ONLY, f"{now()}\n".encode())
        else:
            self.disk.remove(self.folder / READ_ONLY)

    def names(self) -> list[str]:
        """Return the names of the repositories that have a document, sorted."""
        root = self.folder / "repositories"
        return sorted(
            f"{path.parent.parent.name}/{path.parent.name}"
            for path in root.glob("*/*/state.json")
            if is_segment(path.parent.name) and is_segment(path.parent.parent.name)
        )

    def read(self, name: str) -> RepositoryState | None:
        """Return the state of a repository; None where it has none. Raises Corrupted for an invalid document."""
        path = self._folder(name) / "state.json"
        try:
            status = path.stat()
        except FileNotFoundError:
            return None
        stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
        cached = self._read.get(name)
        if cached is not None and cached[0] == stamp:
            return cached[1]
        try:
            state = parse_state(read_object(path))
        except FileNotFoundError:
            return None
        except (KeyError, TypeError, ValueError) as error:
            raise Corrupted(f"{path} isn't the state of a repository: remove it; no version is lost by that") from error
        self._read[name] = (stamp, state)
        return state

    def write(self, name: str, state: RepositoryState) -> None:
        """Replace the state of a repository, then remove old files that no commit needs any more."""
        folder = self._folder(name)
        self.disk.make(folder)
        document = asdict(replace(state, created_at=state.created_at or now()))
        self.disk.overwrite(folder / "state.json", canonical(document))
        self.generation += 1
        self._sweep(name, state.hashes)

    def remove(self, name: str) -> None:
        """Delete the state of a repository, with its files."""
        self._read.pop(name, None)
        folder = self._folder(name)
        self.disk.remove(folder / "state.json")  # first: without it nothing refers to the rest
        self.disk.remove(folder)
        self.generation += 1
        self.changes[name] += 1

    def rename(self, name: str, other: str) -> None:
        """Move the state of a repository to an unused name. Raises WriteFailed where the name was taken meanwhile."""
        source, target = self._folder(name), self._folder(other)
        self._read.pop(name, None)
        self.disk.remove(target)  # may be left from an upload to a deleted repository
        self.disk.make(target.parent)
        if not self.disk.claim(source, target):
            raise WriteFailed(f"{target} was taken meanwhile: try again")
        self.disk.sync(target.parent)
        self.disk.sync(source.parent)
        self.generation += 1
        self.changes.update((name, other))

    def blob(self, name: str, sha256: str) -> Path:
        """Return the path of a file that no version has. `name` and `sha256` must be valid."""
        return self._folder(name) / "blobs" / sha256

    def keep(self, name: str, built: Path, sha256: str, by: str = "") -> bool:
        """Move a file that was written and synced to its path; False where it was there already."""
        target = self.blob(name, sha256)
        self.disk.make(target.parent)
        is_new = self.disk.publish(built, target)
        if is_new:
            self._uploaded_by[name, sha256] = by
            self.changes[name] += 1
        else:
            self.renew(name, sha256)
            built.unlink(missing_ok=True)
        self.disk.sync(target.parent)
        return is_new

    def renew(self, name: str, sha256: str) -> None:
        """Reset the age of an uploaded file: a client that learned that it is here will refer to it in a commit."""
        with suppress(OSError):
            os.utime(self.blob(name, sha256))

    def sizes_by_token(self, name: str) -> Counter[str]:
        """Return the bytes stored for a repository by the name of the token that sent them; "" for an unknown one."""
        state, sizes = self.read(name), Counter[str]()
        commits = state.commits[::-1] if state else ()
        author_of = {sha256: commit.author for commit in commits for sha256 in commit.hashes}
        with suppress(FileNotFoundError), os.scandir(self._folder(name) / "blobs") as blobs:
            for blob in blobs:
                with suppress(FileNotFoundError):
                    author = author_of.get(blob.name) or self._uploaded_by.get((name, blob.name), "")
                    sizes[author] += blob.stat().st_size
        return sizes

    def discard(self, name: str, sha256s: Iterable[str]) -> None:
        """Remove files that are not needed here any more, except those that a commit of the state needs."""
        state = self.read(name)
        for sha256 in set(sha256s) - (state.hashes if state else frozenset()):
            self._remove(name, sha256)

    @contextmanager
    def work_folder(self) -> Iterator[Path]:
        """Yield a temporary folder, which is removed afterwards."""
        folder = self.disk.begin(self.folder)
        try:
            yield folder
        finally:
            self.disk.remove(folder)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Lock the folder for this process while the block runs, and remove what a killed server left.

        Raises Refused where another server uses it.
        """
        self.disk.make(self.folder)
        self.disk.restrict(self.folder, 0o700)
        with (self.folder / "lock").open("ab") as lock:
            if not _locked(lock):
                raise Refused(f"another server uses {self.folder}: stop it, or give this one another --state")
            self._tidy()
            yield

    def _tidy(self) -> None:
        self.disk.remove(self.folder / "tmp")
        for name in self.stored_names():
            self.sweep(name)

    def stored_names(self) -> Iterator[str]:
        """Yield every name with files here, also without a document: uploads to a version's or a deleted repository."""
        for folder in sorted((self.folder / "repositories").glob("*/*")):
            if is_segment(folder.name) and is_segment(folder.parent.name):
                yield f"{folder.parent.name}/{folder.name}"

    def sweep(self, name: str) -> None:
        """Remove old uploads to a repository that no commit refers to. Call it only under the write lock."""
        state = self.read(name)
        self._sweep(name, state.hashes if state else frozenset())

    def _sweep(self, name: str, hashes: frozenset[str]) -> None:
        oldest = time.time() - self.upload_age
        for path in sorted((self._folder(name) / "blobs").glob("*")):
            with suppress(FileNotFoundError):
                if path.name not in hashes and path.stat().st_mtime < oldest:
                    self._remove(name, path.name)
        self.changes[name] += 1

    def _remove(self, name: str, sha256: str) -> None:
        self.disk.remove(self.blob(name, sha256))
        self._uploaded_by.pop((name, sha256), None)
        self.changes[name] += 1

    def _folder(self, name: str) -> Path:
        return self.folder.joinpath("repositories", *check_name(name))


def _locked(file: BinaryIO) -> bool:
    """Lock an open file until it is closed or the process ends; False where another process has the lock."""
    if sys.platform == "win32":
        return True  # no reliable lock there: whoever starts the server must start only one
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
