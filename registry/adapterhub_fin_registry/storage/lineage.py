"""Trace the ancestors and descendants of a version, by the digests of parents and bases in the manifests.

A digest covers those of the parents, so that real parents form no cycle. But a manifest may claim any digests, and any
number of them: so each version is followed once, and no tree has more than a thousand entries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from adapterhub_fin_registry.errors import Corrupted
from adapterhub_fin_registry.io.safe_read import ABSENT, read_object
from adapterhub_fin_registry.model.version import Version
from adapterhub_fin_registry.storage.name_folder import NameFolder
from adapterhub_fin_registry.storage.names import listable

LIMIT: Final = 1000
_NO_PARENTS: Final = b'"parents":[]'  # in canonical JSON: most manifests then need not be parsed
_VERSION: Final = b'"version":{'  # as the base names its stored version
BASE_ROLE: Final = "base"


@dataclass(frozen=True)
class Relative:
    """Represent a parent or a child of a version, with its own relatives.

    `state` is "here", "deleted", or "absent" if no version of this registry has the digest. `cut` tells that its own
    relatives are left out, because it is in the tree already or the tree is full.
    """

    digest: str
    name: str  # for a parent, the name it had when it was used
    role: str
    weight: float | None
    references: tuple[str, ...]
    state: Literal["here", "deleted", "absent"]
    relatives: tuple[Relative, ...] = ()
    cut: bool = False


@dataclass(frozen=True)
class Lineage:
    """Hold a version with its ancestors and its descendants."""

    version: Version
    ancestors: tuple[Relative, ...]
    descendants: tuple[Relative, ...]


@dataclass(frozen=True)
class _Link:
    """Represent one entry of a manifest's parents, or its stored base, seen from either end."""

    digest: str
    name: str
    role: str
    weight: float | None


@dataclass
class _Family:
    """Index every version of a registry by its digest, with its parents and children."""

    references: dict[str, list[str]] = field(default_factory=dict)
    deleted: dict[str, list[str]] = field(default_factory=dict)
    parents: dict[str, tuple[_Link, ...]] = field(default_factory=dict)
    children: dict[str, list[_Link]] = field(default_factory=dict)


def lineage(root: Path, version: Version) -> Lineage:
    """Return the lineage of a version, by one pass over the manifests of its registry.

    Raises Corrupted if the names can't be listed.
    """
    family = _read(root)
    up, down = (_tree(family, version.digest, links) for links in (family.parents, family.children))
    return Lineage(version, up, down)


def _read(root: Path) -> _Family:
    family = _Family()
    for name_folder in listable(root):
        for number in name_folder.numbers():
            reference = f"{name_folder.name}@{number}"
            try:
                version = name_folder.version(number)
                if version is None:
                    _read_tombstone(family, name_folder, number, reference)
                    continue
                links = version.plain(_links) if _has_links(version.manifest_bytes) else ()
            except Corrupted:
                continue  # reported when it is asked for by number, and by `damaged`
            family.references.setdefault(version.digest, []).append(reference)
            if version.digest not in family.parents:
                family.parents[version.digest] = links
                for link in links:
                    child = _Link(version.digest, name_folder.name, link.role, link.weight)
                    family.children.setdefault(link.digest, []).append(child)
    return family


def deleted(root: Path, digest: str) -> list[str]:
    """Return the references that a deleted version with this digest had in the registry, sorted by name and number.

    Raises Corrupted if the names can't be listed.
    """
    family = _Family()
    for name_folder in listable(root):
        for number in name_folder.numbers():
            _read_tombstone(family, name_folder, number, f"{name_folder.name}@{number}")
    return family.deleted.get(digest, [])


def orphans(root: Path, version: Version) -> list[str]:
    """Return the references of versions that were trained on a base of which no other version has the digest, sorted.

    Raises Corrupted if the names can't be listed.
    """
    family = _read(root)
    if any(reference != version.reference for reference in family.references.get(version.digest, [])):
        return []
    children = {link.digest for link in family.children.get(version.digest, []) if link.role == BASE_ROLE}
    return sorted((reference for child in children for reference in family.references[child]), key=_by_number)


def _by_number(reference: str) -> tuple[str, int]:
    name, _, number = reference.rpartition("@")
    return name, int(number)


def _has_links(manifest: bytes) -> bool:
    return _NO_PARENTS not in manifest or _VERSION in manifest


def _read_tombstone(family: _Family, name_folder: NameFolder, number: int, reference: str) -> None:
    try:
        tombstone = read_object(name_folder.versions_folder / str(number) / "deleted.json")
    except ABSENT:
        return  # it was never completed, or isn't the folder of a version
    if isinstance(digest := tombstone.get("digest"), str):
        family.deleted.setdefault(digest, []).append(reference)


def _links(data: Mapping[str, Any]) -> tuple[_Link, ...]:
    links = []
    for parent in data["parents"][:LIMIT]:
        weight = parent.get("weight")
        number = float(weight) if isinstance(weight, int | float) else None
        links.append(_Link(str(parent["digest"]), str(parent["name"]), str(parent["role"]), number))
    if (base := data["base"].get("version")) is not None:
        links.insert(0, _Link(str(base["digest"]), str(base["name"]), BASE_ROLE, None))
    return tuple(links[:LIMIT])


def _tree(family: _Family, digest: str, links: Mapping[str, Sequence[_Link]]) -> tuple[Relative, ...]:
    """Return the relatives of a digest, nearest generations first: a full tree lacks the farthest ones."""
    order = list(links.get(digest, ()))[:LIMIT]
    nearest = len(order)
    seen, cut, below = {digest}, set[int](), dict[int, range]()
    index = 0
    while index < len(order):
        parent = order[index].digest
        own = links.get(parent, ())
        if parent not in seen and len(order) + len(own) <= LIMIT:
            below[index] = range(len(order), len(order) + len(own))
            order += own
        elif own:
            cut.add(index)
        seen.add(parent)
        index += 1
    built: dict[int, Relative] = {}
    for index in reversed(range(len(order))):  # from the end, since an entry's relatives come after it
        relatives = [built[position] for position in below.get(index, ())]
        built[index] = _relative(family, order[index], relatives, index in cut)
    return tuple(built[index] for index in range(nearest))


def _relative(family: _Family, link: _Link, relatives: list[Relative], cut: bool) -> Relative:
    here, deleted = family.references.get(link.digest, []), family.deleted.get(link.digest, [])
    state: Literal["here", "deleted", "absent"] = "here" if here else "deleted" if deleted else "absent"
    return Relative(
        digest=link.digest,
        name=link.name,
        role=link.role,
        weight=link.weight,
        references=tuple(here or deleted),
        state=state,
        relatives=tuple(relatives),
        cut=cut,
    )
