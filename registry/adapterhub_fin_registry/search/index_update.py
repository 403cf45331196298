"""Update the index incrementally: re-read only the names whose change mark differs."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from adapterhub_fin_registry.errors import Corrupted
from adapterhub_fin_registry.search.compiler import INDEXED
from adapterhub_fin_registry.search.index_row import Facts, Pair, setting_values
from adapterhub_fin_registry.search.version_reader import IndexedVersion, VersionReader
from adapterhub_fin_registry.storage.marks import mark_of
from adapterhub_fin_registry.storage.name_folder import NameFolder
from adapterhub_fin_registry.storage.names import closed_namespaces, name_folders, trouble

VERSION: Final = 4  # raise it with every change of what the index stores: an index of another version isn't used
COLUMNS: Final = (
    *("id", "name", "number", "namespace", "digest", "kind", "method", "head", "task", "base", "corpus", "license"),
    *("description", "added_by", "seed", "added_at", "knowledge_end", "own_knowledge_end", "yanked"),
    *("setting", "text", "state"),
)
TABLES: Final = f"""
CREATE TABLE state (mark TEXT NOT NULL);
-- A mark of NULL: something under the name can't be read, so that it is read again each time.
CREATE TABLE name (name TEXT PRIMARY KEY, mark TEXT) WITHOUT ROWID;
CREATE TABLE damaged (name TEXT, number INTEGER, reason TEXT NOT NULL, PRIMARY KEY (name, number)) WITHOUT ROWID;
CREATE TABLE version (id INTEGER PRIMARY KEY, {", ".join(COLUMNS[1:])}, UNIQUE (name, number));
CREATE TABLE shown (id INTEGER PRIMARY KEY, row TEXT NOT NULL);
CREATE TABLE path (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE value (owner INTEGER, path INTEGER, value, PRIMARY KEY (owner, path, value)) WITHOUT ROWID;
-- What many versions share is stored once: options under negative ids, texts under the row ids of `words`.
CREATE TABLE setting (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE);
CREATE TABLE text (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE);
CREATE VIRTUAL TABLE words USING fts5(tags, name, description, method, corpus, base, content='');
"""
# Created after the first fill: sorting once is faster than inserting in the middle.
INDEXES: Final = (
    "CREATE INDEX IF NOT EXISTS value_by_path ON value (path, value, owner)",
    "CREATE INDEX IF NOT EXISTS version_by_setting ON version (setting)",
    "CREATE INDEX IF NOT EXISTS version_by_text ON version (text)",
    *(f"CREATE INDEX IF NOT EXISTS version_by_{column} ON version ({column})" for column in sorted(INDEXED - {"name"})),
)
_NAME: Final = 0  # the number in `damaged` for a problem of a complete name or namespace
_BATCH: Final = 1000
_WORDS: Final = "INSERT INTO words (rowid, tags, name, description, method, corpus, base) VALUES (?, ?, ?, ?, ?, ?, ?)"
_in_order: Final = itemgetter(*COLUMNS)


def fill(connection: sqlite3.Connection, root: Path) -> None:
    """Bring an index up to date, within the caller's transaction.

    Raises sqlite3.Error if the index can't be written, and Corrupted if the namespaces can't be listed.
    """
    # The mark is read first: a change while the rest is read is then noticed the next time.
    current = mark_of(root)
    seen = dict(connection.execute("SELECT name, mark FROM name"))
    filler = _Filler(connection)
    changed, unread = [], []
    for name_folder in name_folders(root):
        marked = mark_of(name_folder.folder)
        if seen.pop(name_folder.name, None) != marked:
            changed.append((name_folder.name, marked))
            unread += filler.unread(name_folder)
    for name in seen:
        filler.forget(name)
    filler.close(closed_namespaces(root))
    filler.read(unread)
    filler.settle(changed)
    filler.flush()
    for statement in INDEXES:
        connection.execute(statement)
    connection.execute("DELETE FROM state")
    connection.execute("INSERT INTO state VALUES (?)", (current,))


def is_repaired(connection: sqlite3.Connection, root: Path) -> bool:
    """Return whether something that could not be read has changed since: a repair by hand leaves no change mark."""
    for name, number, reason in connection.execute("SELECT name, number, reason FROM damaged").fetchall():
        if number == _NAME:
            if trouble(root, name) == reason:
                continue
            return True
        folder = NameFolder(root, name).versions_folder / str(number)
        try:
            VersionReader(name, number, str(folder), []).read()
        except Corrupted as error:
            if os.path.lexists(folder) and str(error) == reason:
                continue
        return True
    return False


class _Filler:
    """Collect rows and insert them by the thousand."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._common = {table: _Common(connection, table) for table in ("path", "setting", "text")}
        [(last,)] = connection.execute("SELECT coalesce(max(id), 0) FROM version")
        self._next = last + 1
        self._versions: list[tuple[Any, ...]] = []
        self._shown: list[tuple[int, str]] = []
        self._values: list[tuple[int, int, str | int | float]] = []
        self._words: list[tuple[int | str, ...]] = []
        self._damaged: list[tuple[str, int, str]] = []

    def unread(self, name_folder: NameFolder) -> list[VersionReader]:
        """Return the versions under a name that must be read; drop those that are gone or changed."""
        indexed = self._indexed(name_folder.name)
        if reason := name_folder.trouble():
            self._damaged.append((name_folder.name, _NAME, reason))
        listed = name_folder.numbers() if reason is None or name_folder.is_listable() else []
        aliases: dict[int, list[str]] = {}
        for alias, number in name_folder.aliases().items():
            aliases.setdefault(number, []).append(alias)
        unread = []
        for number in listed:
            stored = VersionReader(
                name_folder.name, number, f"{name_folder.versions_folder}{os.sep}{number}", aliases.get(number, [])
            )
            if number in indexed and stored.is_known(indexed[number]):
                del indexed[number]
            else:
                unread.append(stored)
        self._drop(gone.id for gone in indexed.values())
        return unread

    def read(self, unread: Sequence[VersionReader]) -> None:
        """Read versions, and record as damaged those that can't be read."""
        for stored in unread:
            try:
                version_facts = stored.read()
            except Corrupted as error:
                self._damaged.append((stored.name, stored.number, str(error)))
                continue
            if version_facts is not None:
                self._add(version_facts)

    def settle(self, changed: Iterable[tuple[str, str]]) -> None:
        """Store the marks of names that were read, except of those with something unreadable."""
        damaged = {name for name, _, _ in self._damaged}
        rows = [(name, None if name in damaged else mark) for name, mark in changed]
        self._connection.executemany("DELETE FROM damaged WHERE name = ?", [(name,) for name, _ in rows])
        self._connection.executemany("INSERT INTO damaged VALUES (?, ?, ?)", self._damaged)
        self._connection.executemany("REPLACE INTO name VALUES (?, ?)", rows)

    def close(self, namespaces: Mapping[str, str]) -> None:
        """Record why namespaces can't be listed."""
        self._connection.execute("DELETE FROM damaged WHERE instr(name, '/') = 0")
        self._damaged += [(namespace, _NAME, reason) for namespace, reason in namespaces.items()]

    def forget(self, name: str) -> None:
        """Drop a name whose folder is gone."""
        self._drop(indexed.id for indexed in self._indexed(name).values())
        for table in ("damaged", "name"):
            self._connection.execute(f"DELETE FROM {table} WHERE name = ?", (name,))

    def flush(self) -> None:
        """Insert what was collected."""
        for common in self._common.values():
            common.flush()
        marks = ", ".join("?" * len(COLUMNS))
        self._connection.executemany(f"INSERT INTO version VALUES ({marks})", self._versions)
        self._connection.executemany("INSERT INTO shown VALUES (?, ?)", self._shown)
        # The list of an option may hold a value twice.
        self._connection.executemany("INSERT OR IGNORE INTO value VALUES (?, ?, ?)", self._values)
        self._connection.executemany(_WORDS, self._words)
        for collected in (self._versions, self._shown, self._values, self._words):
            collected.clear()

    def _indexed(self, name: str) -> dict[int, IndexedVersion]:
        rows = self._connection.execute("SELECT number, id, state FROM version WHERE name = ?", (name,))
        indexed = {number: IndexedVersion(id_, state, []) for number, id_, state in rows}
        aliases = self._connection.execute(
            "SELECT v.number, o.value FROM value o JOIN version v ON v.id = o.owner "
            "WHERE o.path = (SELECT id FROM path WHERE name = 'alias') AND v.name = ? ORDER BY o.value",
            (name,),
        )
        for number, alias in aliases if indexed else ():
            indexed[number].aliases.append(alias)
        return indexed

    def _add(self, version_facts: Facts) -> None:
        id_, self._next = self._next, self._next + 1
        setting, is_new = self._common["setting"].id(version_facts.setting)
        if is_new:
            self._put(-setting, setting_values(version_facts.setting))
        text, is_new = self._common["text"].id("\n".join(version_facts.words))
        if is_new:
            self._words.append((text, *version_facts.words))
        version_facts.columns.update(id=id_, setting=-setting, text=text)
        self._versions.append(_in_order(version_facts.columns))
        self._shown.append((id_, version_facts.row))
        self._put(id_, version_facts.values)
        if len(self._versions) >= _BATCH:
            self.flush()

    def _put(self, owner: int, values: Iterable[Pair]) -> None:
        id_of = self._common["path"].id
        self._values += [(owner, id_of(path)[0], value) for path, value in values]

    def _drop(self, ids: Iterable[int]) -> None:
        listed = [(id_,) for id_ in ids]
        for statement in (
            "DELETE FROM value WHERE owner = ?",
            "DELETE FROM shown WHERE id = ?",
            "DELETE FROM version WHERE id = ?",
        ):
            self._connection.executemany(statement, listed)


class _Common:
    """Store what many versions share once, each with an id."""

    def __init__(self, connection: sqlite3.Connection, table: str) -> None:
        self._connection = connection
        self._column = "name" if table == "path" else "key"
        self._table = table
        self._ids: dict[str, int] = {}
        self._new: list[tuple[int, str]] = []
        [(self._last,)] = connection.execute(f"SELECT coalesce(max(id), 0) FROM {table}")
        self._was_empty = self._last == 0

    def id(self, key: str) -> tuple[int, bool]:
        """Return the id of a key, and whether the key is new."""
        if key in self._ids:
            return self._ids[key], False
        row = None if self._was_empty else self._stored(key)
        if row is None:
            self._last += 1
            self._new.append((self._last, key))
        self._ids[key] = id_ = self._last if row is None else row[0]
        return id_, row is None

    def flush(self) -> None:
        """Insert the new keys."""
        self._connection.executemany(f"INSERT INTO {self._table} VALUES (?, ?)", self._new)
        self._new.clear()

    def _stored(self, key: str) -> tuple[int] | None:
        cursor = self._connection.execute(f"SELECT id FROM {self._table} WHERE {self._column} = ?", (key,))
        row: tuple[int] | None = cursor.fetchone()
        return row
