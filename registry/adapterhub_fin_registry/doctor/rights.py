"""Check the permissions of a registry: who may read it, and who may write it."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from adapterhub_fin_registry.doctor.visit import Finding, Findings, Visit, by_hand, everything, mode_of


def unreadable(visit: Visit) -> Findings:
    """Find what this user may not read."""
    adapters = visit.root / "adapters"
    below = (Path(parent, name) for parent, folders, files in os.walk(adapters) for name in (*folders, *files))
    for path in (visit.root / "changed", visit.root / "tmp", adapters, *below):
        mode = mode_of(path)
        needed = os.R_OK | os.X_OK if stat.S_ISDIR(mode) else os.R_OK
        if mode and not stat.S_ISLNK(mode) and not os.access(path, needed):
            means = "this user may not read it, so that the version or name that it belongs to is skipped"
            remedy = "ask its owner for the right to read it"
            yield Finding("unreadable", path, means, remedy, repairable=False), by_hand


def modes(visit: Visit) -> Findings:
    """Find what other users may write, or reach while it is being built."""
    if sys.platform == "win32":  # Windows has no such mode bits
        return
    tmp = visit.root / "tmp"
    for path in visit.work_folders():
        if stat.S_ISDIR(mode_of(path)) and mode_of(path) & 0o077:
            means = "other users can reach into what is being built there"
            yield Finding("mode", path, means, "give it the mode 0700"), _restricting(visit, path, 0o700)
    for path in (
        visit.root,
        tmp,
        visit.root / "adapters",
        *(path for name_folder in visit.name_folders() for path in everything(name_folder)),
    ):
        mode = mode_of(path)
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX and not stat.S_ISLNK(mode):
            means, allowed = "every user of the machine can rewrite it", stat.S_IMODE(mode) & ~stat.S_IWOTH
            yield Finding("mode", path, means, "take that right away"), _restricting(visit, path, allowed)


def _restricting(visit: Visit, path: Path, mode: int) -> Callable[[], object]:
    return visit.repair_of(visit.root, lambda change: change.disk.restrict(path, mode))
