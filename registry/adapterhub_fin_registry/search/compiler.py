"""Compile a query to SQL over the index.

Names and values become parameters, and never part of the SQL text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from adapterhub_fin_registry.search.query import All, Comparison, Condition, Either, Field, Not, Phrase, Query, Words

INDEXED: Final = frozenset(
    {"digest", "method", "head", "task", "base", "corpus", "license", "name", "added_at", "knowledge_end"}
)
# With a plus, SQLite tests the column without using its index: rows must come in the order that `ordered` chose, not
# through another index followed by a sort.
_TESTED: Final = "+v."
_PATH: Final = "(SELECT id FROM path WHERE name = ?)"


@dataclass(frozen=True)
class Sql:
    """Hold a piece of SQL with its parameters."""

    text: str
    parameters: tuple[Any, ...] = ()


@dataclass(frozen=True)
class After:
    """Mark the end of a page: the ordering value (None if it is missing), the name and the number of its last row."""

    value: Any
    name: str
    number: int


def compiled(condition: Condition) -> Sql:
    """Return an SQL expression over a row `v` of the versions that is true if the condition is.

    NOT must be at the leaves.
    """
    if isinstance(condition, All | Either):
        parts = [compiled(part) for part in condition.conditions]
        word = " AND " if isinstance(condition, All) else " OR "
        text = word.join(part.text for part in parts) or "1"
        return Sql(f"({text})", tuple(value for part in parts for value in part.parameters))
    if isinstance(condition, Not):
        return _leaf(condition.condition, "NOT ", _TESTED)
    return _leaf(condition, "", _TESTED)


def candidates(condition: Condition) -> Sql | None:
    """Return SQL for the ids of the versions for which a condition is true, if an index gives them; else None."""
    if isinstance(condition, Words):
        hits = _leaf(condition, "", "v.")
        return Sql(f"SELECT v.id FROM version v WHERE {hits.text}", hits.parameters)
    if not isinstance(condition, Comparison):
        return None
    subject, test = condition.field, _test(condition, "value")
    if subject.home == "column":
        if subject.path not in INDEXED or condition.operator == "~":
            return None
        hits = _leaf(condition, "", "v.")
        return Sql(f"SELECT v.id FROM version v WHERE {hits.text}", hits.parameters)
    owners = f"SELECT owner FROM value WHERE path = {_PATH} AND {test.text}"
    if subject.home == "setting":
        owners = f"SELECT id FROM version WHERE setting IN ({owners})"
    return Sql(owners, (subject.path, *test.parameters))


def ordered(query: Query, condition: Sql, chosen: str | None, has_value: bool, after: After | None) -> Sql:
    """Return SQL for the versions of a page in order, as (id, ordering value, name, number).

    `condition` is what they must fulfil. `chosen`, a JSON list of ids, is what to choose from; None means all. Versions
    without the ordering field come last, in a second statement: `has_value` says which of the two this is.
    """
    source = "version v" if chosen is None else "json_each(?) c CROSS JOIN version v ON v.id = c.value"
    parameters: list[Any] = [] if chosen is None else [chosen]
    tests, key, direction = [condition.text], Sql("NULL"), "ASC"
    if query.order is not None:
        key, direction = _key(query.order), "DESC" if query.is_descending else "ASC"
        if has_value and chosen is None and query.order.home == "version":
            # The index of values already has this order.
            source = f"value o CROSS JOIN version v ON v.id = o.owner AND o.path = {_PATH}"
            parameters, key = [query.order.path], Sql("o.value")
        else:
            tests.append(f"{key.text} IS {'NOT ' if has_value else ''}NULL")
    values = [*condition.parameters, *(key.parameters if len(tests) > 1 else ())]
    if after is not None:
        beyond = _beyond(key, direction, after)
        tests.append(beyond.text)
        values += beyond.parameters
    order = "v.name, v.number" if query.order is None or not has_value else f"2 {direction}, v.name, v.number"
    text = f"SELECT v.id, {key.text}, v.name, v.number FROM {source} WHERE {' AND '.join(tests)} ORDER BY {order}"
    return Sql(text, (*key.parameters, *parameters, *values))


def _beyond(key: Sql, direction: str, after: After) -> Sql:
    behind = "(v.name, v.number) > (?, ?)"
    if after.value is None:
        return Sql(behind, (after.name, after.number))
    further = ">" if direction == "ASC" else "<"
    # The first test is implied by the second, but lets SQLite start within its index.
    text = f"{key.text} {further}= ? AND ({key.text} {further} ? OR {behind})"
    return Sql(text, (*key.parameters, after.value, *key.parameters, after.value, after.name, after.number))


def _key(order: Field) -> Sql:
    if order.home == "column":
        return Sql(f"v.{_column(order)}")
    owner = "v.id" if order.home == "version" else "v.setting"
    # An option may hold a list, whose least value counts.
    return Sql(f"(SELECT min(value) FROM value WHERE owner = {owner} AND path = {_PATH})", (order.path,))


def _leaf(condition: Condition, negation: str, row: str) -> Sql:
    if isinstance(condition, Words):
        match = " AND ".join(_phrase(phrase) for phrase in condition.phrases)
        return Sql(f"{row}text {negation}IN (SELECT rowid FROM words WHERE words MATCH ?)", (match,))
    assert isinstance(condition, Comparison)
    subject = condition.field
    if subject.home == "column":
        test = _test(condition, f"{row}{_column(subject)}")
        return Sql(f"{negation}({test.text})", test.parameters)
    test = _test(condition, "value")
    path = (subject.path,)
    if subject.home == "setting":  # there are few settings, however many versions there are
        text = f"{row}setting {negation}IN (SELECT owner FROM value WHERE path = {_PATH} AND {test.text})"
        has_any = f"{row}setting IN (SELECT owner FROM value WHERE path = {_PATH})"
    else:
        text = f"{negation}EXISTS (SELECT 1 FROM value WHERE owner = v.id AND path = {_PATH} AND {test.text})"
        has_any = f"EXISTS (SELECT 1 FROM value WHERE owner = v.id AND path = {_PATH})"
    parameters = (*path, *test.parameters)
    return (
        Sql(f"({text} AND {has_any})", (*parameters, *path))
        if negation and not subject.is_set
        else Sql(text, parameters)
    )


def _phrase(phrase: Phrase) -> str:
    # FTS5's own quoting; a NUL would end its query.
    return '"' + phrase.text.replace('"', '""').replace("\0", " ") + '"' + ("*" if phrase.is_prefix else "")


def _test(condition: Comparison, value: str) -> Sql:
    operator, values = condition.operator, condition.values
    if operator == "IN":
        return Sql(f"{value} IN ({', '.join('?' * len(values))})", values)
    if operator == "~":
        return Sql(f"holds({value}, ?)", (str(values[0]).casefold(),))
    text = f"{value} {operator} ?"
    if condition.field.kind == "any" and operator != "=":
        # SQLite orders every number before every text, so only values of the same kind are compared.
        text += f" AND {value} >= ''" if isinstance(values[0], str) else f" AND {value} < ''"
    return Sql(text, values)


def _column(subject: Field) -> str:
    return "number" if subject.path == "version" else subject.path


def holds(value: object, folded: str) -> bool | None:
    """Return whether a text contains a case-folded one, ignoring case: the SQL function behind `~`."""
    if value is None:
        return None
    return isinstance(value, str) and folded in value.casefold()


def conjunction(parts: Sequence[Sql]) -> Sql:
    """Return the AND of some SQL expressions."""
    return Sql(" AND ".join(part.text for part in parts) or "1", tuple(v for part in parts for v in part.parameters))
