"""Answer a search page by page."""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from adapterhub_fin_registry.errors import BadQuery
from adapterhub_fin_registry.model.version_rows import named, rows_table
from adapterhub_fin_registry.search.compiler import After, Sql, candidates, compiled, conjunction, ordered
from adapterhub_fin_registry.search.index import Index
from adapterhub_fin_registry.search.parser import microseconds, parse
from adapterhub_fin_registry.search.query import All, Condition, Query, conjuncts, fields_of, pushed_down

FEW: Final = 1000  # up to this many versions are fetched and then sorted; more are read in order through an index
_FOREIGN: Final = "the cursor isn't one of this search: begin at its first page"


@dataclass(frozen=True)
class Page:
    """Hold some rows of a result in order; `next` is the cursor of the next page, None at the end.

    `damaged` says what is wrong with each version that can't be read, by reference, and with each name or namespace
    that can't be listed; none of them is found.
    """

    rows: list[dict[str, Any]]
    next: str | None
    damaged: dict[str, str]

    def __repr__(self) -> str:
        more = ", and a next page" if self.next else ""
        broken = f", {len(self.damaged):,} damaged" if self.damaged else ""
        return f"<Page of {named(self.rows)}{more}{broken}>"

    def _repr_html_(self) -> str:
        return rows_table(repr(self)[1:-1], self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Cut:
    """Represent a point in time: it admits versions that knew nothing from an instant on.

    `include_base` says whether their base's knowledge counts.
    """

    before: datetime
    include_base: bool
    is_now: bool = False


def search(index: Index | None, text: str, limit: int | None, cursor: str | None, cut: Cut | None) -> Page:
    """Return the page of a query after a cursor, or its first page.

    Without an index it is that of an empty registry. Raises BadQuery if the query, the limit or the cursor isn't valid.
    """
    if limit is not None and limit < 1:
        raise BadQuery(f"a page holds at least one row: give a limit from 1, not {limit}")
    if index is None:
        parse(text)
        return Page([], None, {})
    query = parse(text, lambda: index.read(_paths))
    return index.read(lambda connection: _find(connection, query, limit, cursor, cut, _key(text, cut)))


def _find(
    connection: sqlite3.Connection, query: Query, size: int | None, cursor: str | None, cut: Cut | None, key: str
) -> Page:
    """Return the page of a query after a cursor, or the first; `key` identifies the cursors of this search."""
    after, left = _read_cursor(cursor, key) if cursor is not None else (None, query.limit)
    condition, chosen = _planned(connection, query, cut)
    most = min((bound for bound in (size, left) if bound is not None), default=None)
    matches: list[tuple[int, Any, str, int]] = []
    for has_value in (True, False) if query.order is not None else (True,):
        if after is not None and query.order is not None and has_value and after.value is None:
            continue  # the previous page ended among the versions without the field
        statement = ordered(query, condition, chosen, has_value, after)
        text, parameters = statement.text, statement.parameters
        if most is not None:
            text, parameters = f"{text} LIMIT ?", (*parameters, most + 1 - len(matches))
        matches += connection.execute(text, parameters)
        if most is not None and len(matches) > most:
            break
        after = None
    rows = [
        json.loads(row)
        for id_, *_ in matches[:most]
        for (row,) in connection.execute("SELECT row FROM shown WHERE id = ?", (id_,))
    ]
    more = most is not None and len(matches) > most and (left is None or most < left)
    following = _cursor(After(*matches[most - 1][1:]), key, left and left - most) if more and most else None
    damaged = {
        f"{name}@{number}" if number else name: why  # without a number it is a name or namespace
        for name, number, why in connection.execute("SELECT name, number, reason FROM damaged")
    }
    return Page(rows, following, damaged)


def _paths(connection: sqlite3.Connection) -> list[str]:
    return [path for (path,) in connection.execute("SELECT name FROM path")]


def _key(text: str, cut: Cut | None) -> str:
    """Return a key that all cursors of one search share, and those of other searches don't."""
    moment = "" if cut is None else f"{'now' if cut.is_now else cut.before} {cut.include_base}"
    return hashlib.sha256(f"{text}\0{moment}".encode()).hexdigest()[:16]


def _planned(connection: sqlite3.Connection, query: Query, cut: Cut | None) -> tuple[Sql, str | None]:
    """Return the condition for a version, and the ids to choose from if one of the conditions leaves few."""
    parts = conjuncts(pushed_down(query.condition))
    fixed = []
    if cut is not None:
        column = "knowledge_end" if cut.include_base else "own_knowledge_end"
        fixed.append(Sql(f"v.{column} < ? AND v.yanked = 0", (microseconds(cut.before),)))
    elif all(field.path != "yanked" for field in fields_of(query.condition)):
        fixed.append(Sql("v.yanked = 0"))
    fewest: tuple[int, Condition, set[int]] | None = None
    for part in parts:
        source = candidates(part)
        if source is None:
            continue
        ids = {id_ for (id_,) in connection.execute(f"{source.text} LIMIT {FEW + 1}", source.parameters)}
        if len(ids) <= FEW and (fewest is None or len(ids) < fewest[0]):
            fewest = len(ids), part, ids
    if fewest is not None:
        parts.remove(fewest[1])
    condition = conjunction([*fixed, compiled(All(tuple(parts)))])
    return condition, None if fewest is None else json.dumps(sorted(fewest[2]))


def _cursor(after: After, key: str, left: int | None) -> str:
    document = json.dumps([key, after.value, after.name, after.number, left], separators=(",", ":"))
    return base64.urlsafe_b64encode(document.encode()).decode().rstrip("=")


def _read_cursor(cursor: str, key: str) -> tuple[After, int | None]:
    try:
        search_key, value, name, number, left = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        f"{name}{value}".encode()  # a lone surrogate can't be a parameter
    except (ValueError, TypeError, RecursionError) as error:
        raise BadQuery(_FOREIGN) from error
    is_value = value is None or type(value) in (float, str) or _is_integer(value)
    is_position = type(name) is str and _is_integer(number) and (left is None or (_is_integer(left) and left > 0))
    if search_key != key or not (is_value and is_position):
        raise BadQuery(_FOREIGN)
    return After(value, name, number), left


def _is_integer(value: Any) -> bool:
    return type(value) is int and abs(value) < 2**63  # SQLite's integers
