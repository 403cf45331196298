"""What dead work and half-finished deletions left behind, found and removed; in doubt it stays."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, Literal

from adapterhub_fin_registry.errors import Corrupted, ReadOnly
from adapterhub_fin_registry.io.canonical_json import digest_of
from adapterhub_fin_registry.io.disk import Disk
from adapterhub_fin_registry.io.safe_read import entries, read_object, read_small, refuse_links
from adapterhub_fin_registry.storage.name_folder import NameFolder, listable
from adapterhub_fin_registry.storage.transaction import changing

GRACE: Final = timedelta(days=1)
KEPT: Final = "deleted.json"
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


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
    for name_folder, folder in remains(root):
        size, removed = _size(folder), not dry_run
        if not dry_run:
            try:
                with changing(disk, root, name_folder.folder) as change, change.marked():
                    change.clear(folder)
            except ReadOnly:  # another user's
                removed = False
        found.append(Leftover("remains", folder, size, removed))
    return found


def abandoned(root: Path, before: float) -> list[Path]:
    """What lies under ROOT/tmp and in which nothing was written after an instant, in seconds since 1970."""
    return [path for path in workshops(root) if _newest(path) <= before]


def workshops(root: Path) -> list[Path]:
    """What is being built, or was; Corrupted where ROOT/tmp is a link, or can't be listed.

    Nothing is a workshop whose name no process of ours gave it.
    """
    refuse_links(root, root / "tmp")
    return sorted(root / "tmp" / name for name in entries(root / "tmp") if _UUID.fullmatch(name))


def remains(root: Path) -> Iterator[tuple[NameFolder, Path]]:
    """Each version with a tombstone and something beside it, where there is no doubt that it was to be deleted."""
    for name_folder in listable(root):
        for number in name_folder.numbers():
            folder = name_folder.versions_folder / str(number)
            if is_buried(folder) and not folder.is_symlink() and len(entries(folder)) > 1:
                yield name_folder, folder


def is_buried(folder: Path) -> bool:
    """Whether a version's folder holds a tombstone, and that of this very version where its manifest is still there."""
    try:
        digest = read_object(folder / KEPT).get("digest")
        held = digest_of(read_small(folder / "manifest.json")) if os.path.lexists(folder / "manifest.json") else digest
    except (Corrupted, OSError):
        return False
    return isinstance(digest, str) and held == digest


def _workshops(disk: Disk, root: Path, grace: timedelta, dry_run: bool) -> Iterator[Leftover]:
    if dry_run or not workshops(root):
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
    """The bytes of what may be looked at, but for a tombstone."""
    try:
        return sum(path.lstat().st_size for path in _tree(tree) if path.name != KEPT and not path.is_dir())
    except OSError:
        return 0


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
