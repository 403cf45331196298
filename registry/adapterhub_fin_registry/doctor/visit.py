"""Hold what the checks of one examination share: the registry, its findings and its paths."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from adapterhub_fin_registry.errors import Corrupted
from adapterhub_fin_registry.io.disk import Disk
from adapterhub_fin_registry.io.safe_read import entries
from adapterhub_fin_registry.storage.garbage import work_folders
from adapterhub_fin_registry.storage.name_folder import NameFolder
from adapterhub_fin_registry.storage.names import listable
from adapterhub_fin_registry.storage.transaction import Transaction, changing


class Examined(Protocol):
    """Describe what an examination needs of the registry: its root and id, and the changes that repair it."""

    @property
    def root(self) -> Path:
        """Return the registry's folder."""

    @property
    def id(self) -> str | None:
        """Return the registry's id; None before the first write."""

    def add_event(self, reference: str, kind: str, body: Mapping[str, Any]) -> int:
        """Record an event of a version, and return the event's number."""

    def set_alias(self, name: str, alias: str, version: int | None) -> object:
        """Let an alias name a version, or none."""


@dataclass(frozen=True)
class Finding:
    """Describe one thing that is wrong.

    `means` says what is wrong, and `remedy` what repairs it. If `repairable` is False, only a person can decide what to
    do.
    """

    kind: str
    path: Path
    means: str
    remedy: str
    repairable: bool = True
    repaired: bool = False


@dataclass(frozen=True)
class Visit:
    """Represent one examination of one registry. `grace` is the age from which unfinished work counts as dead."""

    registry: Examined
    disk: Disk
    grace: timedelta

    @property
    def root(self) -> Path:
        """Return the registry's folder."""
        return self.registry.root

    def name_folders(self) -> list[NameFolder]:
        """Return every name whose versions can be listed.

        The checks `unreadable` and `unexpected_entries` report the others.
        """
        try:
            return listable(self.root)
        except Corrupted:
            return []

    def work_folders(self) -> list[Path]:
        """Return the folders in which something is, or was, being built; empty if they can't be listed."""
        try:
            return work_folders(self.root)
        except Corrupted:
            return []

    def repair_of(self, folder: Path, repair: Callable[[Transaction], object]) -> Callable[[], object]:
        """Return a repair that runs a function under a name's folder, between two change marks."""

        def run() -> None:
            with changing(self.disk, self.root, folder) as change, change.marked():
                repair(change)

        return run


Findings: TypeAlias = Iterator[tuple[Finding, Callable[[], object]]]  # each with the function that repairs it


def by_hand() -> None:
    """Do nothing: a person must decide what to repair."""


def mode_of(path: Path) -> int:
    """Return the mode of a path; 0 if nothing is there."""
    try:
        return path.lstat().st_mode
    except OSError:
        return 0


def changed_at(path: Path) -> int:
    """Return a path's ctime in nanoseconds, which nobody can set back; 0 if nothing is there."""
    try:
        return path.lstat().st_ctime_ns
    except OSError:
        return 0


def everything(name_folder: NameFolder) -> Iterator[Path]:
    """Yield every path under a name, without its folder; no link is followed."""
    for parent, folders, files in os.walk(name_folder.folder):
        for name in (*folders, *files):
            yield Path(parent, name)


def folders(parent: Path) -> list[Path]:
    """Return the folders in a folder, without hidden ones."""
    # os.path.isdir, since Path.is_dir raises if the folder may be listed but not entered.
    return [path for path in listed(parent) if os.path.isdir(path) and not path.name.startswith(".")]  # noqa: PTH112


def listed(parent: Path) -> list[Path]:
    """Return the paths in a folder, sorted; empty if it can't be listed."""
    try:
        return sorted(parent / name for name in entries(parent))
    except Corrupted:
        return []  # another check reports it


def alias_names(name_folder: NameFolder) -> list[str]:
    """Return the aliases of a name; empty if they can't be listed."""
    try:
        return name_folder.alias_names()
    except Corrupted:
        return []  # another check reports it
