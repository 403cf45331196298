"""One version as it lies on disk, read for the index."""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from adapterhub_fin_registry.errors import Corrupted
from adapterhub_fin_registry.io.canonical_json import digest_of
from adapterhub_fin_registry.io.safe_read import ABSENT, numbers, parse_object, read_object, read_small
from adapterhub_fin_registry.model.events import read_events
from adapterhub_fin_registry.model.format import known_format
from adapterhub_fin_registry.search.index_row import Facts, facts
from adapterhub_fin_registry.storage.name_folder import NameFolder


class IndexedVersion(NamedTuple):
    """What the index holds of a version that may have changed since."""

    id: int
    state: str
    aliases: list[str]


class VersionReader:
    """A version's folder, of which the state of its small files tells whether it is the one that was read before.

    Manifest, record and events are never rewritten, but another version may be copied into the place of one.
    """

    def __init__(self, name: str, number: int, folder: str, aliases: list[str]) -> None:
        self.name, self.number, self._folder, self._aliases = name, number, folder, sorted(aliases)

    def is_known(self, known: IndexedVersion) -> bool:
        """Whether the index holds the version as it is."""
        try:
            return not self._has("deleted.json") and known[1:] == (self._state(), self._aliases)
        except (OSError, Corrupted):
            return False  # and why is found when it is read

    def read(self) -> Facts | None:
        """What is stored; None where it was deleted, and Corrupted where it can't be read."""
        if self._has("deleted.json"):
            return None
        path = f"{self._folder}{os.sep}manifest.json"
        if os.path.islink(self._folder):  # noqa: PTH114 - a Path costs more than the look
            raise Corrupted(f"{self._folder} is a link: put the version itself in its place")
        try:
            state = self._state()  # before what it is the state of: a change meanwhile is then seen the next time
            data = read_small(path)
            record = read_object(f"{self._folder}{os.sep}record.json")
            events = read_events(Path(self._folder)) if self._has("events") else []
            manifest = known_format(parse_object(data, path), path)
            found = facts(self.name, self.number, digest_of(data), manifest, record, events, self._aliases)
            found.columns["state"] = state
            return found
        except OSError as error:
            if self._has("deleted.json"):
                return None  # just now
            if isinstance(error, ABSENT) and not os.path.lexists(path):
                problem = f"{self._folder} holds no manifest.json: remove the folder, or restore it from a copy"
            else:
                problem = f"{error.filename} can't be read ({error.strerror}): restore it from a copy"
            raise Corrupted(problem) from error
        # What a manifest of another shape raises on the way through `facts`, and JSON of what isn't.
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError, RecursionError) as error:
            raise Corrupted(f"{path} isn't a manifest: restore it from a copy") from error

    def _state(self) -> str:
        # As in `memory`: nobody can put back the ctime of what was altered, and another file has another inode.
        events = numbers(Path(self._folder, "events")) if self._has("events") else ()
        states: list[int] = []
        for entry in ("manifest.json", "record.json", *(f"events/{number}/event.json" for number in events)):
            found = os.lstat(f"{self._folder}{os.sep}{entry}")
            states += (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        return blake2b(repr(states).encode(), digest_size=16).hexdigest()

    def _has(self, entry: str) -> bool:
        return os.access(f"{self._folder}{os.sep}{entry}", os.F_OK)  # which raises nothing where it isn't there


def damage(name_folder: NameFolder, number: int) -> str | None:
    """Return why a search can't read the version of a number; None where it can, or where there is none."""
    try:
        if name_folder.version(number) is not None:
            VersionReader(name_folder.name, number, str(name_folder.versions_folder / str(number)), []).read()
    except Corrupted as error:
        return str(error)
    return None


def damaged(name_folder: NameFolder) -> dict[int, str]:
    """Return what is wrong with each number of a name that holds neither a whole version nor a tombstone."""
    found = {}
    for number in name_folder.numbers():
        folder = name_folder.versions_folder / str(number)
        if reason := damage(name_folder, number):
            found[number] = reason
        elif not os.path.lexists(folder / "manifest.json") and not (folder / "deleted.json").is_file():
            found[number] = f"{folder} holds no manifest.json: remove the folder, or restore it from a copy"
    return found
