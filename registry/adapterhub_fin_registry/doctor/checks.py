"""Check versions, aliases, the registry's id, change marks, leftovers and unexpected entries.

Each check is a generator of findings, each with its repair.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from adapterhub_fin_registry.doctor.visit import (
    Finding,
    Findings,
    Visit,
    alias_names,
    by_hand,
    changed_at,
    everything,
    folders,
    listed,
    mode_of,
)
from adapterhub_fin_registry.errors import Corrupted, ReadOnly
from adapterhub_fin_registry.io.canonical_json import canonical
from adapterhub_fin_registry.io.safe_read import ABSENT, HIGHEST, entries, is_there, misnumbered, read_object
from adapterhub_fin_registry.model.event_files import OUTCOMES, damaged_files
from adapterhub_fin_registry.model.reference import is_segment
from adapterhub_fin_registry.search.version_reader import damage
from adapterhub_fin_registry.storage.garbage import TOMBSTONE, Leftover, collect, is_buried
from adapterhub_fin_registry.storage.marks import is_unknown, mark_of
from adapterhub_fin_registry.storage.name_folder import NameFolder
from adapterhub_fin_registry.storage.names import name_folders as all_name_folders
from adapterhub_fin_registry.storage.training_hashes import NAME as TRAINING_HASHES
from adapterhub_fin_registry.storage.training_hashes import read_hashes
from adapterhub_fin_registry.storage.transaction import Transaction, author, now


def versions(visit: Visit) -> Findings:
    """Find versions that are damaged, incomplete, or have a wrong record or tombstone."""
    for name_folder in visit.name_folders():
        for number in name_folder.numbers():
            try:
                yield from _version(visit, name_folder, number)
            except Corrupted as error:
                folder = name_folder.versions_folder / str(number)
                yield Finding("damaged", folder, str(error), "restore it from a copy", repairable=False), by_hand


def _version(visit: Visit, name_folder: NameFolder, number: int) -> Findings:
    folder = name_folder.versions_folder / str(number)
    if is_there(folder / TOMBSTONE):
        if not is_buried(folder):
            means = "the tombstone can't be read, or is that of another version"
            remedy = f"remove {TOMBSTONE} if the version is to stay, or delete the folder's other files if not"
            yield Finding("tombstone", folder / TOMBSTONE, means, remedy, repairable=False), by_hand
    elif folder.is_dir() and not folder.is_symlink() and not entries(folder):
        means = "an empty folder instead of a version: a copy made by other means was interrupted"
        yield (
            Finding("empty", folder, means, "remove it"),
            visit.repair_of(name_folder.folder, lambda c: c.disk.remove(folder)),
        )
    elif not os.path.lexists(folder / "manifest.json"):
        means = "files without a manifest are no version: a copy made by other means was interrupted"
        yield Finding("incomplete", folder, means, "copy it again, or remove the folder", repairable=False), by_hand
    elif (record := _misplaced(name_folder, number)) is not None:
        reference = f"{name_folder.name}@{number}"
        means = f"the record is missing, or names another version than {reference}: the folder was copied here"
        yield (
            Finding("record", folder / "record.json", means, "write a correct record, which keeps what it said"),
            visit.repair_of(
                name_folder.folder, lambda change: change.rewrite(folder / "record.json", _written(record))
            ),
        )
    try:
        read_hashes(folder, visit.registry.id)
    except Corrupted as error:
        remove = visit.repair_of(name_folder.folder, lambda change: change.disk.remove(folder / TRAINING_HASHES))
        yield (
            Finding(
                "training-hashes",
                folder / TRAINING_HASHES,
                str(error),
                "remove it: what was seen in training is unknown then",
            ),
            remove,
        )
    yield from _event_files(visit, name_folder, folder)
    if is_there(folder / "record.json") and (reason := damage(name_folder, number)):
        remedy = "restore it from a copy, or delete the version"
        yield Finding("damaged", folder, reason, remedy, repairable=False), by_hand


def _event_files(visit: Visit, name_folder: NameFolder, folder: Path) -> Findings:
    try:
        problems = damaged_files(folder)
    except Corrupted:
        return  # another check reports an event that can't be read
    for path, means in problems.items():
        if path.name == OUTCOMES:
            remedy = "forget these outcomes: the evaluation's metrics stay"
            yield (
                Finding("outcomes", path, means, remedy),
                visit.repair_of(name_folder.folder, lambda change, path=path: _forget_outcomes(change, path)),  # type: ignore[misc]
            )
        else:
            event = path.parent
            remove = visit.repair_of(name_folder.folder, lambda change, event=event: change.disk.remove(event))  # type: ignore[misc]
            remedy = "remove that event: the version keeps no history of its training"
            yield Finding("history", event, means, remedy), remove


def _forget_outcomes(change: Transaction, path: Path) -> None:
    """Rewrite an evaluation's event without its outcomes, then remove them."""
    event_file = path.parent / "event.json"
    event = read_object(event_file)
    if event.pop("outcomes", None) is not None:
        change.rewrite(event_file, canonical(event))
    if is_there(path) or path.is_symlink():
        change.disk.remove(path)


