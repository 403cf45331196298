"""Everything stored under one name, read from its folder and never written."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from adapterhub_fin_registry.errors import Corrupted
from adapterhub_fin_registry.io.safe_read import (
    ABSENT,
    entries,
    numbers,
    read_object,
    read_small,
    read_start,
    refuse_links,
    unreadable,
)
from adapterhub_fin_registry.model.reference import check_name, is_segment
from adapterhub_fin_registry.model.version import Version, row

_MARK: Final = 4096  # bytes; any would do
_UNKNOWN: Final = "unknown-"


class NameFolder:
    """One name's versions and aliases.

    A version that can't be read as one is passed over in lists, so that it never blocks the others, and is Corrupted
    when it is asked for by number. So is a name whose folders can't be listed, or that a link leads out of the root.
    """

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self.root = root
        self.folder = root.joinpath("adapters", *check_name(name))
        self.versions_folder = self.folder / "versions"

    def numbers(self) -> list[int]:
        """Every number ever used that still has a folder, a deleted version's included."""
        refuse_links(self.root, self.versions_folder)
        return numbers(self.versions_folder)

    def version(self, number: int) -> Version | None:
        """The version of a number; None where there is none."""
        refuse_links(self.root, self.versions_folder)
        return self._read(number)

    def is_listable(self) -> bool:
        """Whether the versions can be listed; `trouble` says why not."""
        try:
            self.numbers()
        except Corrupted:
            return False
        return True

    def trouble(self) -> str | None:
        """Why the versions or the aliases of the name can't even be listed; None where they can."""
        try:
            self.numbers()
            for alias in self.alias_names():
                self._settings(alias)
        except Corrupted as error:
            return str(error)
        return None

    def stored(self, number: int) -> Version | None:
        """The version of a number, its manifest unparsed; None where there is none, or no file to read it from."""
        try:
            return self._read(number)
        except Corrupted:
            return None  # whatever its bytes are, they aren't a manifest's

    def newest_first(self) -> Iterator[Version]:
        """The versions that can be read, the highest number first."""
        for number in reversed(self.numbers()):
            try:
                version = self._read(number)
                if version is not None and version.knowledge_end:  # which reads what every use of it needs
                    yield version
            except Corrupted:
                continue  # said when it is asked for by number, and by `damaged`

    def choosable(self) -> Iterator[Version]:
        """The versions that may be chosen for a bare name, the highest number first: those that aren't yanked."""
        for version in self.newest_first():
            try:
                yanked = version.yanked
            except Corrupted:
                continue  # whether it was yanked can't be known
            if not yanked:
                yield version

    def by_digest(self, digest: str) -> Version | None:
        """The version with this digest; of several, the one stored last."""
        for number in reversed(self.numbers()):
            version = self.stored(number)
            if version is not None and version.digest == digest:
                return version
        return None

    def holding(self, manifest: bytes, among: Iterable[int]) -> Version | None:
        """Of some numbers, the version with exactly this manifest."""
        for number in among:
            path = self.versions_folder / str(number) / "manifest.json"
            try:
                # The size first: a name may have hundreds of versions.
                same = path.stat().st_size == len(manifest) and read_small(path) == manifest
                if same and (found := self.version(number)):
                    return found
            except (OSError, Corrupted):
                continue  # what can't be read is none of them
        return None

    def alias_names(self) -> list[str]:
        """Every alias that was ever set."""
        folder = self.folder / "aliases"
        refuse_links(self.root, folder)
        return sorted(filter(is_segment, entries(folder)))

    def alias(self, alias: str) -> int | None:
        """The version that an alias names now."""
        used = self._settings(alias)
        return self._setting(alias, used[-1])["version"] if used else None

    def aliases(self) -> dict[str, int]:
        """Every alias that names a version now, but for what can't be read."""
        found = {}
        try:
            names = self.alias_names()
        except Corrupted:
            return {}  # said when an alias is asked for, and by `trouble`
        for alias in names:
            try:
                number = self.alias(alias)
            except Corrupted:
                continue  # said when the alias is asked for
            if number is not None:
                found[alias] = number
        return found

    def alias_history(self, alias: str) -> list[dict[str, Any]]:
        """Every setting of an alias, oldest first, each with its number, version and at."""
        return [{"number": number, **self._setting(alias, number)} for number in self._settings(alias)]

    def row(self, version: Version, aliases: dict[str, int]) -> dict[str, Any]:
        """What a list shows of a version, in plain JSON values."""
        events, named = version.events, [alias for alias, number in aliases.items() if number == version.number]
        return version.plain(
            lambda data: row(version.name, version.number, version.digest, data, version.record, events, named)
        )

    def rows(self) -> list[dict[str, Any]]:
        """What a list shows of the name, by ascending number."""
        found = []
        aliases = self.aliases()
        for version in self.newest_first():
            try:
                found.append(self.row(version, aliases))
            except Corrupted:
                continue  # said when it is asked for by number, and by `damaged`
        return found[::-1]

    def _read(self, number: int) -> Version | None:
        # Of those in `numbers`, which has looked for links on the way.
        return Version.read(self.name, number, self.versions_folder / str(number))

    def _settings(self, alias: str) -> list[int]:
        folder = self.folder / "aliases" / alias
        refuse_links(self.root, folder)
        return numbers(folder)

    def _setting(self, alias: str, number: int) -> dict[str, Any]:
        path = self.folder / "aliases" / alias / str(number) / "alias.json"
        try:
            setting = read_object(path)
        except ABSENT as error:
            raise Corrupted(f"{path} is missing: set the alias again") from error
        version = setting.get("version", 0)  # null is said, and never left out
        if not (version is None or (type(version) is int and version > 0)) or not isinstance(setting.get("at"), str):
            raise Corrupted(f"{path} isn't the setting of an alias: set the alias again")
        return setting


