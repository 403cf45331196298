"""Which of some rows a version was trained on, by their texts: whatever the corpus is called that brings them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from adapterhub_fin.engine.data.corpus import SEEN
from adapterhub_fin.engine.data.duplicates import text_keys
from adapterhub_fin.errors import NotFound
from adapterhub_fin.registries import configured_registries
from adapterhub_fin_registry.registry_chain import LocatedVersion

if TYPE_CHECKING:
    from datasets import Dataset

    from adapterhub_fin_registry import Registry


def learnt_texts(splits: Mapping[str, Dataset]) -> list[str] | None:
    """Return the texts of train and validation, in the form in which copies are equal; None where rows have none."""
    keys = [text_keys(splits[split]) for split in SEEN]
    return None if None in keys else [key for of_split in keys for key in of_split or ()]


def rows_seen(version: LocatedVersion, table: Dataset) -> int | None:
    """Return how many rows have a text that training saw; None where nobody here can tell.

    A merge saw what its parents saw. Where one of them is unknown, rows that another saw are counted all the same.
    """
    keys = text_keys(table)
    if keys is None:
        return None
    seen, known = _seen(version, keys)
    count = sum(key in seen for key in keys)
    return count if known or count else None


def _seen(located: LocatedVersion, keys: Sequence[str]) -> tuple[set[str], bool]:
    """The keys that a version learnt from, and whether these are all."""
    registry, version = located
    learnt, parents = registry.learnt(version), version.manifest.parents
    seen = set() if learnt is None else {key for key in keys if learnt.holds(key)}
    known = learnt is not None or (bool(parents) and all(parent.role == "merge" for parent in parents))
    for parent in parents:
        found = _found(registry, parent.digest)
        more, all_known = (set[str](), False) if found is None else _seen(found, keys)
        seen, known = seen | more, known and all_known
    return seen, known


def _found(registry: Registry, digest: str) -> LocatedVersion | None:
    """A version by its digest, in the same registry, else in one of those configured."""
    try:
        return LocatedVersion(registry, registry.resolve(digest))
    except NotFound:
        pass
    try:
        return configured_registries().locate(digest)
    except NotFound:
        return None  # deleted, or never here
