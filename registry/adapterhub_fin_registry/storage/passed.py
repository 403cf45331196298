"""Find what shows that a moment has passed, whatever the clock says: files that were written, versions stored."""

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
from adapterhub_fin_registry.storage.name_folder import NameFolder, name_folders

_NAMES: Final = 8  # those that changed last, among which the newest record is looked for
_NUMBERS: Final = 3  # of each, the highest: a version may have been given a lower number than one before it


def written(*places: Path) -> Iterator[Passed]:
    """Yield when the newest of some files, or of those in a folder, was written; nothing where none is there."""
    for place in places:
        found = [(_mtime(path), path) for path in _files(place)]
        if found:
            at, path = max(found)
            yield Passed(at, f"{path} was written", "set the file's time with `touch`")


def stored(root: Path, name: str | None = None) -> Iterator[Passed]:
    """Yield when the newest records of a registry were written, by what they say and by their files.

    They are those of the highest numbers under the names that changed last, and under `name`: to read every record
    would cost each add more the more there are.
    """
    for name_folder in _changed_last(root, name):
        for number in _highest(name_folder):
            path = name_folder.versions_folder / str(number) / "record.json"
            reference = f"{name_folder.name}@{number}"
            remedy = f"remove it with `ahf rm {reference}`"
            try:
                at = parse_instant(str(read_object(path).get("added_at")))
            except (AdapterHubError, OSError, ValueError):
                continue  # of a deleted version, or one that is damaged, which another check says
            yield Passed(at, f"{reference} was stored", remedy)
            yield Passed(_mtime(path), f"the record of {reference} was written", f"`touch` it, or {remedy}")


def _mtime(path: Path) -> datetime:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except (OverflowError, ValueError):  # a time beyond the calendar
        return datetime.max.replace(tzinfo=UTC)
    except OSError:  # gone meanwhile
        return datetime.min.replace(tzinfo=UTC)


def _files(place: Path) -> list[Path]:
    try:
        if not place.is_dir():
            return [place] if place.is_file() else []
        with os.scandir(place) as entries:
            return [Path(entry.path) for entry in entries if entry.is_file()]
    except OSError:
        return []  # what can't be read is told by whoever reads it


def _changed_last(root: Path, name: str | None) -> list[NameFolder]:
    try:
        found = name_folders(root)
    except Corrupted:
        found = []  # what can't be listed is told by whoever lists it
    found.sort(key=lambda name_folder: _mtime(name_folder.folder / "changed"), reverse=True)
    here = [] if name is None else [NameFolder(root, name)]
    return [*here, *(name_folder for name_folder in found[:_NAMES] if name_folder.name != name)]


def _highest(name_folder: NameFolder) -> list[int]:
    try:
        return name_folder.numbers()[-_NUMBERS:]
    except Corrupted:
        return []
