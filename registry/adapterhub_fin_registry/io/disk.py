"""All writes of the registry, in one place, so that a test can stand in for the disk.

Nothing is visible before it is whole: a thing is built under ROOT/tmp, every file and folder of it fsynced, and then
renamed to its place, whose parent is fsynced. Which fsync comes when is `change`'s business; each that stands there is
one that a test misses.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import sys
import uuid
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import BinaryIO, Final

_CHUNK: Final = 2**20
_TAKEN: Final = frozenset({errno.ENOTEMPTY, errno.EEXIST})
_FICLONE: Final = 0x40049409  # ioctl_ficlone(2)
_NO_FOLDERS: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_NO_MODES: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


class Disk:
    """The primitive writes, each of which is done or raises an OSError."""

    def begin(self, root: Path) -> Path:
        """A new folder of this process alone, ROOT/tmp/UUID."""
        self.make(root)
        self.make(root / "tmp", root)
        workshop = root / "tmp" / str(uuid.uuid4())
        workshop.mkdir(mode=0o700)
        return workshop

    def make(self, folder: Path, like: Path | None = None) -> None:
        """Make a folder with its missing parents, with another's mode; `seal` and `sync` make them durable."""
        missing = _missing(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if like is not None:
            for place in missing:
                self.share(place, like)

    def copy(self, source: BinaryIO, target: Path, limit: int) -> tuple[int, str]:
        """Copy an open file to a new one and give the size and sha256 of what the new one holds.

        Copying ends at the first chunk beyond the limit, so that the size tells the caller to refuse it.
        """
        size, digest = 0, hashlib.sha256()
        with target.open("x+b") as writer:
            cloned = _clone(source, writer)
            reader = writer if cloned else source
            while size <= limit and (chunk := reader.read(_CHUNK)):
                size += len(chunk)
                digest.update(chunk)
                if not cloned:
                    writer.write(chunk)
            writer.flush()
            self.share(target, target.parent)
            os.fsync(writer.fileno())
        return size, digest.hexdigest()

    def write(self, path: Path, data: bytes, like: Path | None = None) -> None:
        """Write a file of something that is still being built, with the mode that a folder has for its files."""
        with path.open("wb") as writer:
            writer.write(data)
            writer.flush()
            if like is not None:
                self.share(path, like)
            os.fsync(writer.fileno())

    def share(self, new: Path, folder: Path) -> None:
        """Give something new the mode of a folder: who may read there reads it, whatever umask its writer has."""
        if sys.platform == "win32":  # which has no such bits
            return
        wanted, found = (stat.S_IMODE(path.stat().st_mode) for path in (folder, new))
        if not new.is_dir():
            wanted &= 0o664
        if found != wanted:
            try:
                new.chmod(wanted)
            except OSError as error:
                if error.errno not in _NO_MODES:  # some file systems have one mode for all
                    raise

    def seal(self, folder: Path) -> None:
        """Make every folder of a built tree durable, the deepest first."""
        for place, _, _ in os.walk(folder, topdown=False):
            self.sync(Path(place))

    def claim(self, built: Path, target: Path) -> bool:
        """Rename a built folder to its place; False where the place is taken."""
        try:
            built.rename(target)
        except OSError as error:
            if error.errno in _TAKEN:
                return False
            raise
        return True

    def publish(self, built: Path, target: Path) -> bool:
        """Move a built file to its place; False where one is there already."""
        try:
            os.link(built, target)
            built.unlink()
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            built.replace(target)
        return True

    def overwrite(self, path: Path, data: bytes) -> None:
        """Replace a file outside the registry, such as a lock file; it holds the old bytes or the new, never a part."""
        path = path.resolve()  # of a link, what it leads to
        draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            self.write(draft, data)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        self.sync(path.parent)

    def replace(self, built: Path, target: Path) -> None:
        """Put a built file in the place of another."""
        built.replace(target)

    def mark(self, workshop: Path, folder: Path, text: str) -> None:
        """Rewrite the mark of a folder, by which caches see that something under it changed.

        Its bytes aren't fsynced: a power cut may leave an empty mark, which is one that was never seen before.
        """
        fresh = workshop / "changed"
        fresh.write_text(text, encoding="ascii")
        self.share(fresh, folder)
        fresh.replace(folder / "changed")

    def restrict(self, path: Path, mode: int) -> None:
        """Give a file or a folder other permissions."""
        path.chmod(mode)

    def sync(self, folder: Path) -> None:
        """Make a folder's entries durable."""
        if sys.platform == "win32":  # where a folder can't be opened, and NTFS journals its entries
            return
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in _NO_FOLDERS:  # some network file systems keep entries without being asked
                raise
        finally:
            os.close(descriptor)

    def remove(self, tree: Path) -> None:
        """Remove a file, or a folder with all it holds; whatever of it is gone already is no error."""
        while os.path.lexists(tree):
            with suppress(FileNotFoundError):  # another process removes it too, and has just been quicker
                if tree.is_dir() and not tree.is_symlink():
                    shutil.rmtree(tree)
                else:
                    tree.unlink()


def _missing(folder: Path) -> list[Path]:
    """A folder and its parents, as far as they aren't there."""
    return list(takewhile(lambda place: not place.exists(), (folder, *folder.parents)))


def _clone(source: BinaryIO, target: BinaryIO) -> bool:
    """Let a new file share the blocks of another, where the file system can (btrfs, XFS)."""
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        fcntl.ioctl(target.fileno(), _FICLONE, source.fileno())
    except OSError:  # not one file system, or one that can't: the bytes are copied instead
        return False
    return True
