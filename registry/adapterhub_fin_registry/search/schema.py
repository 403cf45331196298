"""The tables of the index."""

from __future__ import annotations

from typing import Final

from adapterhub_fin_registry.search.compiler import INDEXED

VERSION: Final = 2  # to be raised with every change of what is held here: an index of another is left alone
COLUMNS: Final = (
    *("id", "name", "number", "namespace", "digest", "method", "head", "task", "base", "corpus", "license"),
    *("description", "added_by", "seed", "added_at", "knowledge_end", "own_knowledge_end", "yanked"),
    *("setting", "text", "state"),
)
TABLES: Final = f"""
CREATE TABLE state (mark TEXT NOT NULL);
-- A mark of NULL: something under the name can't be read, which is looked at again each time.
CREATE TABLE name (name TEXT PRIMARY KEY, mark TEXT) WITHOUT ROWID;
CREATE TABLE damaged (name TEXT, number INTEGER, reason TEXT NOT NULL, PRIMARY KEY (name, number)) WITHOUT ROWID;
CREATE TABLE version (id INTEGER PRIMARY KEY, {", ".join(COLUMNS[1:])}, UNIQUE (name, number));
CREATE TABLE shown (id INTEGER PRIMARY KEY, row TEXT NOT NULL);
CREATE TABLE path (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE value (owner INTEGER, path INTEGER, value, PRIMARY KEY (owner, path, value)) WITHOUT ROWID;
-- What many versions have in common is kept once: options under negative ids, texts under the rows of `words`.
CREATE TABLE setting (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE);
CREATE TABLE text (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE);
CREATE VIRTUAL TABLE words USING fts5(tags, name, description, method, corpus, base, content='');
"""
# Made after the first filling, which sorts once instead of inserting in the middle.
INDEXES: Final = (
    "CREATE INDEX IF NOT EXISTS value_by_path ON value (path, value, owner)",
    "CREATE INDEX IF NOT EXISTS version_by_setting ON version (setting)",
    "CREATE INDEX IF NOT EXISTS version_by_text ON version (text)",
    *(f"CREATE INDEX IF NOT EXISTS version_by_{column} ON version ({column})" for column in sorted(INDEXED - {"name"})),
)
