"""What two manifests say differently, field by field; tensors are compared by whoever reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from adapterhub_fin_registry.model.version import Version

# Lists of entries that have a name of their own: two of one name are compared, wherever they stand.
_NAMED: Final[Mapping[str, int | str]] = {"files": 0, "knowledge.inputs": "input", "parents": "digest"}
_WHOLE: Final = frozenset({"base.weight_probe"})  # thousands of numbers that say one thing
_APART: Final = frozenset({"tensors"})


class Difference(NamedTuple):
    """One field that differs; a side that lacks it has None, and is not in `sides`."""

    field: str
    a: Any
    b: Any
    sides: str  # "ab", "a" or "b"


def differences(a: Version, b: Version) -> list[Difference]:
    """Every field in which the manifests of two versions differ, sorted by its path; none if they are one version."""
    one, other = (dict(_leaves("", version.data)) for version in (a, b))
    return [
        Difference(path, one.get(path), other.get(path), ("a" if path in one else "") + ("b" if path in other else ""))
        for path in sorted(one.keys() | other.keys())
        if path not in one or path not in other or _differ(one[path], other[path])
    ]


def _leaves(path: str, value: Any) -> list[tuple[str, Any]]:
    """The values under a path, by their own paths; an empty object is a value."""
    if path in _APART:
        return []
    if path in _NAMED and isinstance(value, list):
        value = _by_name(value, _NAMED[path])
    if not isinstance(value, Mapping) or not value or path in _WHOLE:
        return [(path, value)]
    return [leaf for key, inner in value.items() for leaf in _leaves(f"{path}.{key}" if path else str(key), inner)]


def _by_name(entries: list[Any], key: int | str) -> Any:
    """Entries by their name; a list of another form is compared whole."""
    try:
        named = {str(entry[key]): entry for entry in entries}
    except (KeyError, IndexError, TypeError):
        return entries
    if len(named) != len(entries):
        return entries
    return {name: entry[1:] if isinstance(entry, list) else entry for name, entry in named.items()}


def _differ(left: Any, right: Any) -> bool:
    # True and 1 are equal in Python, and two values in JSON.
    return bool(left != right) or isinstance(left, bool) != isinstance(right, bool)
