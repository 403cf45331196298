"""What a search means, as a small tree; `parser` makes it from text, and `compiler` makes SQL of it.

Logic has three values: a comparison with a missing field is neither true nor false, NOT leaves it so, and only what is
true is found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, Literal

Kind = Literal["text", "number", "instant", "truth", "any"]
Home = Literal["version", "setting", "column"]
Value = str | int | float  # truths are 0 and 1, instants are microseconds since 1970
Operator = Literal["=", "<", "<=", ">", ">=", "~", "IN"]


@dataclass(frozen=True)
class Field:
    """One field; `path` is its whole name, such as metrics.accuracy.

    Its values are a column of the table of versions, or lie by path among the values of a version or of a setting (the
    options of method, head and corpus, which many versions share). A set is never missing: it may be empty.
    """

    path: str
    kind: Kind
    home: Home = "column"
    is_set: bool = False


def _columns(kind: Kind, *paths: str) -> dict[str, Field]:
    return {path: Field(path, kind) for path in paths}


FIELDS: Final = {
    **_columns("text", "name", "namespace", "digest", "method", "head", "task", "base", "corpus", "license"),
    **_columns("text", "description", "added_by"),
    **_columns("number", "version", "seed"),
    **_columns("instant", "added_at", "knowledge_end"),
    **_columns("truth", "yanked"),
    **{path: Field(path, "text", "version", is_set=True) for path in ("alias", "tag", "parent")},
    **{path: Field(path, "text", "setting", is_set=True) for path in ("label", "trait")},
    **{path: Field(path, "text", "setting") for path in ("architecture", "fingerprint", "provider")},
}
# Each of these is followed by a dot and a name that the fields don't know beforehand.
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
    """A field against values, of which IN alone has several; true where any of the field's values fits.

    A value of another kind than those asked for doesn't fit. `!=` is the NOT of `=`.
    """

    field: Field
    operator: Operator
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Phrase:
    """Words that stand together, in this order; of a prefix, the last may go on."""

    text: str
    is_prefix: bool = False


@dataclass(frozen=True)
class Words:
    """Phrases that each stand in one of a version's texts, one and all; never missing."""

    phrases: tuple[Phrase, ...]


@dataclass(frozen=True)
class Not:
    """The opposite of a condition, where it isn't missing."""

    condition: Condition


@dataclass(frozen=True)
class All:
    """Every one of the conditions; of none, true."""

    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True)
class Either:
    """At least one of the conditions."""

    conditions: tuple[Condition, ...]


Condition = Comparison | Words | Not | All | Either


@dataclass(frozen=True)
class Query:
    """A condition, the field that orders what fits it (else name and version), and how many at most."""

    condition: Condition = All()
    order: Field | None = None
    is_descending: bool = False
    limit: int | None = None


def pushed_down(condition: Condition, negated: bool = False) -> Condition:
    """The same condition with NOT at its leaves alone, by De Morgan's laws, which hold with three values too.

    What is left of the logic is then two-valued: each leaf, with its NOT, is true or it isn't.
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
    """The conditions that must all be true, all words as one: the full text finds what they share faster than SQL."""
    flat = list(_flat(condition))
    phrases = tuple(phrase for part in flat if isinstance(part, Words) for phrase in part.phrases)
    rest: list[Condition] = [part for part in flat if not isinstance(part, Words)]
    return [Words(phrases), *rest] if phrases else rest


def fields_of(condition: Condition) -> Iterator[Field]:
    """Every field that a condition asks about."""
    if isinstance(condition, Comparison):
        yield condition.field
    elif isinstance(condition, Not):
        yield from fields_of(condition.condition)
    elif isinstance(condition, All | Either):
        for part in condition.conditions:
            yield from fields_of(part)


def field(path: str) -> Field | None:
    """The field of a name; None where there is none."""
    if path in FIELDS:
        return FIELDS[path]
    family, dot, rest = path.partition(".")
    if dot and rest and family in OPEN:
        return Field(path, *OPEN[family])
    return None


def near(path: str, indexed: Iterable[str]) -> list[str]:
    """Names like one that isn't a field's, among the fields and the paths that some version has."""
    known = {*FIELDS, *indexed}
    # Who writes `accuracy` means metrics.accuracy.
    ends = sorted(each for each in known if each.rpartition(".")[2] == path.rpartition(".")[2])
    return (ends + [each for each in get_close_matches(path, sorted(known), n=3) if each not in ends])[:3]


def _flat(condition: Condition) -> Iterator[Condition]:
    if isinstance(condition, All):
        for part in condition.conditions:
            yield from _flat(part)
    else:
        yield condition
