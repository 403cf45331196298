"""Find and remove what interrupted work and deletions left behind; in doubt, keep it."""

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
from adapterhub_fin_registry.storage.name_folder import NameFolder
from adapterhub_fin_registry.storage.names import listable
from adapterhub_fin_registry.storage.transaction import changing

GRACE: Final = timedelta(days=1)
TOMBSTONE: Final = "deleted.json"
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Leftover:
    """Represent what nobody needs any more: `unfinished` work of a dead process, or an interrupted `deletion`."""

    kind: Literal["unfinished", "deletion"]
    path: Path
    size: int
    removed: bool


def collect(disk: Disk, root: Path, *, grace: timedelta = GRACE, dry_run: bool = False) -> list[Leftover]:
    """Remove leftovers, or only list them with `dry_run`.

    Work counts as dead if nothing was written there for `grace`. What belongs to another user is listed and kept.
    Raises Corrupted if ROOT/tmp is a link or can't be listed, and WriteFailed if the disk refuses a change.
    """
    leftovers = [*_unfinished(disk, root, grace, dry_run)]
    for name_folder, folder in interrupted_deletions(root):
        size, removed = _size(folder), not dry_run
        if not dry_run:
            try:
                with changing(disk, root, name_folder.folder) as change, change.marked():
                    change.clear(folder)
            except ReadOnly:  # another user's
                removed = False
        leftovers.append(Leftover("deletion", folder, size, removed))
    return leftovers


def abandoned(root: Path, before: float) -> list[Path]:
    """Return what lies under ROOT/tmp and was last written at or before an instant, in seconds since 1970.

    Raises Corrupted if ROOT/tmp is a link or can't be listed.
    """
    return [path for path in work_folders(root) if _newest(path) <= before]


def work_folders(root: Path) -> list[Path]:
    """Return the folders under ROOT/tmp in which something is, or was, being built.

    Only entries named as this package names them count. Raises Corrupted if ROOT/tmp is a link or can't be listed.
    """
    refuse_links(root, root / "tmp")
    return sorted(root / "tmp" / name for name in entries(root / "tmp") if _UUID.fullmatch(name))


def interrupted_deletions(root: Path) -> Iterator[tuple[NameFolder, Path]]:
    """Yield each version that has a tombstone and other files, and whose deletion is certain.

    Raises Corrupted if the names can't be listed.
    """
    for name_folder in listable(root):
        for number in name_folder.numbers():
            folder = name_folder.versions_folder / str(number)
            if is_buried(folder) and not folder.is_symlink() and len(entries(folder)) > 1:
                yield name_folder, folder


def is_buried(folder: Path) -> bool:
    """Return whether a version's folder holds a tombstone.

    If the manifest is still there, the tombstone must be that of this very version.
    """
    try:
        digest = read_object(folder / TOMBSTONE).get("digest")
        current = (
            digest_of(read_small(folder / "manifest.json")) if os.path.lexists(folder / "manifest.json") else digest
        )
    except (Corrupted, OSError):
        return False
    return isinstance(digest, str) and current == digest


def _unfinished(disk: Disk, root: Path, grace: timedelta, dry_run: bool) -> Iterator[Leftover]:
    if dry_run or not work_folders(root):
        for path in abandoned(root, time.time() - grace.total_seconds()):
            yield Leftover("unfinished", path, _size(path), False)
        return
    with changing(disk, root, root) as change:
        # Now by the disk's own clock, since this machine's may differ.
        disk_now = change.work_folder.stat().st_mtime
        for number, path in enumerate(abandoned(root, disk_now - grace.total_seconds())):
            if path == change.work_folder:
                continue
            size = _size(path)
            try:
                # Moved in one step: a process that is still building there finds all of it gone, never a part.
                removed = disk.claim(path, change.work_folder / str(number))
            except FileNotFoundError:
                continue
            except PermissionError:  # another user's
                removed = False
            yield Leftover("unfinished", path, size, removed)


def _size(tree: Path) -> int:
    """Return the bytes of all files that may be looked at, without a tombstone's."""
    try:
        return sum(path.lstat().st_size for path in _tree(tree) if path.name != TOMBSTONE and not path.is_dir())
    except OSError:
        return 0


def _newest(tree: Path) -> float:
    try:
        return max((path.lstat().st_mtime for path in _tree(tree)), default=float("inf"))
    except OSError:  # it is gone by now, or may not be read: it isn't known to be old
        return float("inf")


def _tree(path: Path) -> Iterator[Path]:
    yield path
    if stat.S_ISDIR(path.lstat().st_mode):
        for entry in path.iterdir():
            yield from _tree(entry)
