"""What is wrong with a registry beyond its files' bytes: each finding explained, and repaired where that is safe.

A check yields what it finds with the way to mend it, or with none where a person must decide. No check hashes files:
that is what `verify` does.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from adapterhub_fin_registry.canonical import canonical
from adapterhub_fin_registry.change import Change, author, changing, now
from adapterhub_fin_registry.disk import Disk
from adapterhub_fin_registry.errors import AdapterHubError, Corrupted, ReadOnly
from adapterhub_fin_registry.gc import GRACE, KEPT, Leftover, collect, is_buried, workshops
from adapterhub_fin_registry.numbered import HIGHEST, misnumbered
from adapterhub_fin_registry.reading import ABSENT, entries, is_there, read_object
from adapterhub_fin_registry.reference import is_segment
from adapterhub_fin_registry.shelf import Shelf, is_unknown, listable, mark_of, shelves

if TYPE_CHECKING:
    from adapterhub_fin_registry.local import Registry


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: its kind and place, what it means, what mends it, and whether that was done.

    Where `repairable` is False only a person can tell what to do.
    """

    kind: str
    path: Path
    means: str
    remedy: str
    repairable: bool = True
    repaired: bool = False


@dataclass(frozen=True)
class Visit:
    """One examination of one registry."""

    registry: Registry
    disk: Disk
    grace: timedelta

    @property
    def root(self) -> Path:
        """The registry's folder."""
        return self.registry.root

    def shelves(self) -> list[Shelf]:
        """Every name whose versions can be listed; of the others `_unreadable` and `_strangers` tell."""
        try:
            return listable(self.root)
        except Corrupted:
            return []

    def workshops(self) -> list[Path]:
        """What is being built, or was, as far as it can be listed."""
        try:
            return workshops(self.root)
        except Corrupted:
            return []

    def mending(self, folder: Path, mend: Callable[[Change], object]) -> Callable[[], object]:
        """A repair under a name's folder, between two marks."""

        def done() -> None:
            with changing(self.disk, self.root, folder) as change, change.marked():
                mend(change)

        return done


Found = Iterator[tuple[Finding, Callable[[], object]]]


def examine(registry: Registry, disk: Disk, *, repair: bool = False, grace: timedelta = GRACE) -> list[Finding]:
    """Everything that is wrong, each repaired where that is wanted and possible; an empty list is a clean bill."""
    visit = Visit(registry, disk, grace)
    findings = []
    for check in CHECKS:
        for finding, mend in check(visit):
            findings.append(_mended(finding, mend) if repair and finding.repairable else finding)
    return findings


def _mended(finding: Finding, mend: Callable[[], object]) -> Finding:
    try:
        mend()
    except AdapterHubError as error:
        return replace(finding, remedy=f"{finding.remedy}; it failed: {error}")
    return replace(finding, repaired=True)


def _by_hand() -> None:
    """Nothing is mended: a person must decide."""


def _identity(visit: Visit) -> Found:
    if visit.shelves() and not (visit.root / "registry.json").exists():
        means = "the registry has lost its id, by which caches know it"
        finding = Finding("identity", visit.root / "registry.json", means, "give it a new one")
        yield finding, visit.mending(visit.root, Change.identify)


def _unreadable(visit: Visit) -> Found:
    adapters = visit.root / "adapters"
    below = (Path(place, name) for place, folders, files in os.walk(adapters) for name in (*folders, *files))
    for path in (visit.root / "changed", visit.root / "tmp", adapters, *below):
        mode = _mode(path)
        needed = os.R_OK | os.X_OK if stat.S_ISDIR(mode) else os.R_OK
        if mode and not stat.S_ISLNK(mode) and not os.access(path, needed):
            means = "this user may not read it, so that whatever needs it passes over what it is part of"
            remedy = "ask its owner for the right to read it"
            yield Finding("unreadable", path, means, remedy, repairable=False), _by_hand


def _leftovers(visit: Visit) -> Found:
    meaning = {
        "workshop": "work that died before it was done; nothing refers to it",
        "remains": "a deletion that was broken off: the tombstone stands, and the rest of the version is still there",
    }
    try:
        found = collect(visit.disk, visit.root, grace=visit.grace, dry_run=True)
    except Corrupted:
        return  # where work is done can't be listed, which another check says
    for left in found:
        finding = Finding(left.kind, left.path, meaning[left.kind], "remove it, as `ahf gc` does")
        yield finding, lambda left=left: _clear(visit, left)  # type: ignore[misc]


def _clear(visit: Visit, left: Leftover) -> None:
    collect(visit.disk, visit.root, grace=visit.grace)
    if left.kind == "workshop" and os.path.lexists(left.path):
        raise ReadOnly("it belongs to another user, who can remove it")


