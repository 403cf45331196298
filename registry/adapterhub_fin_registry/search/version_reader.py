"""Read one stored version for the index."""

from __future__ import annotations

import os
from hashlib import blake2b
from itertools import count
from pathlib import Path
from typing import Any, Final, NamedTuple

from adapterhub_fin_registry.errors import Corrupted
from adapterhub_fin_registry.io.canonical_json import digest_of
from adapterhub_fin_registry.io.safe_read import ABSENT, numbers, parse_object, read_object, read_small
from adapterhub_fin_registry.model.events import read_events
from adapterhub_fin_registry.model.format import known_format
from adapterhub_fin_registry.search.index_row import Facts, facts
from adapterhub_fin_registry.storage.name_folder import NameFolder

_FEW: Final = 200  # manifests, from which on the faster parser has earned its import
_read_before: Final = count()


class IndexedVersion(NamedTuple):
    """Represent a version as the index holds it; it may have changed since."""

    id: int
    state: str
    aliases: list[str]


class VersionReader:
    """Read a version's folder, and recognize an unchanged one by the state of its small files.

    Manifest, record and events are never rewritten, but another version may be copied into a version's folder.
    """

    def __init__(self, name: str, number: int, folder: str, aliases: list[str]) -> None:
        self.name, self.number, self._folder, self._aliases = name, number, folder, sorted(aliases)

    def is_known(self, indexed: IndexedVersion) -> bool:
        """Return whether the index holds the version as it is now."""
        try:
            return not self._has("deleted.json") and indexed[1:] == (self._state(), self._aliases)
        except (OSError, Corrupted):
            return False  # `read` reports why

    def read(self) -> Facts | None:
        """Return the facts of the version; None if it was deleted.

        Raises Corrupted if it can't be read.
        """
        if self._has("deleted.json"):
            return None
        path = f"{self._folder}{os.sep}manifest.json"
        if os.path.islink(self._folder):  # noqa: PTH114 - making a Path costs more than the check
            raise Corrupted(f"{self._folder} is a link: replace it by the version itself")
        try:
            state = self._state()  # taken first: a change while the rest is read is then noticed the next time
            data = read_small(path)
            record = read_object(f"{self._folder}{os.sep}record.json")
            events = read_events(Path(self._folder)) if self._has("events") else []
            parse = _parsed if next(_read_before) >= _FEW else parse_object
            manifest = known_format(parse(data, path), path)
            version_facts = facts(self.name, self.number, digest_of(data), manifest, record, events, self._aliases)
            version_facts.columns["state"] = state
            return version_facts
        except OSError as error:
            if self._has("deleted.json"):
                return None  # it was deleted just now
            if isinstance(error, ABSENT) and not os.path.lexists(path):
                problem = f"{self._folder} holds no manifest.json: remove the folder, or restore it from a copy"
            else:
                problem = f"{error.filename} can't be read ({error.strerror}): restore it from a copy"
            raise Corrupted(problem) from error
        # `facts` raises these for a manifest of another shape, and for values that aren't JSON.
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError, RecursionError) as error:
            raise Corrupted(f"{path} isn't a manifest: restore it from a copy") from error

    def _state(self) -> str:
        # As in `hash_cache`: nobody can set back the ctime of an altered file, and another file has another inode.
        events = numbers(Path(self._folder, "events")) if self._has("events") else ()
        states: list[int] = []
        for entry in ("manifest.json", "record.json", *(f"events/{number}/event.json" for number in events)):
            status = os.lstat(f"{self._folder}{os.sep}{entry}")
            states += (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        return blake2b(repr(states).encode(), digest_size=16).hexdigest()

    def _has(self, entry: str) -> bool:
        return os.access(f"{self._folder}{os.sep}{entry}", os.F_OK)  # False, without an error, if it doesn't exist


def _parsed(data: bytes, path: str) -> dict[str, Any]:
    """Return what `parse_object` returns, four times as fast for a manifest of 26 kB.

    Raises Corrupted as it does: whatever the fast parser refuses, `parse_object` decides.
    """
    from pydantic_core import from_json

    try:
        value = from_json(data)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else parse_object(data, path)


def damage(name_folder: NameFolder, number: int) -> str | None:
    """Return why a search can't read the version of a number; None if it can, or if there is none."""
    try:
        if name_folder.version(number) is not None:
            VersionReader(name_folder.name, number, str(name_folder.versions_folder / str(number)), []).read()
    except Corrupted as error:
        return str(error)
    return None


def damaged(name_folder: NameFolder) -> dict[int, str]:
    """Return what is wrong with each number of a name that holds neither a readable version nor a tombstone.

    Raises Corrupted if the versions can't be listed.
    """
    problems = {}
    for number in name_folder.numbers():
        folder = name_folder.versions_folder / str(number)
        if reason := damage(name_folder, number):
            problems[number] = reason
        elif not os.path.lexists(folder / "manifest.json") and not (folder / "deleted.json").is_file():
            problems[number] = f"{folder} holds no manifest.json: remove the folder, or restore it from a copy"
    return problems
