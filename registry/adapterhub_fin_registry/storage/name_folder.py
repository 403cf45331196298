"""Read what is stored under one name, without changing it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from adapterhub_fin_registry.errors import Corrupted
from adapterhub_fin_registry.io.safe_read import (
    ABSENT,
    entries,
    numbers,
    read_object,
    read_small,
    refuse_links,
)
from adapterhub_fin_registry.model.reference import check_name, is_segment
from adapterhub_fin_registry.model.version import Version, row


class NameFolder:
    """Represent one name's versions and aliases.

    A version that can't be read is skipped in lists, so that it never blocks the others; asking for it by number raises
    Corrupted. So does a name whose folders can't be listed, or are reached through a link out of the root.
    """

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self.root = root
        self.folder = root.joinpath("adapters", *check_name(name))
        self.versions_folder = self.folder / "versions"

    def numbers(self) -> list[int]:
        """Return every used number that still has a folder, those of deleted versions included.

        Raises Corrupted if the versions can't be listed.
        """
        refuse_links(self.root, self.versions_folder)
        return numbers(self.versions_folder)

    def version(self, number: int) -> Version | None:
        """Return the version of a number; None if there is none.

        Raises Corrupted if it can't be read.
        """
        refuse_links(self.root, self.versions_folder)
        return self._read(number)

    def is_listable(self) -> bool:
        """Return whether the versions can be listed; `trouble` says why not."""
        try:
            self.numbers()
        except Corrupted:
            return False
        return True

    def trouble(self) -> str | None:
        """Return why the versions or the aliases of the name can't be listed; None if they can."""
        try:
            self.numbers()
            for alias in self.alias_names():
                self._settings(alias)
        except Corrupted as error:
            return str(error)
        return None

    def stored(self, number: int) -> Version | None:
        """Return the version of a number, with its manifest unparsed; None if there is none, or its file can't be read.

        It never raises Corrupted.
        """
        try:
            return self._read(number)
        except Corrupted:
            return None  # the file can't be read as a manifest

    def newest_first(self) -> Iterator[Version]:
        """Yield the versions that can be read, the highest number first.

        Raises Corrupted if the versions can't be listed.
        """
        for number in reversed(self.numbers()):
            try:
                version = self._read(number)
                if version is not None and version.knowledge_end:  # this parses what every use of a version needs
                    yield version
            except Corrupted:
                continue  # reported when it is asked for by number, and by `damaged`

    def choosable(self) -> Iterator[Version]:
        """Yield the versions that a bare name may mean, the highest number first: those that aren't yanked.

        Raises Corrupted if the versions can't be listed.
        """
        for version in self.newest_first():
            try:
                yanked = version.yanked
            except Corrupted:
                continue  # its events can't be read, so it may be yanked
            if not yanked:
                yield version

    def by_digest(self, digest: str) -> Version | None:
        """Return the version with this digest; if there are several, the one stored last. None if there is none.

        Raises Corrupted if the versions can't be listed.
        """
        for number in reversed(self.numbers()):
            version = self.stored(number)
            if version is not None and version.digest == digest:
                return version
        return None

    def holding(self, manifest: bytes, numbers: Iterable[int]) -> Version | None:
        """Return the version with exactly this manifest among some numbers; None if there is none."""
        for number in numbers:
            path = self.versions_folder / str(number) / "manifest.json"
            try:
                # Compare the size first, since a name may have hundreds of versions.
                same = path.stat().st_size == len(manifest) and read_small(path) == manifest
                if same and (version := self.version(number)):
                    return version
            except (OSError, Corrupted):
                continue  # what can't be read isn't this version
        return None

    def alias_names(self) -> list[str]:
        """Return every alias that was ever set, sorted.

        Raises Corrupted if they can't be listed.
        """
        folder = self.folder / "aliases"
        refuse_links(self.root, folder)
        return sorted(filter(is_segment, entries(folder)))

    def alias(self, alias: str) -> int | None:
        """Return the version that an alias names now; None if it names none.

        Raises Corrupted if its setting can't be read.
        """
        used = self._settings(alias)
        return self._setting(alias, used[-1])["version"] if used else None

    def aliases(self) -> dict[str, int]:
        """Return every alias that names a version now, with its version; unreadable ones are left out."""
        versions = {}
        try:
            names = self.alias_names()
        except Corrupted:
            return {}  # reported when an alias is asked for, and by `trouble`
        for alias in names:
            try:
                number = self.alias(alias)
            except Corrupted:
                continue  # reported when the alias is asked for
            if number is not None:
                versions[alias] = number
        return versions

    def alias_history(self, alias: str) -> list[dict[str, Any]]:
        """Return every setting of an alias, oldest first, each with its number, version and at.

        Raises Corrupted if a setting can't be read.
        """
        return [{"number": number, **self._setting(alias, number)} for number in self._settings(alias)]

    def row(self, version: Version, aliases: dict[str, int]) -> dict[str, Any]:
        """Return what a list shows of a version, in plain JSON values.

        Raises Corrupted if the version can't be read.
        """
        events, own_aliases = version.events, [alias for alias, number in aliases.items() if number == version.number]
        return version.plain(
            lambda data: row(version.name, version.number, version.digest, data, version.record, events, own_aliases)
        )

    def rows(self) -> list[dict[str, Any]]:
        """Return what a list shows of the name, by ascending number.

        Raises Corrupted if the versions can't be listed.
        """
        rows = []
        aliases = self.aliases()
        for version in self.newest_first():
            try:
                rows.append(self.row(version, aliases))
            except Corrupted:
                continue  # reported when it is asked for by number, and by `damaged`
        return rows[::-1]

    def _read(self, number: int) -> Version | None:
        # Only for a number in `numbers`, which has checked the path for links.
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
        version = setting.get("version", 0)  # a removed alias has null, and never lacks the key
        if not (version is None or (type(version) is int and version > 0)) or not isinstance(setting.get("at"), str):
            raise Corrupted(f"{path} isn't the setting of an alias: set the alias again")
        return setting