def _modes(visit: Visit) -> Found:
    if sys.platform == "win32":  # which has no such bits
        return
    tmp = visit.root / "tmp"
    for path in visit.workshops():
        if stat.S_ISDIR(_mode(path)) and _mode(path) & 0o077:
            means = "other users can reach into what is being built there"
            yield Finding("mode", path, means, "give it the mode 0700"), _restricting(visit, path, 0o700)
    for path in (
        visit.root,
        tmp,
        visit.root / "adapters",
        *(place for shelf in visit.shelves() for place in _all(shelf)),
    ):
        mode = _mode(path)
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX and not stat.S_ISLNK(mode):
            means, allowed = "every user of the machine can rewrite it", stat.S_IMODE(mode) & ~stat.S_IWOTH
            yield Finding("mode", path, means, "take that right away"), _restricting(visit, path, allowed)


def _restricting(visit: Visit, path: Path, mode: int) -> Callable[[], object]:
    return visit.mending(visit.root, lambda change: change.disk.restrict(path, mode))


def _versions(visit: Visit) -> Found:
    for shelf in visit.shelves():
        for number in shelf.numbers():
            try:
                yield from _version(visit, shelf, number)
            except Corrupted as error:
                folder = shelf.versions_folder / str(number)
                yield Finding("damaged", folder, str(error), "restore it from a copy", repairable=False), _by_hand


def _version(visit: Visit, shelf: Shelf, number: int) -> Found:
    folder = shelf.versions_folder / str(number)
    if is_there(folder / KEPT):
        if not is_buried(folder):
            means = "the tombstone can't be read, or is that of another version"
            remedy = f"remove {KEPT} if the version is to stay, or delete the folder's other files if not"
            yield Finding("tombstone", folder / KEPT, means, remedy, repairable=False), _by_hand
    elif folder.is_dir() and not folder.is_symlink() and not entries(folder):
        means = "an empty folder in the place of a version: a copy made by other means began and did not end"
        yield Finding("empty", folder, means, "remove it"), visit.mending(shelf.folder, lambda c: c.disk.remove(folder))
    elif not os.path.lexists(folder / "manifest.json"):
        means = "files without a manifest are no version: a copy made by other means did not end"
        yield Finding("incomplete", folder, means, "copy it again, or remove the folder", repairable=False), _by_hand
    elif (record := _misplaced(shelf, number)) is not None:
        means = f"the record is missing, or names another place than {shelf.name}@{number}: the folder was copied here"
        yield (
            Finding("record", folder / "record.json", means, "write a record of this place, which keeps what it said"),
            visit.mending(shelf.folder, lambda change: change.rewrite(folder / "record.json", _written(record))),
        )
    if is_there(folder / "record.json") and (reason := shelf.damage(number)):
        remedy = "restore it from a copy, or delete the version"
        yield Finding("damaged", folder, reason, remedy, repairable=False), _by_hand


def _written(record: dict[str, object]) -> bytes:
    try:
        return canonical(record)
    except ValueError as error:
        raise Corrupted(f"what it said can't be written again, {error}: remove it, and repair once more") from error


def _misplaced(shelf: Shelf, number: int) -> dict[str, object] | None:
    """The record that a version should have; None where it has it."""
    place = {"name": shelf.name, "version": number}
    try:
        said = read_object(shelf.versions_folder / str(number) / "record.json")
    except ABSENT:
        return {**place, "added_at": now(), "added_by": author(), "origin": {"found_by": "doctor"}}
    except Corrupted:
        return None  # it is damaged, which another check says
    if said.items() >= place.items():
        return None
    return {
        **said,
        **place,
        "origin": {"copied_from": f"{said.get('name')}@{said.get('version')}", "origin": said.get("origin")},
    }


def _aliases(visit: Visit) -> Found:
    for shelf in visit.shelves():
        for alias in _alias_names(shelf):
            path = shelf.folder / "aliases" / alias
            try:
                number = shelf.alias(alias)
                if number is None or shelf.version(number) is not None:
                    continue
            except Corrupted as error:
                yield Finding("alias", path, str(error), "set the alias again", repairable=False), _by_hand
                continue
            means = f"the alias names version {number}, which isn't there"
            finding = Finding("alias", path, means, "let it name nothing; its history remains")
            yield finding, lambda shelf=shelf, alias=alias: visit.registry.set_alias(shelf.name, alias, None)  # type: ignore[misc]


def _alias_names(shelf: Shelf) -> list[str]:
    try:
        return shelf.alias_names()
    except Corrupted:
        return []  # which another check says


