"""What is no part of a registry, or not where its part belongs."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from adapterhub_fin_registry.doctor.places import alias_names, folders, listed, mode_of
from adapterhub_fin_registry.doctor.visit import Finding, Found, Visit, by_hand
from adapterhub_fin_registry.errors import Corrupted
from adapterhub_fin_registry.io.numbered import HIGHEST, misnumbered
from adapterhub_fin_registry.model.reference import is_segment
from adapterhub_fin_registry.storage.name_folder import shelves


def strangers(visit: Visit) -> Found:
    """Folders and files that no name, number or work of the registry's has, and links in place of folders."""
    yield from _links(visit)
    yield from _numbers(visit)
    adapters = visit.root / "adapters"
    namespaces = folders(adapters)
    for folder in [*namespaces, *(name for space in namespaces if is_segment(space.name) for name in folders(space))]:
        if not is_segment(folder.name):
            means = "this folder's name is outside the grammar, so that nothing in it can be found"
            remedy = "rename it in lower-case letters and digits, or remove it"
            yield Finding("stranger", folder, means, remedy, repairable=False), by_hand
        elif stat.S_ISLNK(mode_of(folder)):
            means = "this is a link, and no link leads out of a registry: nothing in it is listed"
            yield Finding("stranger", folder, means, "copy the folder itself here", repairable=False), by_hand


def _numbers(visit: Visit) -> Found:
    for parent in _inner(visit.root):
        try:
            wrong = misnumbered(parent)
        except Corrupted:
            continue  # which another check says
        for name in wrong:
            means = f"this is no number of a list, which counts from 1 to {HIGHEST}: nothing in it can be found"
            yield Finding("stranger", parent / name, means, "give it a free number", repairable=False), by_hand


def _links(visit: Visit) -> Found:
    for path in (visit.root / "tmp", visit.root / "adapters", *_inner(visit.root)):
        if (mode := mode_of(path)) and not stat.S_ISDIR(mode):
            means = "this is a link, or a file, where a folder belongs: nothing is read or written through it"
            yield Finding("stranger", path, means, "put a folder in its place", repairable=False), by_hand
    tmp, known = visit.root / "tmp", visit.workshops()
    for path in () if tmp.is_symlink() else listed(tmp):
        if path not in known:
            means = "no work of the registry's has such a name"
            yield Finding("stranger", path, means, "move it elsewhere, or remove it", repairable=False), by_hand


def _inner(root: Path) -> Iterator[Path]:
    """The folders within a name that hold its numbered lists."""
    try:
        known = shelves(root)
    except Corrupted:
        return  # which another check says
    for shelf in known:
        aliases = shelf.folder / "aliases"
        yield from (shelf.versions_folder, aliases, *(aliases / alias for alias in alias_names(shelf)))
        if shelf.is_listable():
            yield from (shelf.versions_folder / str(number) / "events" for number in shelf.numbers())
