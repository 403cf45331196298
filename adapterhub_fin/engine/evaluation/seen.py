"""Count rows whose text a version was trained on, by the text itself: the name of the corpus does not matter."""

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


def training_texts(corpora: Sequence[Mapping[str, Dataset]]) -> list[str] | None:
    """Return the normalized texts of train and validation of each corpus; None where one's rows have no text."""
    keys = [text_keys(splits[split]) for splits in corpora for split in SEEN]
    return None if None in keys else [key for of_split in keys for key in of_split or ()]


def rows_seen(version: LocatedVersion, table: Dataset) -> int | None:
    """Return how many rows have a text that training saw; None where that is unknown.

    A merge saw the texts of all its parents. Where one of them is unknown, the rows that the others saw still count.
    """
    keys = text_keys(table)
    if keys is None:
        return None
    seen, complete = seen_texts(version, keys)
    count = sum(key in seen for key in keys)
    return count if complete or count else None


def seen_texts(located: LocatedVersion, keys: Sequence[str]) -> tuple[set[str], bool]:
    """Return which of some normalized texts a version was trained on, and whether every ancestor could be checked."""
    registry, version = located
    hashes, parents = registry.training_hashes(version), version.manifest.parents
    seen = set() if hashes is None else {key for key in keys if hashes.holds(key)}
    complete = hashes is not None or (bool(parents) and all(parent.role == "merge" for parent in parents))
    for parent in parents:
        parent_version = locate_ancestor(registry, parent.digest)
        more, parent_complete = (set[str](), False) if parent_version is None else seen_texts(parent_version, keys)
        seen, complete = seen | more, complete and parent_complete
    return seen, complete


def locate_ancestor(registry: Registry, digest: str) -> LocatedVersion | None:
    """Return a version by its digest, from this registry or else from a configured one; None if it is in neither."""
    try:
        return LocatedVersion(registry, registry.resolve(digest))
    except NotFound:
        pass
    try:
        return configured_registries().locate(digest)
    except NotFound:
        return None  # deleted, or never here
