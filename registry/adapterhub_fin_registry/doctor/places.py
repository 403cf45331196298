"""What is at a path, where it may be gone by the time that it is looked at, or not be listed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from adapterhub_fin_registry.errors import Corrupted
from adapterhub_fin_registry.io.safe_read import entries
from adapterhub_fin_registry.storage.name_folder import NameFolder


def mode_of(path: Path) -> int:
    """The mode of what is at a path; 0 where nothing is, or not any more."""
    try:
        return path.lstat().st_mode
    except OSError:
        return 0


def changed_at(path: Path) -> int:
    """When what is at a path was last changed, which nobody can set back; 0 where nothing is, or not any more."""
    try:
        return path.lstat().st_ctime_ns
    except OSError:
        return 0


def everything(shelf: NameFolder) -> Iterator[Path]:
    """Everything under a name, its folder left out, and no link followed."""
    for place, folders, files in os.walk(shelf.folder):
        for name in (*folders, *files):
            yield Path(place, name)


def folders(parent: Path) -> list[Path]:
    """The folders in a folder, but for hidden ones."""
    # Not by a Path, which raises where a folder may be listed and not entered.
    return [path for path in listed(parent) if os.path.isdir(path) and not path.name.startswith(".")]  # noqa: PTH112


def listed(parent: Path) -> list[Path]:
    """What is in a folder; nothing where that can't be listed."""
    try:
        return sorted(parent / name for name in entries(parent))
    except Corrupted:
        return []  # which another check says


def alias_names(shelf: NameFolder) -> list[str]:
    """The aliases of a name; none where they can't be listed."""
    try:
        return shelf.alias_names()
    except Corrupted:
        return []  # which another check says
