"""One change under one name: something is built apart, then takes its place between two marks."""

from __future__ import annotations

import errno
import getpass
import os
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from adapterhub_fin_registry.errors import ReadOnly, Refused, WriteFailed
from adapterhub_fin_registry.io.canonical_json import canonical
from adapterhub_fin_registry.io.clock import read_clock
from adapterhub_fin_registry.io.disk import Disk
from adapterhub_fin_registry.io.safe_read import HIGHEST, numbers, read_object, refuse_links
from adapterhub_fin_registry.model.knowledge import format_instant

_FORBIDDEN: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


class Transaction:
    """A change that is being made; `built` is the folder to fill, and `folder` that of the name."""

    def __init__(self, disk: Disk, root: Path, folder: Path, workshop: Path) -> None:
        self.disk = disk
        self.root = root
        self.folder = folder
        self.workshop = workshop
        self.built = workshop / "built"

    def write(self, path: Path, data: bytes) -> None:
        """Write a file of what is being built, for all who may read under the name."""
        self.disk.write(path, data, self.built)

    def append(self, parent: Path, number: int, before: Callable[[int], object] = lambda number: None) -> int:
        """Give what was built the first free number from `number` on, under a parent.

        `before` is told each number just before it is tried, and may give up by raising. Refused after the highest.
        """
        refuse_links(self.root, parent)
        self.identify()
        self.disk.make(parent, self.built)
        if not numbers(parent):
            self._anchor(parent)
        _check_number(parent, number)
        before(number)
        with self.marked():
            self.disk.seal(self.built)
            while not self.disk.claim(self.built, parent / str(number)):
                number += 1
                _check_number(parent, number)
                before(number)
            self.disk.sync(parent)
        return number

    def place(self, folder: Path, name: str, data: bytes) -> None:
        """Put a file under a name that says what it holds: where one is there already, nothing is left to do."""
        refuse_links(self.root, folder)
        self.identify()
        self.disk.make(folder, self.built)
        self._anchor(folder)
        self.write(self.workshop / name, data)
        with self.marked():
            self.disk.publish(self.workshop / name, folder / name)
            self.disk.sync(folder)  # also where another process put it there, and has not come to its fsync

    def bury(self, version: Path, tombstone: bytes, before: Callable[[], object] = lambda: None) -> None:
        """Leave a tombstone where a version was: written first, then the rest is removed.

        `before` is called just before the tombstone stands, and may give up by raising.
        """
        refuse_links(self.root, version)
        self.write(self.workshop / "deleted.json", tombstone)
        self.disk.sync(version.parent)  # or a power cut could give the number away again
        with self.marked():
            before()
            self.disk.publish(self.workshop / "deleted.json", version / "deleted.json")
            self.clear(version)

    def clear(self, version: Path) -> None:
        """Remove all but the tombstone, once that is sure to stay."""
        refuse_links(self.root, version)
        self.disk.sync(version)
        for entry in sorted(version.iterdir()):
            if entry.name != "deleted.json":
                self.disk.remove(entry)
        self.disk.sync(version)

    @contextmanager
    def marked(self) -> Iterator[None]:
        """A change between two marks, the first of which is empty: no cache takes an empty mark for one it knows.

        The empty mark is durable before the change is made, and the full one follows when the change is durable. So
        whenever the process dies or the power fails, a mark that a cache has seen is one of what it saw.
        """
        for folder in (self.folder, self.root):
            self.disk.mark(self.workshop, folder, "")
            self.disk.sync(folder)
        try:
            yield
        finally:
            for folder in (self.folder, self.root):
                self.disk.mark(self.workshop, folder, uuid.uuid4().hex)

    def rewrite(self, path: Path, data: bytes) -> None:
        """Put a file in the place of another, which only a repair does."""
        refuse_links(self.root, path.parent)
        fresh = self.workshop / path.name
        self.write(fresh, data)
        self.disk.replace(fresh, path)
        self.disk.sync(path.parent)

    def identify(self) -> str:
        """Return the registry's id, which a new one gets now; of several processes that write first, one gives it."""
        identity = self.root / "registry.json"
        if identity.exists():
            return str(read_object(identity).get("id"))
        for folder in self.root.parents:
            if os.access(folder, os.R_OK):  # else it isn't one that was made just now
                self.disk.sync(folder)
        self.write(self.workshop / "registry.json", canonical({"format": 1, "id": str(uuid.uuid4())}))
        self.disk.publish(self.workshop / "registry.json", identity)
        return str(read_object(identity).get("id"))

    def _anchor(self, parent: Path) -> None:
        # Before the first number under a parent: a folder on the way may be another process's, that was killed before
        # its fsync. Where a number is, whoever claimed the first has done this.
        for folder in (parent, *parent.parents):
            self.disk.sync(folder)
            if folder == self.root:
                return


def _check_number(parent: Path, number: int) -> None:
    if number > HIGHEST:  # what was stored there would be in no list
        raise Refused(
            f"{parent} holds the number {HIGHEST}, after which there is none: give that folder a lower one, or store "
            "under another name"
        )


@contextmanager
def changing(disk: Disk, root: Path, folder: Path) -> Iterator[Transaction]:
    """A change whose workshop is gone afterwards, whatever happened; an OSError becomes a WriteFailed.

    Corrupted where a link would lead it out of the root.
    """
    for place in (root / "tmp", folder):
        refuse_links(root, place)
    try:
        workshop = disk.begin(root)
        try:
            change = Transaction(disk, root, folder, workshop)
            disk.make(change.built, next(place for place in (folder, *folder.parents) if place.is_dir()))
            yield change
        finally:
            disk.remove(workshop)
    except OSError as error:
        if error.errno in _FORBIDDEN:
            raise ReadOnly(
                f"the registry at {root} can't be written ({error.strerror}): ask for write access, or set AHF_HOME to "
                "a folder of your own"
            ) from error
        raise WriteFailed(
            f"the registry at {root} could not be written ({error}): free space or mend the disk, then do it again"
        ) from error


def now() -> str:
    """This second, as the registry writes it."""
    return format_instant(read_clock().replace(microsecond=0))


def author() -> str:
    """Who is writing: user@host."""
    try:
        user = getpass.getuser()
    except (ImportError, KeyError, OSError):  # a container's user may have no name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
