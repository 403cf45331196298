"""What a search can ask about: each field's name, the kind of its values, and where the index keeps them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, Literal

Kind = Literal["text", "number", "instant", "truth", "any"]
Home = Literal["version", "setting", "column"]


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
    **{path: Field(path, "text", "setting") for path in ("architecture", "pin", "provider")},
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
