"""What a version came from and what came from it, by the digests that manifests give their parents.

A digest covers those of its parents, so that no chain of real ones closes. A manifest may claim any digest, though, and
any number of them: a version is followed once, and no tree has more than a thousand entries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from adapterhub_fin_registry.errors import Corrupted
from adapterhub_fin_registry.io.safe_read import ABSENT, read_object
from adapterhub_fin_registry.model.version import Version
from adapterhub_fin_registry.storage.name_folder import NameFolder, listable

LIMIT: Final = 1000
_NO_PARENTS: Final = b'"parents":[]'  # as canonical JSON has it, so that most manifests need not be parsed


@dataclass(frozen=True)
class Relative:
    """A parent or a child of a version, with its own.

    `state` is "here", "deleted", or "absent" where no version of this registry has the digest; `cut` where its own
    relatives are left out, since it stands in the tree already or the tree is full.
    """

    digest: str
    name: str  # of a parent: the name it had when it was used
    role: str
    weight: float | None
    references: tuple[str, ...]
    state: Literal["here", "deleted", "absent"]
    relatives: tuple[Relative, ...] = ()
    cut: bool = False


@dataclass(frozen=True)
class Lineage:
    """A version with its ancestors and its descendants."""

    version: Version
    ancestors: tuple[Relative, ...]
    descendants: tuple[Relative, ...]


@dataclass(frozen=True)
class _Link:
    """One entry of a manifest's parents, read from either end."""

    digest: str
    name: str
    role: str
    weight: float | None


@dataclass
class _Family:
    """Every version of a registry by its digest, and who names whom as a parent."""

    references: dict[str, list[str]] = field(default_factory=dict)
    deleted: dict[str, list[str]] = field(default_factory=dict)
    parents: dict[str, tuple[_Link, ...]] = field(default_factory=dict)
    children: dict[str, list[_Link]] = field(default_factory=dict)


def lineage(root: Path, version: Version) -> Lineage:
    """The lineage of a version, in one pass over the manifests of its registry."""
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
                links = () if _NO_PARENTS in version.manifest_bytes else version.plain(_links)
            except Corrupted:
                continue  # said when it is asked for by number, and by `damaged`
            family.references.setdefault(version.digest, []).append(reference)
            if version.digest not in family.parents:
                family.parents[version.digest] = links
                for link in links:
                    child = _Link(version.digest, name_folder.name, link.role, link.weight)
                    family.children.setdefault(link.digest, []).append(child)
    return family


def _read_tombstone(family: _Family, name_folder: NameFolder, number: int, reference: str) -> None:
    try:
        tombstone = read_object(name_folder.versions_folder / str(number) / "deleted.json")
    except ABSENT:
        return  # it was never finished, or is no version's folder
    if isinstance(digest := tombstone.get("digest"), str):
        family.deleted.setdefault(digest, []).append(reference)


def _links(data: Mapping[str, Any]) -> tuple[_Link, ...]:
    found = []
    for parent in data["parents"][:LIMIT]:
        weight = parent.get("weight")
        number = float(weight) if isinstance(weight, int | float) else None
        found.append(_Link(str(parent["digest"]), str(parent["name"]), str(parent["role"]), number))
    return tuple(found)


def _tree(family: _Family, digest: str, links: Mapping[str, Sequence[_Link]]) -> tuple[Relative, ...]:
    """The relatives of a digest; the nearest generations are laid out first, so that a full tree lacks the far ones."""
    order = list(links.get(digest, ()))[:LIMIT]
    near = len(order)
    seen, cut, below = {digest}, set[int](), dict[int, range]()
    place = 0
    while place < len(order):
        parent = order[place].digest
        own = links.get(parent, ())
        if parent not in seen and len(order) + len(own) <= LIMIT:
            below[place] = range(len(order), len(order) + len(own))
            order += own
        elif own:
            cut.add(place)
        seen.add(parent)
        place += 1
    built: dict[int, Relative] = {}
    for place in reversed(range(len(order))):  # from the far end, since an entry's own stand behind it
        built[place] = _relative(family, order[place], [built[each] for each in below.get(place, ())], place in cut)
    return tuple(built[place] for place in range(near))


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
