"""From the tree of a search to SQL over the index: names and values become parameters, never text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from adapterhub_fin_registry.search.query import All, Comparison, Condition, Either, Field, Not, Phrase, Query, Words

INDEXED: Final = frozenset(
    {"digest", "method", "head", "task", "base", "corpus", "license", "name", "added_at", "knowledge_end"}
)
# With a plus SQLite only tests a column: rows come by what `ordered` chose, not by another index and a sort of all.
_TESTED: Final = "+v."
_PATH: Final = "(SELECT id FROM path WHERE name = ?)"


@dataclass(frozen=True)
class Sql:
    """A piece of SQL with its parameters."""

    text: str
    parameters: tuple[Any, ...] = ()


@dataclass(frozen=True)
class After:
    """Where a page ended: the value that orders (None where it is missing), the name and the number."""

    value: Any
    name: str
    number: int


def compiled(condition: Condition) -> Sql:
    """An expression over a row `v` of the versions that is true where the condition is; NOT must be at the leaves."""
    if isinstance(condition, All | Either):
        parts = [compiled(part) for part in condition.conditions]
        word = " AND " if isinstance(condition, All) else " OR "
        text = word.join(part.text for part in parts) or "1"
        return Sql(f"({text})", tuple(value for part in parts for value in part.parameters))
    if isinstance(condition, Not):
        return _leaf(condition.condition, "NOT ", _TESTED)
    return _leaf(condition, "", _TESTED)


def candidates(condition: Condition) -> Sql | None:
    """The ids of the versions of which a condition is true, where an index gives them; else None."""
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


def ordered(query: Query, wanted: Sql, chosen: str | None, has_value: bool, after: After | None) -> Sql:
    """The versions that a page may show, as (id, ordering value, name, number), in order.

    `chosen`, a JSON list of ids, is what to choose from; None means all. Versions that lack the field that orders come
    last, in a second statement: `has_value` says which of the two this is.
    """
    source = "version v" if chosen is None else "json_each(?) c CROSS JOIN version v ON v.id = c.value"
    parameters: list[Any] = [] if chosen is None else [chosen]
    tests, key, direction = [wanted.text], Sql("NULL"), "ASC"
    if query.order is not None:
        key, direction = _key(query.order), "DESC" if query.is_descending else "ASC"
        if has_value and chosen is None and query.order.home == "version":
            # The index of values is in this order already.
            source = f"value o CROSS JOIN version v ON v.id = o.owner AND o.path = {_PATH}"
            parameters, key = [query.order.path], Sql("o.value")
        else:
            tests.append(f"{key.text} IS {'NOT ' if has_value else ''}NULL")
    values = [*wanted.parameters, *(key.parameters if len(tests) > 1 else ())]
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
    # The first test says no more than the second, and lets SQLite begin within its index.
    text = f"{key.text} {further}= ? AND ({key.text} {further} ? OR {behind})"
    return Sql(text, (*key.parameters, after.value, *key.parameters, after.value, after.name, after.number))


def _key(order: Field) -> Sql:
    if order.home == "column":
        return Sql(f"v.{_column(order)}")
    owner = "v.id" if order.home == "version" else "v.setting"
    # An option may hold a list, of which the least counts.
    return Sql(f"(SELECT min(value) FROM value WHERE owner = {owner} AND path = {_PATH})", (order.path,))


def _leaf(condition: Condition, negation: str, row: str) -> Sql:
    if isinstance(condition, Words):
        wanted = " AND ".join(_phrase(phrase) for phrase in condition.phrases)
        return Sql(f"{row}text {negation}IN (SELECT rowid FROM words WHERE words MATCH ?)", (wanted,))
    assert isinstance(condition, Comparison)
    subject = condition.field
    if subject.home == "column":
        test = _test(condition, f"{row}{_column(subject)}")
        return Sql(f"{negation}({test.text})", test.parameters)
    test = _test(condition, "value")
    there = (subject.path,)
    if subject.home == "setting":  # of which there are few, whatever the number of versions
        text = f"{row}setting {negation}IN (SELECT owner FROM value WHERE path = {_PATH} AND {test.text})"
        has_any = f"{row}setting IN (SELECT owner FROM value WHERE path = {_PATH})"
    else:
        text = f"{negation}EXISTS (SELECT 1 FROM value WHERE owner = v.id AND path = {_PATH} AND {test.text})"
        has_any = f"EXISTS (SELECT 1 FROM value WHERE owner = v.id AND path = {_PATH})"
    parameters = (*there, *test.parameters)
    return (
        Sql(f"({text} AND {has_any})", (*parameters, *there))
        if negation and not subject.is_set
        else Sql(text, parameters)
    )


def _phrase(phrase: Phrase) -> str:
    # FTS5's own quoting; a NUL would end its query.
    return '"' + phrase.text.replace('"', '""').replace("\0", " ") + '"' + ("*" if phrase.is_prefix else "")


def _test(condition: Comparison, value: str) -> Sql:
    operator, wanted = condition.operator, condition.values
    if operator == "IN":
        return Sql(f"{value} IN ({', '.join('?' * len(wanted))})", wanted)
    if operator == "~":
        return Sql(f"holds({value}, ?)", (str(wanted[0]).casefold(),))
    text = f"{value} {operator} ?"
    if condition.field.kind == "any" and operator != "=":
        # SQLite puts every number before every text: only values of the kind asked for are compared.
        text += f" AND {value} >= ''" if isinstance(wanted[0], str) else f" AND {value} < ''"
    return Sql(text, wanted)


def _column(subject: Field) -> str:
    return "number" if subject.path == "version" else subject.path


def holds(value: object, folded: str) -> bool | None:
    """Whether a text contains a folded one, whatever its case: the function behind `~`."""
    if value is None:
        return None
    return isinstance(value, str) and folded in value.casefold()


def conjunction(parts: Sequence[Sql]) -> Sql:
    """What is true where all of the parts are."""
    return Sql(" AND ".join(part.text for part in parts) or "1", tuple(v for part in parts for v in part.parameters))
