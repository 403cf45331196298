"""One examination of a registry: what it walks over, and what it may find."""

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
from adapterhub_fin_registry.storage.garbage import workshops
from adapterhub_fin_registry.storage.name_folder import NameFolder, listable
from adapterhub_fin_registry.storage.transaction import Transaction, changing


class Examined(Protocol):
    """What an examination needs of the registry: where it is, and the changes that mend it."""

    @property
    def root(self) -> Path: ...
    @property
    def id(self) -> str | None: ...
    def add_event(self, reference: str, kind: str, body: Mapping[str, Any]) -> int: ...
    def set_alias(self, name: str, alias: str, version: int | None) -> object: ...


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: its kind and place, what it means, what mends it, and whether that was done.

    Where `repairable` is False only a person can tell what to do.
    """

    kind: str
    path: Path
    means: str
    remedy: str
    repairable: bool = True
    repaired: bool = False


@dataclass(frozen=True)
class Visit:
    """One examination of one registry."""

    registry: Examined
    disk: Disk
    grace: timedelta

    @property
    def root(self) -> Path:
        """The registry's folder."""
        return self.registry.root

    def name_folders(self) -> list[NameFolder]:
        """Every name whose versions can be listed; of the others `unreadable` and `strangers` tell."""
        try:
            return listable(self.root)
        except Corrupted:
            return []

    def workshops(self) -> list[Path]:
        """What is being built, or was, as far as it can be listed."""
        try:
            return workshops(self.root)
        except Corrupted:
            return []

    def mending(self, folder: Path, mend: Callable[[Transaction], object]) -> Callable[[], object]:
        """A repair under a name's folder, between two marks."""

        def done() -> None:
            with changing(self.disk, self.root, folder) as change, change.marked():
                mend(change)

        return done


Found: TypeAlias = Iterator[tuple[Finding, Callable[[], object]]]  # with what mends each


def by_hand() -> None:
    """Nothing is mended: a person must decide."""


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


def everything(name_folder: NameFolder) -> Iterator[Path]:
    """Everything under a name, its folder left out, and no link followed."""
    for place, folders, files in os.walk(name_folder.folder):
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


def alias_names(name_folder: NameFolder) -> list[str]:
    """The aliases of a name; none where they can't be listed."""
    try:
        return name_folder.alias_names()
    except Corrupted:
        return []  # which another check says
