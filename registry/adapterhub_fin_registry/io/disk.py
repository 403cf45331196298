"""Make all writes of the registry, in one place, so that tests can replace the disk.

Nothing is visible before it is complete: it is built under ROOT/tmp, every file and folder of it is fsynced, and then
it is renamed into place and the parent folder is fsynced. `storage.transaction` decides the order of the fsyncs. Each
of them is needed: a test fails if one is removed.
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
    """Perform the primitive writes. Each one is done completely or raises OSError."""

    def begin(self, root: Path) -> Path:
        """Create a new folder for this process alone, ROOT/tmp/UUID, and return it. Raises OSError."""
        self.make(root)
        self.make(root / "tmp", root)
        work_folder = root / "tmp" / str(uuid.uuid4())
        work_folder.mkdir(mode=0o700)
        return work_folder

    def make(self, folder: Path, like: Path | None = None) -> None:
        """Create a folder and its missing parents, with the mode of the folder `like` if that is given.

        `seal` and `sync` make them durable. Raises OSError.
        """
        missing = _missing(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if like is not None:
            for created in missing:
                self.share(created, like)

    def copy(self, source: BinaryIO, target: Path, limit: int) -> tuple[int, str]:
        """Copy an open file to a new one, and return the size in bytes and the SHA-256 of the new one.

        Copying stops at the first chunk beyond `limit` bytes; the caller recognizes this by the size and refuses the
        file. Raises OSError.
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
        """Write and fsync a file of something that is still being built, with the mode `like` has for its files.

        Raises OSError.
        """
        with path.open("wb") as writer:
            writer.write(data)
            writer.flush()
            if like is not None:
                self.share(path, like)
            os.fsync(writer.fileno())

    def share(self, new: Path, folder: Path) -> None:
        """Give a new file or folder the mode of a folder, whatever umask its writer has.

        Everyone who may read the folder can then read the new entry. Raises OSError.
        """
        if sys.platform == "win32":  # Windows has no such mode bits
            return
        mode, current = (stat.S_IMODE(path.stat().st_mode) for path in (folder, new))
        if not new.is_dir():
            mode &= 0o664
        if current != mode:
            try:
                new.chmod(mode)
            except OSError as error:
                if error.errno not in _NO_MODES:  # some file systems have one mode for all
                    raise

    def seal(self, folder: Path) -> None:
        """Make every folder of a built tree durable, the deepest first. Raises OSError."""
        for path, _, _ in os.walk(folder, topdown=False):
            self.sync(Path(path))

    def claim(self, built: Path, target: Path) -> bool:
        """Rename a built folder to its target. Returns False if the target exists. Raises OSError."""
        try:
            built.rename(target)
        except OSError as error:
            if error.errno in _TAKEN:
                return False
            raise
        return True

    def publish(self, built: Path, target: Path) -> bool:
        """Move a built file to its target. Returns False if the target exists. Raises OSError."""
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
        """Replace a file outside the registry, such as a lock file, atomically.

        The file holds the old bytes or the new ones, never a part. A link is followed. Raises OSError.
        """
        path = path.resolve()
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            self.write(temporary, data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        self.sync(path.parent)

    def replace(self, built: Path, target: Path) -> None:
        """Rename a built file over another. Raises OSError."""
        built.replace(target)

    def mark(self, work_folder: Path, folder: Path, text: str) -> None:
        """Rewrite the change mark of a folder, by which caches see that something under it changed.

        The bytes aren't fsynced: a power cut may leave an empty mark, which no cache takes for one that it knows.
        Raises OSError.
        """
        fresh = work_folder / "changed"
        fresh.write_text(text, encoding="ascii")
        self.share(fresh, folder)
        fresh.replace(folder / "changed")

    def restrict(self, path: Path, mode: int) -> None:
        """Set the permissions of a file or a folder. Raises OSError."""
        path.chmod(mode)

    def sync(self, folder: Path) -> None:
        """Make the entries of a folder durable. Raises OSError."""
        if sys.platform == "win32":  # Windows can't open a folder, and NTFS journals its entries
            return
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in _NO_FOLDERS:  # some network file systems make entries durable by themselves
                raise
        finally:
            os.close(descriptor)

    def remove(self, tree: Path) -> None:
        """Remove a file, or a folder with everything in it.

        Whatever is gone already is ignored. Raises OSError.
        """
        while os.path.lexists(tree):
            with suppress(FileNotFoundError):  # another process may be removing it too
                if tree.is_dir() and not tree.is_symlink():
                    shutil.rmtree(tree)
                else:
                    tree.unlink()


def _missing(folder: Path) -> list[Path]:
    """Return a folder and its parents, up to the first that exists."""
    return list(takewhile(lambda path: not path.exists(), (folder, *folder.parents)))


def _clone(source: BinaryIO, target: BinaryIO) -> bool:
    """Share the blocks of a file with a new one, where the file system can (btrfs, XFS); return whether it did."""
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        fcntl.ioctl(target.fileno(), _FICLONE, source.fileno())
    except OSError:  # two file systems, or one that can't do it: the bytes are copied instead
        return False
    return True
