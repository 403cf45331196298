"""Each version's manifest, record and tombstone, and the aliases that name versions."""

from __future__ import annotations

import os

from adapterhub_fin_registry.doctor.places import alias_names
from adapterhub_fin_registry.doctor.visit import Finding, Found, Visit, by_hand
from adapterhub_fin_registry.errors import Corrupted
from adapterhub_fin_registry.io.canonical_json import canonical
from adapterhub_fin_registry.io.safe_read import ABSENT, entries, is_there, read_object
from adapterhub_fin_registry.search.version_reader import damage
from adapterhub_fin_registry.storage.garbage import KEPT, is_buried
from adapterhub_fin_registry.storage.learnt import NAME as LEARNT
from adapterhub_fin_registry.storage.learnt import read_learnt
from adapterhub_fin_registry.storage.name_folder import NameFolder
from adapterhub_fin_registry.storage.transaction import author, now


def versions(visit: Visit) -> Found:
    """Versions without a manifest, a record of their place or a tombstone that can be read; and damaged ones."""
    for shelf in visit.shelves():
        for number in shelf.numbers():
            try:
                yield from _version(visit, shelf, number)
            except Corrupted as error:
                folder = shelf.versions_folder / str(number)
                yield Finding("damaged", folder, str(error), "restore it from a copy", repairable=False), by_hand


def _version(visit: Visit, shelf: NameFolder, number: int) -> Found:
    folder = shelf.versions_folder / str(number)
    if is_there(folder / KEPT):
        if not is_buried(folder):
            means = "the tombstone can't be read, or is that of another version"
            remedy = f"remove {KEPT} if the version is to stay, or delete the folder's other files if not"
            yield Finding("tombstone", folder / KEPT, means, remedy, repairable=False), by_hand
    elif folder.is_dir() and not folder.is_symlink() and not entries(folder):
        means = "an empty folder in the place of a version: a copy made by other means began and did not end"
        yield Finding("empty", folder, means, "remove it"), visit.mending(shelf.folder, lambda c: c.disk.remove(folder))
    elif not os.path.lexists(folder / "manifest.json"):
        means = "files without a manifest are no version: a copy made by other means did not end"
        yield Finding("incomplete", folder, means, "copy it again, or remove the folder", repairable=False), by_hand
    elif (record := _misplaced(shelf, number)) is not None:
        means = f"the record is missing, or names another place than {shelf.name}@{number}: the folder was copied here"
        yield (
            Finding("record", folder / "record.json", means, "write a record of this place, which keeps what it said"),
            visit.mending(shelf.folder, lambda change: change.rewrite(folder / "record.json", _written(record))),
        )
    try:
        read_learnt(folder, visit.registry.id)
    except Corrupted as error:
        remove = visit.mending(shelf.folder, lambda change: change.disk.remove(folder / LEARNT))
        yield (
            Finding("learnt", folder / LEARNT, str(error), "remove it: what was seen in training is unknown then"),
            remove,
        )
    if is_there(folder / "record.json") and (reason := damage(shelf, number)):
        remedy = "restore it from a copy, or delete the version"
        yield Finding("damaged", folder, reason, remedy, repairable=False), by_hand


def _written(record: dict[str, object]) -> bytes:
    try:
        return canonical(record)
    except ValueError as error:
        raise Corrupted(f"what it said can't be written again, {error}: remove it, and repair once more") from error


def _misplaced(shelf: NameFolder, number: int) -> dict[str, object] | None:
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


def aliases(visit: Visit) -> Found:
    """Aliases that can't be read, or name a version that isn't there."""
    for shelf in visit.shelves():
        for alias in alias_names(shelf):
            path = shelf.folder / "aliases" / alias
            try:
                number = shelf.alias(alias)
                if number is None or shelf.version(number) is not None:
                    continue
            except Corrupted as error:
                yield Finding("alias", path, str(error), "set the alias again", repairable=False), by_hand
                continue
            means = f"the alias names version {number}, which isn't there"
            finding = Finding("alias", path, means, "let it name nothing; its history remains")
            yield finding, lambda shelf=shelf, alias=alias: visit.registry.set_alias(shelf.name, alias, None)  # type: ignore[misc]
