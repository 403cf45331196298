"""Represent a query as a small tree: `parser` builds it from text, and `compiler` turns it into SQL.

The logic has three values: a comparison with a missing field is neither true nor false, and neither is its NOT. A
search finds the versions for which the condition is true.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, Literal

Kind = Literal["text", "number", "instant", "truth", "any"]
Home = Literal["version", "setting", "column"]
Value = str | int | float  # booleans are 0 and 1, instants are microseconds since 1970
Operator = Literal["=", "<", "<=", ">", ">=", "~", "IN"]


@dataclass(frozen=True)
class Field:
    """Represent one field that a query can ask about; `path` is its full name, such as metrics.accuracy.

    Its values are a column of the table of versions, or are stored by path with a version or with a setting (the
    options of method, head and corpus, which many versions share). A set is never missing, but may be empty.
    """

    path: str
    kind: Kind
    home: Home = "column"
    is_set: bool = False


def _columns(kind: Kind, *paths: str) -> dict[str, Field]:
    return {path: Field(path, kind) for path in paths}


FIELDS: Final = {
    **_columns("text", "name", "namespace", "digest", "kind", "method", "head", "task", "base", "corpus", "license"),
    **_columns("text", "description", "added_by"),
    **_columns("number", "version", "seed"),
    **_columns("instant", "added_at", "knowledge_end"),
    **_columns("truth", "yanked"),
    **{path: Field(path, "text", "version", is_set=True) for path in ("alias", "tag", "parent")},
    **{path: Field(path, "text", "setting", is_set=True) for path in ("label", "trait")},
    **{path: Field(path, "text", "setting") for path in ("architecture", "fingerprint", "provider")},
}
RETIRED: Final = {"pin": "fingerprint"}  # renamed before the first release
# Each of these is followed by a dot and a name that depends on the versions.
OPEN: Final[dict[str, tuple[Kind, Home]]] = {
    "metrics": ("number", "version"),
    "eval": ("number", "version"),
    "method": ("any", "setting"),
    "head": ("any", "setting"),
    "corpus": ("any", "setting"),
}
EXAMPLES: Final = {
    "metrics": "metrics.accuracy",
    "eval": "eval.CORPUS.SPLIT.METRIC",
    "method": "method.rank",
    "head": "head.dropout",
    "corpus": "corpus.rows",
}


@dataclass(frozen=True)
class Comparison:
    """Compare a field with values, of which only IN has several; true if any value of the field fits.

    A value of another kind than the one compared with doesn't fit. `!=` is the NOT of `=`.
    """

    field: Field
    operator: Operator
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Phrase:
    """Represent words that occur together, in this order; with `is_prefix`, the last may be the start of a word."""

    text: str
    is_prefix: bool = False


@dataclass(frozen=True)
class Words:
    """Require that each of the phrases occurs in a version's texts; never missing."""

    phrases: tuple[Phrase, ...]


@dataclass(frozen=True)
class Not:
    """Negate a condition, if it isn't missing."""

    condition: Condition


@dataclass(frozen=True)
class All:
    """Require every one of the conditions; without any, it is true."""

    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True)
class Either:
    """Require at least one of the conditions."""

    conditions: tuple[Condition, ...]


Condition = Comparison | Words | Not | All | Either


@dataclass(frozen=True)
class Query:
    """Hold a condition, the field that orders the result (by default name and version), and the limit."""

    condition: Condition = All()
    order: Field | None = None
    is_descending: bool = False
    limit: int | None = None


def pushed_down(condition: Condition, negated: bool = False) -> Condition:
    """Return the same condition with NOT only at its leaves.

    This uses De Morgan's laws, which hold with three values too. The rest of the logic is then two-valued: each leaf,
    with its NOT, is true or isn't.
    """
    if isinstance(condition, Not):
        return pushed_down(condition.condition, not negated)
    if isinstance(condition, All):
        parts = tuple(pushed_down(part, negated) for part in condition.conditions)
        return Either(parts) if negated else All(parts)
    if isinstance(condition, Either):
        parts = tuple(pushed_down(part, negated) for part in condition.conditions)
        return All(parts) if negated else Either(parts)
    return Not(condition) if negated else condition


def conjuncts(condition: Condition) -> list[Condition]:
    """Return the conditions that must all be true, with all words joined into one.

    Full-text search intersects the words faster than SQL.
    """
    flat = list(_flat(condition))
    phrases = tuple(phrase for part in flat if isinstance(part, Words) for phrase in part.phrases)
    rest: list[Condition] = [part for part in flat if not isinstance(part, Words)]
    return [Words(phrases), *rest] if phrases else rest


def fields_of(condition: Condition) -> Iterator[Field]:
    """Yield every field that a condition asks about."""
    if isinstance(condition, Comparison):
        yield condition.field
    elif isinstance(condition, Not):
        yield from fields_of(condition.condition)
    elif isinstance(condition, All | Either):
        for part in condition.conditions:
            yield from fields_of(part)


def field(path: str) -> Field | None:
    """Return the field of a name; None if there is none."""
    if path in FIELDS:
        return FIELDS[path]
    family, dot, rest = path.partition(".")
    if dot and rest and family in OPEN:
        return Field(path, *OPEN[family])
    return None


def near(path: str, indexed: Iterable[str]) -> list[str]:
    """Return up to three names similar to an unknown one, among the fields and the indexed paths."""
    if path in RETIRED:
        return [RETIRED[path]]
    names = {*FIELDS, *indexed}
    # Someone who writes `accuracy` means metrics.accuracy.
    same_end = sorted(name for name in names if name.rpartition(".")[2] == path.rpartition(".")[2])
    similar = get_close_matches(path, sorted(names), n=3)
    return (same_end + [name for name in similar if name not in same_end])[:3]


def _flat(condition: Condition) -> Iterator[Condition]:
    if isinstance(condition, All):
        for part in condition.conditions:
            yield from _flat(part)
    else:
        yield condition
