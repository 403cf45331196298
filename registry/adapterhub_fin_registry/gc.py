"""What dead work and half-finished deletions left behind, found and removed; in doubt it stays."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, Literal

from adapterhub_fin_registry.canonical import digest_of
from adapterhub_fin_registry.change import changing
from adapterhub_fin_registry.disk import Disk
from adapterhub_fin_registry.errors import Corrupted
from adapterhub_fin_registry.reading import read_object, read_small
from adapterhub_fin_registry.shelf import Shelf, shelves

GRACE: Final = timedelta(days=1)
KEPT: Final = "deleted.json"


@dataclass(frozen=True)
class Leftover:
    """Something that nobody will need again: a `workshop` of dead work, or the `remains` of a deleted version."""

    kind: Literal["workshop", "remains"]
    path: Path
    size: int
    removed: bool


def collect(disk: Disk, root: Path, *, grace: timedelta = GRACE, dry_run: bool = False) -> list[Leftover]:
    """Remove what was left behind, or only list it; what belongs to another user is listed and stays."""
    found = [*_workshops(disk, root, grace, dry_run)]
    for shelf, folder in remains(root):
        size = sum(entry.lstat().st_size for entry in _tree(folder) if entry.name != KEPT)
        if not dry_run:
            with changing(disk, root, shelf.folder) as change, change.marked():
                change.clear(folder)
        found.append(Leftover("remains", folder, size, not dry_run))
    return found


def abandoned(root: Path, before: float) -> list[Path]:
    """What lies under ROOT/tmp and in which nothing was written after an instant, in seconds since 1970."""
    return [path for path in _entries(root / "tmp") if _newest(path) <= before]


def remains(root: Path) -> Iterator[tuple[Shelf, Path]]:
    """Each version with a tombstone and something beside it, where there is no doubt that it was to be deleted."""
    for shelf in shelves(root):
        for number in shelf.numbers():
            folder = shelf.versions_folder / str(number)
            if not folder.is_symlink() and len(_entries(folder)) > 1 and is_buried(folder):
                yield shelf, folder


def is_buried(folder: Path) -> bool:
    """Whether a version's folder holds a tombstone, and that of this very version where its manifest is still there."""
    try:
        digest = read_object(folder / KEPT).get("digest")
        held = digest_of(read_small(folder / "manifest.json")) if os.path.lexists(folder / "manifest.json") else digest
    except (Corrupted, OSError):
        return False
    return isinstance(digest, str) and held == digest


def _workshops(disk: Disk, root: Path, grace: timedelta, dry_run: bool) -> Iterator[Leftover]:
    if dry_run or not _entries(root / "tmp"):
        for path in abandoned(root, time.time() - grace.total_seconds()):
            yield Leftover("workshop", path, _size(path), False)
        return
    with changing(disk, root, root) as change:
        # The disk's own clock: that of this machine may be another.
        moment = change.workshop.stat().st_mtime
        for number, path in enumerate(abandoned(root, moment - grace.total_seconds())):
            if path == change.workshop:
                continue
            size = _size(path)
            try:
                # In one step: whoever is still building there finds it gone, and no half of it.
                removed = disk.claim(path, change.workshop / str(number))
            except FileNotFoundError:
                continue
            except PermissionError:  # another user's
                removed = False
            yield Leftover("workshop", path, size, removed)


def _size(tree: Path) -> int:
    return sum(path.lstat().st_size for path in _tree(tree) if not path.is_dir())


def _newest(tree: Path) -> float:
    try:
        return max((path.lstat().st_mtime for path in _tree(tree)), default=float("inf"))
    except OSError:  # gone meanwhile, or not ours to look into: not known to be old
        return float("inf")


def _tree(path: Path) -> Iterator[Path]:
    yield path
    if stat.S_ISDIR(path.lstat().st_mode):
        for entry in path.iterdir():
            yield from _tree(entry)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
