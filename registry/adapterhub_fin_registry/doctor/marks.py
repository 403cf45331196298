"""The marks by which indexes and caches notice a change, and the id by which they know a registry."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from adapterhub_fin_registry.doctor.places import changed_at, everything
from adapterhub_fin_registry.doctor.visit import Finding, Found, Visit, by_hand
from adapterhub_fin_registry.io.safe_read import entries
from adapterhub_fin_registry.storage.name_folder import is_unknown, mark_of
from adapterhub_fin_registry.storage.transaction import Transaction


def identity(visit: Visit) -> Found:
    """A registry with adapters and no id."""
    if visit.shelves() and not (visit.root / "registry.json").exists():
        means = "the registry has lost its id, by which caches know it"
        finding = Finding("identity", visit.root / "registry.json", means, "give it a new one")
        yield finding, visit.mending(visit.root, Transaction.identify)


def marks(visit: Visit) -> Found:
    """Marks that are missing, or older than what they stand for."""
    known = visit.shelves()
    for shelf in known:
        if shelf.numbers() or shelf.trouble() or shelf.alias_names():
            yield from _mark(
                visit, shelf.folder, (path for path in everything(shelf) if path != shelf.folder / "changed")
            )
    if known:
        namespaces = (visit.root / "adapters" / name for name in entries(visit.root / "adapters"))
        yield from _mark(visit, visit.root, [*namespaces, *(shelf.folder / "changed" for shelf in known)])


def _mark(visit: Visit, folder: Path, below: Iterable[Path]) -> Found:
    path = folder / "changed"
    mend = visit.mending(folder, lambda change: None)
    if path.is_dir() and not path.is_symlink():
        means = "a folder has the place of the mark, so that nothing here can be changed"
        yield Finding("mark", path, means, "remove that folder", repairable=False), by_hand
    elif is_unknown(mark_of(folder)):
        means = "a change was broken off, or made by other means: no index can tell what it has seen"
        yield Finding("mark", path, means, "write a new mark"), mend
    elif max(map(changed_at, below), default=0) > changed_at(path):  # every change of ours ends with the mark
        means = "something here was copied or altered by other means: an index may not have seen it"
        yield Finding("copy", path, means, "write a new mark, by which every index notices"), mend
