"""Remember the hashes of files in the user's cache, so that unchanged files need not be read again.

A file counts as unchanged while its device, inode, size, mtime and ctime are the same; whoever changes a file can't set
its ctime back. The cache is optional: without it, or if it can't be used, every file is hashed. It lies outside the
registry and is no part of it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Final

from adapterhub_fin_registry.errors import Corrupted
from adapterhub_fin_registry.io.cache import cache_folder

# A file that changes twice within one tick of its file system's clock keeps its times, and FAT's tick is two seconds.
# So a file that was written just before it was hashed isn't remembered, as in git: https://git-scm.com/docs/racy-git
RACY: Final = 2_000_000_000  # nanoseconds
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS hashed (
    device TEXT, inode TEXT, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, sha256 TEXT NOT NULL,
    PRIMARY KEY (device, inode)
)"""


class Memory:
    """Store hashes by the state of the files they were taken of; without a database, store nothing."""

    def __init__(self, database: sqlite3.Connection | None = None) -> None:
        self._database = database

    def recall(self, state: os.stat_result) -> str | None:
        """Return the SHA-256 of a file that is still in this state; None if it isn't known."""
        if self._database is None:
            return None
        query = "SELECT size, mtime_ns, ctime_ns, sha256 FROM hashed WHERE device = ? AND inode = ?"
        with suppress(sqlite3.Error):
            row = self._database.execute(query, (str(state.st_dev), str(state.st_ino))).fetchone()
            if row is not None and row[:3] == (state.st_size, state.st_mtime_ns, state.st_ctime_ns):
                return str(row[3])
        return None

    def learn(self, state: os.stat_result, sha256: str, since: int) -> None:
        """Remember the hash of a file in this state.

        `since` is when hashing began, in nanoseconds since 1970.
        """
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
    """Open the hash cache of a registry, by the registry's id; yield an empty one if it can't be opened."""
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
            # Each statement is its own transaction. Nobody waits for a lock: hashing the file again is always possible.
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
        except sqlite3.DatabaseError:  # the file is damaged: start a new one
            database.close()
            with suppress(OSError):
                path.unlink()
    return None
