"""Keep a search index of one registry: an SQLite database in the user's cache, rebuilt whenever it can't be used."""

from __future__ import annotations

import gc
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from adapterhub_fin_registry.search.compiler import holds
from adapterhub_fin_registry.search.index_update import TABLES, VERSION, fill, is_repaired
from adapterhub_fin_registry.storage.marks import mark_of

Answer = TypeVar("Answer")
PATIENCE: Final = 10.0  # seconds to wait for another process to write the index before building one in memory
_DAY: Final = 86_400
_NEEDED: Final = ("PRAGMA temp_store = MEMORY", "PRAGMA cache_size = -65536")


class Index:
    """Hold an index that every read brings up to date.

    The folder holds generations, each a database under a name that is never used again, and a file `current` that names
    one of them. A rebuild fills a new generation and then renames `current`, so that processes which rebuild at once,
    or read what was just replaced, don't interfere. If the folder can't be written, or the index stays locked, it is
    built in memory, which only costs time.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self._root, self._folder = root, folder
        self._current = folder / f"current-{VERSION}"
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return Index, (self._root, self._folder)  # a connection stays in its process

    def read(self, answer: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """Bring the index up to date, apply a function to it in one transaction, and return the result.

        Raises sqlite3.Error if even an index in memory fails.
        """
        with self._lock:
            if self._process != os.getpid():  # a connection from before a fork must not be used
                self._connection, self._process = None, os.getpid()
            for connect in (self._current_generation, self._rebuild):
                try:
                    return self._answered(connect(), answer)
                except (sqlite3.Error, OSError) as error:
                    self._connection = None
                    if "locked" in str(error):
                        break
            self._connection = _connected(":memory:")
            _created(self._connection)
            return self._answered(self._connection, answer)

    def _answered(self, connection: sqlite3.Connection, answer: Callable[[sqlite3.Connection], Answer]) -> Answer:
        self._connection = connection
        with _transaction(connection, "BEGIN"):
            if self._is_current(connection):
                return answer(connection)
        with _transaction(connection, "BEGIN IMMEDIATE"):
            # Another process may have updated it while this one waited for the lock.
            if not self._is_current(connection):
                fill(connection, self._root)
            return answer(connection)

    def _is_current(self, connection: sqlite3.Connection) -> bool:
        [(version,)] = connection.execute("PRAGMA user_version")
        if version != VERSION:
            raise sqlite3.DatabaseError("the index is of another schema")
        row = connection.execute("SELECT mark FROM state").fetchone()
        return row is not None and row[0] == mark_of(self._root) and not is_repaired(connection, self._root)

    def _current_generation(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        name = self._current.read_text(encoding="ascii", errors="replace")
        path = self._folder / name
        if path.parent != self._folder or not path.is_file():
            raise FileNotFoundError(f"{path} is no index")
        connection = _connected(f"{path.as_uri()}?mode=rw")
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    def _rebuild(self) -> sqlite3.Connection:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"index-{uuid.uuid4().hex}.sqlite"
        try:
            connection = _connected(path.as_uri())
            # Nobody else sees it yet: if this is interrupted, the file is never read.
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("PRAGMA synchronous = OFF")
            _created(connection)
            with _transaction(connection, "BEGIN"), _nothing_collected():
                fill(connection, self._root)
            connection.close()
            self._publish(path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        self._sweep()
        return self._current_generation()

    def _publish(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        fresh = path.with_suffix(".name")
        fresh.write_text(path.name, encoding="ascii")
        fresh.replace(self._current)

    def _sweep(self) -> None:
        """Remove unused generations; a young one may still be under construction by another process."""
        used = {path.read_text(encoding="ascii", errors="replace") for path in self._folder.glob("current-*")}
        for path in self._folder.glob("index-*"):
            with suppress(OSError):
                if path.name.partition("-journal")[0] not in used and path.stat().st_mtime < time.time() - _DAY:
                    path.unlink()


def _connected(address: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        address, timeout=PATIENCE, isolation_level=None, check_same_thread=False, uri=address.startswith("file:")
    )
    for statement in _NEEDED:
        connection.execute(statement)
    connection.create_function("holds", 2, holds, deterministic=True)
    return connection


def _created(connection: sqlite3.Connection) -> None:
    connection.executescript(TABLES)
    connection.execute(f"PRAGMA user_version = {VERSION}")


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Pause the garbage collector: tens of thousands of rows hold no cycles, and walking them is slow."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
