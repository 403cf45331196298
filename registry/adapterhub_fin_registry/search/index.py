"""The index of one registry: an SQLite database in the user's cache, never the truth, rebuilt whenever it won't do."""

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
from adapterhub_fin_registry.search.index_update import TABLES, VERSION, fill, is_mended
from adapterhub_fin_registry.storage.name_folder import mark_of

Answer = TypeVar("Answer")
PATIENCE: Final = 10.0  # seconds that another process may write the index before this one builds its own in memory
_DAY: Final = 86_400
_NEEDED: Final = ("PRAGMA temp_store = MEMORY", "PRAGMA cache_size = -65536")


class Index:
    """An index that is brought up to date by each reading.

    The folder holds generations, each a database under a name that no other ever has, and a file `current` that names
    one of them. A rebuild fills a new generation and then renames `current`, so that processes which rebuild at once,
    or read what was just replaced, don't meet. Where the folder can't be written, or the index stays locked, it is
    built in memory, which costs time alone.
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
        """What a function finds in the index, once that is up to date, all of it in one transaction."""
        with self._lock:
            if self._process != os.getpid():  # never a connection from before a fork
                self._connection, self._process = None, os.getpid()
            for connect in (self._kept, self._rebuilt):
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
            # Another process may have done it while this one waited for its turn.
            if not self._is_current(connection):
                fill(connection, self._root)
            return answer(connection)

    def _is_current(self, connection: sqlite3.Connection) -> bool:
        [(version,)] = connection.execute("PRAGMA user_version")
        if version != VERSION:
            raise sqlite3.DatabaseError("the index is of another schema")
        row = connection.execute("SELECT mark FROM state").fetchone()
        return row is not None and row[0] == mark_of(self._root) and not is_mended(connection, self._root)

    def _kept(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        name = self._current.read_text(encoding="ascii", errors="replace")
        path = self._folder / name
        if path.parent != self._folder or not path.is_file():
            raise FileNotFoundError(f"{path} is no index")
        connection = _connected(f"{path.as_uri()}?mode=rw")
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    def _rebuilt(self) -> sqlite3.Connection:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"index-{uuid.uuid4().hex}.sqlite"
        try:
            connection = _connected(path.as_uri())
            # Nobody else sees it yet: what breaks off now is never read.
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
        return self._kept()

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
        """Remove generations that nothing names; a young one may be another process's, still being built."""
        named = {each.read_text(encoding="ascii", errors="replace") for each in self._folder.glob("current-*")}
        for path in self._folder.glob("index-*"):
            with suppress(OSError):
                if path.name.partition("-journal")[0] not in named and path.stat().st_mtime < time.time() - _DAY:
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
    """No search for reference cycles: rows by the ten thousand hold none, and walking them is a tenth of the work."""
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
