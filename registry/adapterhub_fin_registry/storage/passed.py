"""Find moments that have certainly passed, whatever the clock says: files were written, versions were stored."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from adapterhub_fin_registry.errors import AdapterHubError, Corrupted
from adapterhub_fin_registry.io.clock import Passed
from adapterhub_fin_registry.io.safe_read import read_object
from adapterhub_fin_registry.model.knowledge import parse_instant
from adapterhub_fin_registry.storage.name_folder import NameFolder
from adapterhub_fin_registry.storage.names import name_folders

_NAMES: Final = 8  # how many of the names that changed last are searched for the newest record
_NUMBERS: Final = 3  # how many of the highest versions of each: the newest may have a lower number than an older one


def written(*paths: Path) -> Iterator[Passed]:
    """Yield when the newest of some files was written; for a folder, the newest file in it.

    A path that doesn't exist yields nothing.
    """
    for path in paths:
        dated = [(_mtime(file), file) for file in _files(path)]
        if dated:
            at, file = max(dated)
            yield Passed(at, f"{file} was written", "set the file's time with `touch`")


def stored(root: Path, name: str | None = None) -> Iterator[Passed]:
    """Yield when the newest records of a registry were written, by their contents and by their files' times.

    These are the records of the highest numbers under `name` and under the names that changed last. Reading every
    record would make each add slower the more versions there are.
    """
    for name_folder in _changed_last(root, name):
        for number in _highest(name_folder):
            path = name_folder.versions_folder / str(number) / "record.json"
            reference = f"{name_folder.name}@{number}"
            remedy = f"remove it with `ahf rm {reference}`"
            try:
                at = parse_instant(str(read_object(path).get("added_at")))
            except (AdapterHubError, OSError, ValueError):
                continue  # the version is deleted, or damaged, which another check reports
            yield Passed(at, f"{reference} was stored", remedy)
            yield Passed(_mtime(path), f"the record of {reference} was written", f"`touch` it, or {remedy}")


def _mtime(path: Path) -> datetime:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except (OverflowError, ValueError):  # a time beyond the calendar
        return datetime.max.replace(tzinfo=UTC)
    except OSError:  # it is gone by now
        return datetime.min.replace(tzinfo=UTC)


def _files(path: Path) -> list[Path]:
    try:
        if not path.is_dir():
            return [path] if path.is_file() else []
        with os.scandir(path) as entries:
            return [Path(entry.path) for entry in entries if entry.is_file()]
    except OSError:
        return []  # whoever reads it reports that it can't be read


def _changed_last(root: Path, name: str | None) -> list[NameFolder]:
    try:
        changed = name_folders(root)
    except Corrupted:
        changed = []  # whoever lists it reports that it can't be listed
    changed.sort(key=lambda name_folder: _mtime(name_folder.folder / "changed"), reverse=True)
    first = [] if name is None else [NameFolder(root, name)]
    return [*first, *(name_folder for name_folder in changed[:_NAMES] if name_folder.name != name)]


def _highest(name_folder: NameFolder) -> list[int]:
    try:
        return name_folder.numbers()[-_NUMBERS:]
    except Corrupted:
        return []