def _written(record: dict[str, object]) -> bytes:
    try:
        return canonical(record)
    except ValueError as error:
        raise Corrupted(f"its contents can't be written again, {error}: remove it, and repair once more") from error


def _misplaced(name_folder: NameFolder, number: int) -> dict[str, object] | None:
    """Return the record that a version should have; None if it has it."""
    identity = {"name": name_folder.name, "version": number}
    try:
        record = read_object(name_folder.versions_folder / str(number) / "record.json")
    except ABSENT:
        return {**identity, "added_at": now(), "added_by": author(), "origin": {"found_by": "doctor"}}
    except Corrupted:
        return None  # it is damaged, which another check reports
    if record.items() >= identity.items():
        return None
    source = f"{record.get('name')}@{record.get('version')}"
    return {**record, **identity, "origin": {"copied_from": source, "origin": record.get("origin")}}


def aliases(visit: Visit) -> Findings:
    """Find aliases that can't be read, or that name a version that doesn't exist."""
    for name_folder in visit.name_folders():
        for alias in alias_names(name_folder):
            path = name_folder.folder / "aliases" / alias
            try:
                number = name_folder.alias(alias)
                if number is None or name_folder.version(number) is not None:
                    continue
            except Corrupted as error:
                yield Finding("alias", path, str(error), "set the alias again", repairable=False), by_hand
                continue
            means = f"the alias names version {number}, which isn't there"
            finding = Finding("alias", path, means, "let it name nothing; its history remains")
            yield finding, partial(visit.registry.set_alias, name_folder.name, alias, None)


def identity(visit: Visit) -> Findings:
    """Find a registry that holds adapters and has no id."""
    if visit.name_folders() and not (visit.root / "registry.json").exists():
        means = "the registry has lost the id by which caches know it"
        finding = Finding("identity", visit.root / "registry.json", means, "give it a new one")
        yield finding, visit.repair_of(visit.root, Transaction.identify)


def marks(visit: Visit) -> Findings:
    """Find change marks that are missing, or older than what they stand for."""
    name_folders = visit.name_folders()
    for name_folder in name_folders:
        if name_folder.numbers() or name_folder.trouble() or name_folder.alias_names():
            mark = name_folder.folder / "changed"
            yield from _mark(visit, name_folder.folder, (path for path in everything(name_folder) if path != mark))
    if name_folders:
        namespaces = (visit.root / "adapters" / name for name in entries(visit.root / "adapters"))
        yield from _mark(
            visit, visit.root, [*namespaces, *(name_folder.folder / "changed" for name_folder in name_folders)]
        )


