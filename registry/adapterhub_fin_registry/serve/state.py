"""What the server keeps beside the registry: drafts, branches, cards, visibility. Losing it loses no version."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Final

from adapterhub_fin_registry.canonical import canonical
from adapterhub_fin_registry.change import now
from adapterhub_fin_registry.disk import Disk
from adapterhub_fin_registry.errors import Corrupted, Refused
from adapterhub_fin_registry.reading import read_object
from adapterhub_fin_registry.reference import check_name, is_segment

KEPT: Final = 32  # pushed commits of a repository that still answer to their id once others replaced them
ABANDONED: Final = 86_400.0  # seconds after which an upload that no commit named is removed
Row = tuple[str, int, str]  # path, size, sha256


@dataclass(frozen=True)
class Pushed:
    """A commit that is more, or less, than a version: a draft, or a version with a card that was pushed.

    `version` is the digest of the version it shows; `on` that of the newest version when it was pushed. `files` are
    those that no version holds.
    """

    id: str
    version: str | None
    on: str | None
    files: tuple[Row, ...]
    title: str = ""
    message: str = ""
    author: str = ""
    date: str = ""


@dataclass(frozen=True)
class RepositoryState:
    """What is known of a repository beside its versions."""

    created_at: str = ""
    private: bool = True
    gated: str | bool = False
    branches: dict[str, str] = field(default_factory=dict)  # the id of a commit by the name of the branch
    commits: tuple[Pushed, ...] = ()

    def commit(self, id_: str) -> Pushed | None:
        """A pushed commit by its id."""
        return next((commit for commit in self.commits if commit.id == id_), None)

    def with_commit(self, branch: str, commit: Pushed, birth: bool) -> RepositoryState:
        """The same with a commit at the tip of a branch; the oldest that nothing names any more are forgotten.

        At a version's birth its own commit is recorded, for its card, and no branch is moved to it.
        """
        branches = {name: id_ for name, id_ in self.branches.items() if name != branch}
        branches |= {} if birth else {branch: commit.id}
        commits = [*(each for each in self.commits if each.id != commit.id), commit]
        loose = [each for each in commits if each.id not in branches.values() and not is_birth(each)]
        forgotten = {each.id for each in loose[:-KEPT]}
        kept = tuple(each for each in commits if each.id not in forgotten)
        return replace(self, branches=branches, commits=kept)


def is_birth(commit: Pushed) -> bool:
    """Whether a pushed commit is that of a version itself."""
    return commit.version is not None and commit.id == version_id(commit.version)


def version_id(digest: str) -> str:
    """The id of a version's commit: of its digest alone, so that it is the same wherever the version is served."""
    return _id({"version": digest})


def pushed_id(version: str | None, on: str | None, files: Iterable[Row]) -> str:
    """The id of a commit that is no version's."""
    return _id({"version": version, "on": on, "files": sorted(files)})


def _id(value: Any) -> str:
    return hashlib.sha256(b"adapterhub_fin commit\0" + canonical(value)).hexdigest()[:40]


class State:
    """The state folder: one document a repository, and the bytes of files that no version holds, by sha256."""

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        self.folder = folder.absolute()
        self.disk = disk or Disk()
        self.generation = 0  # counts the writes of this process, for what is cached of all repositories
        self._locks: dict[str, threading.RLock] = {}
        self._guard = threading.Lock()
        self._read: dict[str, tuple[tuple[int, int, int], RepositoryState]] = {}

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """No other change of a repository meanwhile."""
        with self._guard:
            lock = self._locks.setdefault(name, threading.RLock())
        with lock:
            yield

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
            state = _parsed(read_object(path))
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
        self._sweep(place, {sha256 for commit in state.commits for _, _, sha256 in commit.files})

    def remove(self, name: str) -> None:
        """Forget a repository."""
        self._read.pop(name, None)
        place = self._place(name)
        self.disk.remove(place / "state.json")  # first: without it the rest is nobody's
        self.disk.remove(place)
        self.generation += 1

    def blob(self, name: str, sha256: str) -> Path:
        """Where the bytes of a file lie that no version holds; `name` and `sha256` are of their grammar."""
        return self._place(name) / "blobs" / sha256

    def keep(self, name: str, built: Path, sha256: str) -> None:
        """Give a file that was written and synced its place under its sha256."""
        target = self.blob(name, sha256)
        self.disk.make(target.parent)
        if not self.disk.publish(built, target):
            with suppress(OSError):
                os.utime(target)  # named again: it counts as new
            built.unlink(missing_ok=True)
        self.disk.sync(target.parent)

    def discard(self, name: str, sha256s: Iterable[str]) -> None:
        """Remove the bytes of files that a version holds by now, but for those that a commit of the state names."""
        state = self.read(name)
        named = {row[2] for commit in state.commits for row in commit.files} if state else set()
        for sha256 in set(sha256s) - named:
            self.disk.remove(self.blob(name, sha256))

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
        for name in self.names():
            state = self.read(name)
            if state is not None:
                self._sweep(self._place(name), {row[2] for commit in state.commits for row in commit.files})

    def _sweep(self, place: Path, named: set[str]) -> None:
        oldest = time.time() - ABANDONED
        for path in sorted((place / "blobs").glob("*")):
            with suppress(FileNotFoundError):
                if path.name not in named and path.stat().st_mtime < oldest:
                    self.disk.remove(path)

    def _place(self, name: str) -> Path:
        return self.folder.joinpath("repositories", *check_name(name))


class BlobWriter:
    """A file that is being received: hashed as it is written, and refused beyond its limit."""

    def __init__(self, workshop: Path) -> None:
        self.path = workshop / uuid.uuid4().hex
        self.size = 0
        self._digest = hashlib.sha256()
        self._file: BinaryIO = self.path.open("xb")

    def write(self, data: bytes) -> None:
        """Append some bytes."""
        self._file.write(data)
        self._digest.update(data)
        self.size += len(data)

    def finish(self) -> str:
        """Make the file durable and give its sha256."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return self._digest.hexdigest()

    def close(self) -> None:
        """Let the file go, whole or not."""
        self._file.close()


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


def _parsed(document: dict[str, Any]) -> RepositoryState:
    commits = tuple(
        Pushed(**{**each, "files": tuple((str(path), int(size), str(sha256)) for path, size, sha256 in each["files"])})
        for each in document["commits"]
    )
    branches = {str(name): str(id_) for name, id_ in document["branches"].items()}
    json.dumps(document["gated"])
    return RepositoryState(str(document["created_at"]), bool(document["private"]), document["gated"], branches, commits)
