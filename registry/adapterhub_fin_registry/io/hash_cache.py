"""What was hashed before, remembered in the user's cache: a file that is as it was then need not be read again.

A file counts as unchanged while its device, inode, size, mtime and ctime are what they were; ctime can't be put back
by whoever changes a file. The memory is never the truth: without it, or with one that can't be used, everything is
hashed. It is no part of the registry, and lies outside it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Final

from adapterhub_fin_registry.errors import Corrupted
from adapterhub_fin_registry.io.cache import cache_folder

# A file that changes again within one tick of its file system's clock, which FAT makes two seconds long, keeps its
# times: what was written just before it was hashed isn't remembered, as git's index has it.
# https://git-scm.com/docs/racy-git
RACY: Final = 2_000_000_000
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS hashed (
    device TEXT, inode TEXT, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, sha256 TEXT NOT NULL,
    PRIMARY KEY (device, inode)
)"""


class Memory:
    """Hashes by the state of the file that they were taken of; without a database it knows nothing."""

    def __init__(self, database: sqlite3.Connection | None = None) -> None:
        self._database = database

    def recall(self, state: os.stat_result) -> str | None:
        """The sha256 of a file that is still in this state."""
        if self._database is None:
            return None
        query = "SELECT size, mtime_ns, ctime_ns, sha256 FROM hashed WHERE device = ? AND inode = ?"
        with suppress(sqlite3.Error):
            row = self._database.execute(query, (str(state.st_dev), str(state.st_ino))).fetchone()
            if row is not None and row[:3] == (state.st_size, state.st_mtime_ns, state.st_ctime_ns):
                return str(row[3])
        return None

    def learn(self, state: os.stat_result, sha256: str, since: int) -> None:
        """Remember a hash that was begun at an instant, in nanoseconds since 1970, of a file in this state."""
        if self._database is None or max(state.st_mtime_ns, state.st_ctime_ns) > since - RACY:
            return
        times = (state.st_size, state.st_mtime_ns, state.st_ctime_ns)
        with suppress(sqlite3.Error, OverflowError):
            self._database.execute(
                "INSERT OR REPLACE INTO hashed VALUES (?, ?, ?, ?, ?, ?)",
                (str(state.st_dev), str(state.st_ino), *times, sha256),
            )


@contextmanager
def remembered(registry: str | None) -> Iterator[Memory]:
    """The memory of the registry with an id; one that can't be opened knows nothing."""
    database = None if registry is None else _open(registry)
    if database is None:
        yield Memory()
        return
    with closing(database):
        yield Memory(database)


def _open(registry: str) -> sqlite3.Connection | None:
    try:
        path = cache_folder(registry) / "hashed.sqlite"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (Corrupted, OSError):
        return None
    for _ in range(2):
        try:
            # Each statement is its own transaction, and nobody waits for another: what is not known is hashed.
            database = sqlite3.connect(path, timeout=0.1, isolation_level=None)
        except sqlite3.Error:
            return None
        try:
            database.execute("PRAGMA synchronous = OFF")
            database.execute(_TABLE)
            return database
        except sqlite3.OperationalError:  # locked, full or read-only
            database.close()
            return None
        except sqlite3.DatabaseError:  # not a database any more: begun again
            database.close()
            with suppress(OSError):
                path.unlink()
    return None
