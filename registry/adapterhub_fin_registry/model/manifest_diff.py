"""Compare two manifests field by field.

Tensors are left out: whoever reads the weights compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from adapterhub_fin_registry.model.version import Version

# Lists whose entries have a key: entries of the same key are compared, wherever they are in the list.
_KEYED: Final[Mapping[str, int | str]] = {"files": 0, "knowledge.inputs": "input", "parents": "digest"}
_ATOMIC: Final = frozenset({"base.weight_probe"})  # thousands of numbers that are one value
_SKIPPED: Final = frozenset({"tensors"})


class Difference(NamedTuple):
    """Represent one field that differs; a manifest that lacks it has None, and isn't in `sides`."""

    field: str
    a: Any
    b: Any
    sides: str  # "ab", "a" or "b"


def differences(a: Version, b: Version) -> list[Difference]:
    """Return every field in which the manifests of two versions differ, sorted by path.

    Raises Corrupted if a manifest can't be read.
    """
    one, other = (dict(_leaves("", version.data)) for version in (a, b))
    return [
        Difference(path, one.get(path), other.get(path), ("a" if path in one else "") + ("b" if path in other else ""))
        for path in sorted(one.keys() | other.keys())
        if path not in one or path not in other or _differ(one[path], other[path])
    ]


def _leaves(path: str, value: Any) -> list[tuple[str, Any]]:
    """Return the values under a path, by their own paths; an empty object is a value."""
    if path in _SKIPPED:
        return []
    if path in _KEYED and isinstance(value, list):
        value = _by_key(value, _KEYED[path])
    if not isinstance(value, Mapping) or not value or path in _ATOMIC:
        return [(path, value)]
    return [leaf for key, inner in value.items() for leaf in _leaves(f"{path}.{key}" if path else str(key), inner)]


def _by_key(entries: list[Any], key: int | str) -> Any:
    """Return the entries of a list by their key; the list itself if it has no such keys."""
    try:
        by_key = {str(entry[key]): entry for entry in entries}
    except (KeyError, IndexError, TypeError):
        return entries
    if len(by_key) != len(entries):
        return entries
    return {name: entry[1:] if isinstance(entry, list) else entry for name, entry in by_key.items()}


def _differ(left: Any, right: Any) -> bool:
    # True and 1 are equal in Python, and two values in JSON.
    return bool(left != right) or isinstance(left, bool) != isinstance(right, bool)
