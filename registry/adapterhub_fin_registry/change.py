"""One change under one name: something is built apart, then takes its place between two marks."""

from __future__ import annotations

import errno
import getpass
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from adapterhub_fin_registry.canonical import canonical
from adapterhub_fin_registry.disk import Disk
from adapterhub_fin_registry.errors import ReadOnly, WriteFailed
from adapterhub_fin_registry.knowledge import format_instant

_FORBIDDEN: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


class Change:
    """A change that is being made; `built` is the folder to fill, and `folder` that of the name."""

    def __init__(self, disk: Disk, root: Path, folder: Path, workshop: Path) -> None:
        self.disk = disk
        self.root = root
        self.folder = folder
        self.workshop = workshop
        self.built = workshop / "built"

    def append(self, parent: Path, number: int, before: Callable[[int], object] = lambda number: None) -> int:
        """Give what was built the first free number from `number` on, under a parent.

        `before` is told each number just before it is tried, and may give up by raising.
        """
        self._identify()
        self.disk.make(parent)
        before(number)
        self.disk.seal(self.built)
        self._mark()
        while not self.disk.claim(self.built, parent / str(number)):
            number += 1
            before(number)
        # Marked before the fsync, which makes the rename and the marks durable together.
        self._mark()
        self.disk.sync(parent)
        return number

    def place(self, folder: Path, name: str, data: bytes) -> None:
        """Put a file under a name that says what it holds: where one is there already, nothing is left to do."""
        self._identify()
        self.disk.make(folder)
        self.disk.write(self.workshop / name, data)
        self._mark()
        if not self.disk.publish(self.workshop / name, folder / name):
            self.disk.sync(folder)  # another process may have put it there and not come to its fsync
        self._mark()

    def bury(self, version: Path, tombstone: bytes) -> None:
        """Leave a tombstone where a version was: written first, then the rest is removed."""
        self.disk.write(self.workshop / "deleted.json", tombstone)
        self._mark()
        self.disk.publish(self.workshop / "deleted.json", version / "deleted.json")
        for entry in sorted(version.iterdir()):
            if entry.name != "deleted.json":
                self.disk.remove(entry)
        self._mark()
        self.disk.sync(version)

    def _identify(self) -> None:
        # Of processes that write first at the same time, one gives the registry its id.
        identity = self.root / "registry.json"
        if not identity.exists():
            self.disk.write(self.workshop / "registry.json", canonical({"format": 1, "id": str(uuid.uuid4())}))
            self.disk.publish(self.workshop / "registry.json", identity)

    def _mark(self) -> None:
        for folder in (self.folder, self.root):
            self.disk.mark(self.workshop, folder)


@contextmanager
def changing(disk: Disk, root: Path, folder: Path) -> Iterator[Change]:
    """A change whose workshop is gone afterwards, whatever happened; an OSError becomes a WriteFailed."""
    try:
        workshop = disk.begin(root)
        try:
            change = Change(disk, root, folder, workshop)
            disk.make(change.built)
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
    return format_instant(datetime.now(UTC).replace(microsecond=0))


def author() -> str:
    """Who is writing: user@host."""
    try:
        user = getpass.getuser()
    except (ImportError, KeyError, OSError):  # a container's user may have no name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