def name_folders(root: Path) -> list[NameFolder]:
    """Every name that has a folder under a root, sorted; those of a namespace that can't be listed are left out."""
    return [NameFolder(root, f"{namespace}/{name}") for namespace, names in _namespaces(root) for name in names or ()]


def listable(root: Path) -> list[NameFolder]:
    """Every name whose versions can be listed; `troubles` says which others there are."""
    return [name_folder for name_folder in name_folders(root) if name_folder.is_listable()]


def troubles(root: Path) -> dict[str, str]:
    """Why a namespace or a name can't be listed, for each that can't."""
    found = closed_namespaces(root)
    return found | {name_folder.name: reason for name_folder in name_folders(root) if (reason := name_folder.trouble())}


def closed_namespaces(root: Path) -> dict[str, str]:
    """Why the names of a namespace can't be listed, for each of which they can't."""
    closed = [namespace for namespace, names in _namespaces(root) if names is None]
    return {namespace: reason for namespace in closed if (reason := trouble(root, namespace))}


def trouble(root: Path, name: str) -> str | None:
    """Why one namespace or one name can't be listed; None where it can."""
    if "/" in name:
        return NameFolder(root, name).trouble()
    try:
        _segments(root / "adapters" / name)
    except Corrupted as error:
        return str(error)
    return None


def mark_of(folder: Path) -> str:
    """The mark of a root or of a name's folder; empty before its first change."""
    try:
        text = read_start(f"{folder}{os.sep}changed", _MARK).decode("ascii", errors="replace")
    except ABSENT:
        return ""
    except OSError:  # no plain file, or not ours to read
        text = ""
    return text or f"{_UNKNOWN}{uuid.uuid4().hex}"  # emptied while a change is made: nobody may take it for known


def is_unknown(mark: str) -> bool:
    """Whether nobody can tell by a mark what they have seen."""
    return not mark or mark.startswith(_UNKNOWN)


def _namespaces(root: Path) -> list[tuple[str, list[str] | None]]:
    """Each namespace with its names, or None where it can't be listed."""
    adapters = root / "adapters"
    found: list[tuple[str, list[str] | None]] = []
    for namespace in _segments(adapters):
        try:
            found.append((namespace, _segments(adapters / namespace)))
        except Corrupted:
            found.append((namespace, None))  # said by `troubles`
    return found


def _segments(folder: Path) -> list[str]:
    # Only what the grammar allows becomes a name, and no link leads out of the root.
    try:
        refuse_links(folder.parent, folder)
        with os.scandir(folder) as found:
            return sorted(e.name for e in found if is_segment(e.name) and e.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unreadable(folder, error) from error
