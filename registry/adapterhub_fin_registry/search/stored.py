"""One version as it lies on disk, read for the index."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path
from typing import Any, Final, NamedTuple

from adapterhub_fin_registry.canonical import digest_of
from adapterhub_fin_registry.errors import Corrupted
from adapterhub_fin_registry.events import read_events
from adapterhub_fin_registry.numbered import numbers
from adapterhub_fin_registry.reading import read_object, read_small
from adapterhub_fin_registry.search.facts import Facts, facts
from adapterhub_fin_registry.version import known_format

# SQLite drops in C what no search asks about, nine tenths of a manifest, before Python parses the rest.
_SLIM: Final = (
    "SELECT json_remove(?, '$.tensors', '$.files', '$.base.weight_probe', '$.recipe', '$.environment', '$.measured_on')"
)


class Known(NamedTuple):
    """What the index holds of a version that may have changed since."""

    id: int
    events: int
    aliases: list[str]


class Stored:
    """A version's folder; manifest and record are never rewritten, so that only events and aliases tell a change."""

    def __init__(self, name: str, number: int, folder: str, aliases: list[str]) -> None:
        self._name, self._number, self._folder, self._aliases = name, number, folder, sorted(aliases)
        try:
            with os.scandir(folder) as entries:
                self._entries = {entry.name for entry in entries}
        except (FileNotFoundError, NotADirectoryError):
            self._entries = set()

    def is_known(self, known: Known) -> bool:
        """Whether the index holds the version as it is."""
        if "deleted.json" in self._entries or "manifest.json" not in self._entries:
            return False
        events = numbers(Path(self._folder, "events")) if "events" in self._entries else []
        return known.events == (events[-1] if events else 0) and known.aliases == self._aliases

    def read(self, connection: sqlite3.Connection) -> Facts | None:
        """What is stored; None where it was deleted, and Corrupted where it can't be read."""
        if "deleted.json" in self._entries:
            return None
        path = f"{self._folder}{os.sep}manifest.json"
        try:
            data = read_small(path)
            record = read_object(f"{self._folder}{os.sep}record.json")
            events = read_events(Path(self._folder)) if "events" in self._entries else []
            manifest = known_format(_slim(connection, data), path)
            return facts(self._name, self._number, digest_of(data), manifest, record, events, self._aliases)
        except OSError as error:
            if Path(self._folder, "deleted.json").exists():
                return None  # just now
            if "manifest.json" not in self._entries:
                problem = f"{self._folder} holds no manifest.json: remove the folder, or restore it from a copy"
            else:
                problem = f"{error.filename} can't be read ({error.strerror}): restore it from a copy"
            raise Corrupted(problem) from error
        # What a manifest of another shape raises on the way through `facts`, and SQLite for what isn't JSON.
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError, sqlite3.Error) as error:
            raise Corrupted(f"{path} isn't a manifest: restore it from a copy") from error


def _slim(connection: sqlite3.Connection, data: bytes) -> Any:
    [(text,)] = connection.execute(_SLIM, (data.decode(),))
    manifest = json.loads(text)
    if "\\ud" in text:  # perhaps an escaped half of a pair, which isn't Unicode and which SQLite can't hold
        json.dumps(manifest, ensure_ascii=False).encode()
    return manifest