def _mark(visit: Visit, folder: Path, below: Iterable[Path]) -> Findings:
    path = folder / "changed"
    repair = visit.repair_of(folder, lambda change: None)
    if path.is_dir() and not path.is_symlink():
        means = "there is a folder instead of the mark, so that nothing here can be changed"
        yield Finding("mark", path, means, "remove that folder", repairable=False), by_hand
    elif is_unknown(mark_of(folder)):
        means = "a change was interrupted, or made by other means: no index can tell what it has seen"
        yield Finding("mark", path, means, "write a new mark"), repair
    elif max(map(changed_at, below), default=0) > changed_at(path):  # each of our own changes ends by writing the mark
        means = "something here was copied or altered by other means: an index may not have seen it"
        yield Finding("copy", path, means, "write a new mark, so that every index notices"), repair


def leftovers(visit: Visit) -> Findings:
    """Find what `gc` would remove."""
    meaning = {
        "unfinished": "work that was interrupted before it was done; nothing refers to it",
        "deletion": "an interrupted deletion: the tombstone is there, and so is the rest of the version",
    }
    try:
        found_leftovers = collect(visit.disk, visit.root, grace=visit.grace, dry_run=True)
    except Corrupted:
        return  # another check reports that the folder of unfinished work can't be listed
    for leftover in found_leftovers:
        finding = Finding(leftover.kind, leftover.path, meaning[leftover.kind], "remove it, as `ahf gc` does")
        yield finding, partial(_clear, visit, leftover)


def _clear(visit: Visit, leftover: Leftover) -> None:
    collected = collect(visit.disk, visit.root, grace=visit.grace)
    if any(other.path == leftover.path and not other.removed for other in collected):
        raise ReadOnly("it belongs to another user, who can remove it")


def unexpected_entries(visit: Visit) -> Findings:
    """Find entries that belong to no name, number or work of the registry, and links instead of folders."""
    yield from _links(visit)
    yield from _numbers(visit)
    adapters = visit.root / "adapters"
    namespaces = folders(adapters)
    for folder in [*namespaces, *(name for space in namespaces if is_segment(space.name) for name in folders(space))]:
        if not is_segment(folder.name):
            means = "this folder's name isn't valid, so that nothing in it can be found"
            remedy = "rename it in lower-case letters and digits, or remove it"
            yield Finding("unexpected", folder, means, remedy, repairable=False), by_hand
        elif stat.S_ISLNK(mode_of(folder)):
            means = "this is a link, which could lead out of the registry: nothing in it is listed"
            yield Finding("unexpected", folder, means, "copy the folder itself here", repairable=False), by_hand


def _numbers(visit: Visit) -> Findings:
    for parent in _inner(visit.root):
        try:
            wrong = misnumbered(parent)
        except Corrupted:
            continue  # another check reports it
        for name in wrong:
            means = f"this isn't a valid number, which is from 1 to {HIGHEST}: nothing in it can be found"
            yield Finding("unexpected", parent / name, means, "give it a free number", repairable=False), by_hand


def _links(visit: Visit) -> Findings:
    for path in (visit.root / "tmp", visit.root / "adapters", *_inner(visit.root)):
        if (mode := mode_of(path)) and not stat.S_ISDIR(mode):
            means = "this is a link or a file instead of a folder: nothing is read or written through it"
            yield Finding("unexpected", path, means, "put a folder in its place", repairable=False), by_hand
    tmp, work_folders = visit.root / "tmp", visit.work_folders()
    for path in () if tmp.is_symlink() else listed(tmp):
        if path not in work_folders:
            means = "the registry gives no unfinished work such a name"
            yield Finding("unexpected", path, means, "move it elsewhere, or remove it", repairable=False), by_hand


def _inner(root: Path) -> Iterator[Path]:
    """Yield the folders within each name that hold its numbered lists."""
    try:
        listed_folders = all_name_folders(root)
    except Corrupted:
        return  # another check reports it
    for name_folder in listed_folders:
        aliases = name_folder.folder / "aliases"
        yield from (name_folder.versions_folder, aliases, *(aliases / alias for alias in alias_names(name_folder)))
        if name_folder.is_listable():
            yield from (name_folder.versions_folder / str(number) / "events" for number in name_folder.numbers())
