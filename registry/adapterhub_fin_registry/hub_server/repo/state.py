"""What the server keeps beside the registry: drafts, branches, cards, visibility. Losing it loses no version."""

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
from adapterhub_fin_registry.hub_server.repo.draft_state import RepositoryState, parsed
from adapterhub_fin_registry.hub_server.settings import Settings
from adapterhub_fin_registry.io.canonical_json import canonical
from adapterhub_fin_registry.io.disk import Disk
from adapterhub_fin_registry.io.safe_read import read_object
from adapterhub_fin_registry.model.reference import check_name, is_segment
from adapterhub_fin_registry.storage.transaction import now

ABANDONED: Final = Settings.upload_age  # seconds after which an upload that no commit names is removed, by default
READ_ONLY: Final = "read-only"  # a file of the folder that makes a running server refuse every change


class State:
    """The state folder: one document a repository, and the bytes of files that no version holds, by sha256."""

    def __init__(self, folder: Path, disk: Disk | None = None, *, upload_age: float = ABANDONED) -> None:
        self.folder = folder.absolute()
        self.disk = disk or Disk()
        self.upload_age = upload_age  # seconds after which an upload that no commit named is removed
        self.changes: Counter[str] = Counter()  # of each repository by this process, for what is counted of its files
        self._uploaded_by: dict[tuple[str, str], str] = {}  # the token that brought a file, until a commit names it
        self.generation = 0  # counts the writes of this process, for what is cached of all repositories
        self._read: dict[str, tuple[tuple[int, int, int], RepositoryState]] = {}

    @property
    def is_read_only(self) -> bool:
        """Whether the server was told to refuse every change, which may be while it runs."""
        return (self.folder / READ_ONLY).exists()

    def set_read_only(self, read_only: bool) -> None:
        """Tell a server that runs, or will, to refuse every change, or to take them again."""
        self.disk.make(self.folder)
        if read_only:
            self.disk.overwrite(self.folder / READ_ONLY, f"{now()}\n".encode())
        else:
            self.disk.remove(self.folder / READ_ONLY)

    def names(self) -> list[str]:
        """Every repository that has a document."""
        root = self.folder / "repositories"
        return sorted(
            f"{path.parent.parent.name}/{path.parent.name}"
            for path in root.glob("*/*/state.json")
            if is_segment(path.parent.name) and is_segment(path.parent.parent.name)
        )

    def read(self, name: str) -> RepositoryState | None:
        """What is kept of a repository; None where nothing is."""
        path = self._place(name) / "state.json"
        try:
            found = path.stat()
        except FileNotFoundError:
            return None
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        cached = self._read.get(name)
        if cached is not None and cached[0] == stamp:
            return cached[1]
        try:
            state = parsed(read_object(path))
        except FileNotFoundError:
            return None
        except (KeyError, TypeError, ValueError) as error:
            raise Corrupted(f"{path} isn't the state of a repository: remove it; no version is lost by that") from error
        self._read[name] = (stamp, state)
        return state

    def write(self, name: str, state: RepositoryState) -> None:
        """Replace what is kept of a repository, then remove the bytes that nothing names any more."""
        place = self._place(name)
        self.disk.make(place)
        document = asdict(replace(state, created_at=state.created_at or now()))
        self.disk.overwrite(place / "state.json", canonical(document))
        self.generation += 1
        self._sweep(name, state.named)

    def remove(self, name: str) -> None:
        """Forget a repository."""
        self._read.pop(name, None)
        place = self._place(name)
        self.disk.remove(place / "state.json")  # first: without it the rest is nobody's
        self.disk.remove(place)
        self.generation += 1
        self.changes[name] += 1

    def rename(self, name: str, other: str) -> None:
        """Give what is kept of a repository a name under which none is, drafts and all."""
        place, target = self._place(name), self._place(other)
        self._read.pop(name, None)
        self.disk.remove(target)  # an upload to a repository that was deleted meanwhile
        self.disk.make(target.parent)
        if not self.disk.claim(place, target):
            raise WriteFailed(f"{target} was taken meanwhile: try again")
        self.disk.sync(target.parent)
        self.disk.sync(place.parent)
        self.generation += 1
        self.changes.update((name, other))

    def blob(self, name: str, sha256: str) -> Path:
        """Where the bytes of a file lie that no version holds; `name` and `sha256` are of their grammar."""
        return self._place(name) / "blobs" / sha256

    def keep(self, name: str, built: Path, sha256: str, by: str = "") -> bool:
        """Give a file that was written and synced its place under its sha256; False where it was there already."""
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
        """Let a file that was uploaded count as new: whoever was told that it is here will name it in a commit."""
        with suppress(OSError):
            os.utime(self.blob(name, sha256))

    def held(self, name: str) -> Counter[str]:
        """The bytes that lie here for a repository, by the token that brought them; "" where that isn't known."""
        state, found = self.read(name), Counter[str]()
        by = {sha256: commit.author for commit in state.commits[::-1] for sha256 in commit.named} if state else {}
        with suppress(FileNotFoundError), os.scandir(self._place(name) / "blobs") as blobs:
            for blob in blobs:
                with suppress(FileNotFoundError):
                    found[by.get(blob.name) or self._uploaded_by.get((name, blob.name), "")] += blob.stat().st_size
        return found

    def discard(self, name: str, sha256s: Iterable[str]) -> None:
        """Remove the bytes of files that a version holds by now, but for those that a commit of the state names."""
        state = self.read(name)
        for sha256 in set(sha256s) - (state.named if state else frozenset()):
            self._remove(name, sha256)

    @contextmanager
    def workshop(self) -> Iterator[Path]:
        """A folder to build in, gone afterwards."""
        place = self.disk.begin(self.folder)
        try:
            yield place
        finally:
            self.disk.remove(place)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """The folder as this process's own, with what a server left that was killed removed; Refused for a second."""
        self.disk.make(self.folder)
        self.disk.restrict(self.folder, 0o700)
        with (self.folder / "lock").open("ab") as lock:
            if not _locked(lock):
                raise Refused(f"another server uses {self.folder}: stop it, or give this one another --state")
            self._tidy()
            yield

    def _tidy(self) -> None:
        self.disk.remove(self.folder / "tmp")
        for name in self.places():
            self.sweep(name)

    def places(self) -> Iterator[str]:
        """Every name for which something may lie here, also without a document: the registry's own, or deleted."""
        for place in sorted((self.folder / "repositories").glob("*/*")):
            if is_segment(place.name) and is_segment(place.parent.name):
                yield f"{place.parent.name}/{place.name}"

    def sweep(self, name: str) -> None:
        """Remove the uploads to a repository that are old and that no commit names; no commit may be under way."""
        state = self.read(name)
        self._sweep(name, state.named if state else frozenset())

    def _sweep(self, name: str, named: frozenset[str]) -> None:
        oldest = time.time() - self.upload_age
        for path in sorted((self._place(name) / "blobs").glob("*")):
            with suppress(FileNotFoundError):
                if path.name not in named and path.stat().st_mtime < oldest:
                    self._remove(name, path.name)
        self.changes[name] += 1

    def _remove(self, name: str, sha256: str) -> None:
        self.disk.remove(self.blob(name, sha256))
        self._uploaded_by.pop((name, sha256), None)
        self.changes[name] += 1

    def _place(self, name: str) -> Path:
        return self.folder.joinpath("repositories", *check_name(name))


def _locked(file: BinaryIO) -> bool:
    """Lock an open file until it is closed, or its process ends; False where another has it."""
    if sys.platform == "win32":
        return True  # where a file can't be locked for good: one server is then up to whoever starts it
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