def _strangers(visit: Visit) -> Found:
    yield from _links(visit)
    yield from _numbers(visit)
    adapters = visit.root / "adapters"
    namespaces = _folders(adapters)
    for folder in [*namespaces, *(name for space in namespaces if is_segment(space.name) for name in _folders(space))]:
        if not is_segment(folder.name):
            means = "this folder's name is outside the grammar, so that nothing in it can be found"
            remedy = "rename it in lower-case letters and digits, or remove it"
            yield Finding("stranger", folder, means, remedy, repairable=False), _by_hand
        elif stat.S_ISLNK(_mode(folder)):
            means = "this is a link, and no link leads out of a registry: nothing in it is listed"
            yield Finding("stranger", folder, means, "copy the folder itself here", repairable=False), _by_hand


def _numbers(visit: Visit) -> Found:
    for parent in _inner(visit.root):
        try:
            wrong = misnumbered(parent)
        except Corrupted:
            continue  # which another check says
        for name in wrong:
            means = f"this is no number of a list, which counts from 1 to {HIGHEST}: nothing in it can be found"
            yield Finding("stranger", parent / name, means, "give it a free number", repairable=False), _by_hand


def _links(visit: Visit) -> Found:
    for path in (visit.root / "tmp", visit.root / "adapters", *_inner(visit.root)):
        if (mode := _mode(path)) and not stat.S_ISDIR(mode):
            means = "this is a link, or a file, where a folder belongs: nothing is read or written through it"
            yield Finding("stranger", path, means, "put a folder in its place", repairable=False), _by_hand
    tmp, known = visit.root / "tmp", visit.workshops()
    for path in () if tmp.is_symlink() else _listed(tmp):
        if path not in known:
            means = "no work of the registry's has such a name"
            yield Finding("stranger", path, means, "move it elsewhere, or remove it", repairable=False), _by_hand


def _inner(root: Path) -> Iterator[Path]:
    """The folders within a name that hold its numbered lists."""
    try:
        known = shelves(root)
    except Corrupted:
        return  # which another check says
    for shelf in known:
        aliases = shelf.folder / "aliases"
        yield from (shelf.versions_folder, aliases, *(aliases / alias for alias in _alias_names(shelf)))
        if shelf.is_listable():
            yield from (shelf.versions_folder / str(number) / "events" for number in shelf.numbers())


def _marks(visit: Visit) -> Found:
    known = visit.shelves()
    for shelf in known:
        if shelf.numbers() or shelf.trouble() or shelf.alias_names():
            yield from _mark(visit, shelf.folder, (path for path in _all(shelf) if path != shelf.folder / "changed"))
    if known:
        namespaces = (visit.root / "adapters" / name for name in entries(visit.root / "adapters"))
        yield from _mark(visit, visit.root, [*namespaces, *(shelf.folder / "changed" for shelf in known)])


def _mark(visit: Visit, folder: Path, below: Iterable[Path]) -> Found:
    path = folder / "changed"
    mend = visit.mending(folder, lambda change: None)
    if path.is_dir() and not path.is_symlink():
        means = "a folder has the place of the mark, so that nothing here can be changed"
        yield Finding("mark", path, means, "remove that folder", repairable=False), _by_hand
    elif is_unknown(mark_of(folder)):
        means = "a change was broken off, or made by other means: no index can tell what it has seen"
        yield Finding("mark", path, means, "write a new mark"), mend
    elif max(map(_changed, below), default=0) > _changed(path):  # every change of ours ends with the mark
        means = "something here was copied or altered by other means: an index may not have seen it"
        yield Finding("copy", path, means, "write a new mark, by which every index notices"), mend


def _mode(path: Path) -> int:
    """The mode of what is at a path; 0 where nothing is, or not any more."""
    try:
        return path.lstat().st_mode
    except OSError:
        return 0


def _changed(path: Path) -> int:
    """When what is at a path was last changed, which nobody can set back; 0 where nothing is, or not any more."""
    try:
        return path.lstat().st_ctime_ns
    except OSError:
        return 0


def _all(shelf: Shelf) -> Iterator[Path]:
    """Everything under a name, its folder left out, and no link followed."""
    for place, folders, files in os.walk(shelf.folder):
        for name in (*folders, *files):
            yield Path(place, name)


def _folders(parent: Path) -> list[Path]:
    # Not by a Path, which raises where a folder may be listed and not entered.
    return [path for path in _listed(parent) if os.path.isdir(path) and not path.name.startswith(".")]  # noqa: PTH112


def _listed(parent: Path) -> list[Path]:
    try:
        return sorted(parent / name for name in entries(parent))
    except Corrupted:
        return []  # which another check says


CHECKS: Final[tuple[Callable[[Visit], Found], ...]] = (
    _unreadable,
    _identity,
    _leftovers,
    _modes,
    _versions,
    _aliases,
    _strangers,
    _marks,  # last: every repair above writes marks
)
