"""Make one change under one name: build it apart, then move it into place between two change marks."""

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
    """Represent a change in progress; `built` is the folder to fill, and `folder` the name's folder."""

    def __init__(self, disk: Disk, root: Path, folder: Path, work_folder: Path) -> None:
        self.disk = disk
        self.root = root
        self.folder = folder
        self.work_folder = work_folder
        self.built = work_folder / "built"

    def write(self, path: Path, data: bytes) -> None:
        """Write a file of what is being built, readable for everyone who may read the name's folder.

        Raises OSError.
        """
        self.disk.write(path, data, self.built)

    def append(self, parent: Path, number: int, before: Callable[[int], object] = lambda number: None) -> int:
        """Move what was built to the first free number from `number` on, under a parent, and return that number.

        `before` is called with each number just before it is tried, and stops the change by raising. Raises Refused
        after the highest number, Corrupted if the parent is reached through a link, and OSError.
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
        """Move a file to a name that is derived from its contents; if that name exists, nothing is left to do.

        Raises Corrupted if the folder is reached through a link, and OSError.
        """
        refuse_links(self.root, folder)
        self.identify()
        self.disk.make(folder, self.built)
        self._anchor(folder)
        self.write(self.work_folder / name, data)
        with self.marked():
            self.disk.publish(self.work_folder / name, folder / name)
            self.disk.sync(folder)  # needed also if another process put it there but has not synced it yet

    def bury(self, version: Path, tombstone: bytes, before: Callable[[], object] = lambda: None) -> None:
        """Leave a tombstone in the place of a version: write the tombstone first, then remove the rest.

        `before` is called just before the tombstone is published, and stops the change by raising. Raises Corrupted if
        the folder is reached through a link, and OSError.
        """
        refuse_links(self.root, version)
        self.write(self.work_folder / "deleted.json", tombstone)
        self.disk.sync(version.parent)  # otherwise the number could be used again after a power cut
        with self.marked():
            before()
            self.disk.publish(self.work_folder / "deleted.json", version / "deleted.json")
            self.clear(version)

    def clear(self, version: Path) -> None:
        """Remove everything but the tombstone, once the tombstone is durable.

        Raises Corrupted if the folder is reached through a link, and OSError.
        """
        refuse_links(self.root, version)
        self.disk.sync(version)
        for entry in sorted(version.iterdir()):
            if entry.name != "deleted.json":
                self.disk.remove(entry)
        self.disk.sync(version)

    @contextmanager
    def marked(self) -> Iterator[None]:
        """Make a change between two marks, the first of which is empty, so that no cache mistakes it for one it knows.

        The empty mark is durable before the change is made, and the new one follows when the change is durable. So if
        the process dies or the power fails, a mark that a cache has seen still stands for the state that the cache saw.
        Raises OSError.
        """
        for folder in (self.folder, self.root):
            self.disk.mark(self.work_folder, folder, "")
            self.disk.sync(folder)
        try:
            yield
        finally:
            for folder in (self.folder, self.root):
                self.disk.mark(self.work_folder, folder, uuid.uuid4().hex)

    def rewrite(self, path: Path, data: bytes) -> None:
        """Replace a file by another.

        Raises Corrupted if its folder is reached through a link, and OSError.
        """
        refuse_links(self.root, path.parent)
        fresh = self.work_folder / path.name
        self.write(fresh, data)
        self.disk.replace(fresh, path)
        self.disk.sync(path.parent)

    def identify(self) -> str:
        """Return the registry's id, and create it if there is none.

        Of several processes that write first, one creates it. Raises Corrupted if `registry.json` can't be read, and
        OSError.
        """
        identity = self.root / "registry.json"
        if identity.exists():
            return str(read_object(identity).get("id"))
        for folder in self.root.parents:
            if os.access(folder, os.R_OK):  # an unreadable folder wasn't created just now
                self.disk.sync(folder)
        self.write(self.work_folder / "registry.json", canonical({"format": 1, "id": str(uuid.uuid4())}))
        self.disk.publish(self.work_folder / "registry.json", identity)
        return str(read_object(identity).get("id"))

    def _anchor(self, parent: Path) -> None:
        # Needed before the first number under a parent: another process may have created a folder on the way and been
        # killed before it synced it. If there is a number, the process that claimed the first one has done this.
        for folder in (parent, *parent.parents):
            self.disk.sync(folder)
            if folder == self.root:
                return


def _check_number(parent: Path, number: int) -> None:
    if number > HIGHEST:  # no list would show a version beyond it
        raise Refused(
            f"{parent} holds the number {HIGHEST}, after which there is none: give that folder a lower one, or store "
            "under another name"
        )


@contextmanager
def changing(disk: Disk, root: Path, folder: Path) -> Iterator[Transaction]:
    """Begin a change and remove its work folder afterwards, whatever happens.

    An OSError becomes ReadOnly if the folder may not be written, else WriteFailed. Raises Corrupted if a link leads out
    of the root.
    """
    for path in (root / "tmp", folder):
        refuse_links(root, path)
    try:
        work_folder = disk.begin(root)
        try:
            change = Transaction(disk, root, folder, work_folder)
            disk.make(change.built, next(path for path in (folder, *folder.parents) if path.is_dir()))
            yield change
        finally:
            disk.remove(work_folder)
    except OSError as error:
        if error.errno in _FORBIDDEN:
            raise ReadOnly(
                f"the registry at {root} can't be written ({error.strerror}): ask for write access, or set AHF_HOME to "
                "a folder of your own"
            ) from error
        raise WriteFailed(
            f"the registry at {root} could not be written ({error}): free space or fix the disk, then do it again"
        ) from error


def now() -> str:
    """Return the current second, in the registry's format. Raises Refused if the clock is wrong."""
    return format_instant(read_clock().replace(microsecond=0))


def author() -> str:
    """Return who is writing, as user@host."""
    try:
        user = getpass.getuser()
    except (ImportError, KeyError, OSError):  # the user of a container may have no name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
