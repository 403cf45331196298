"""One version as it lies on disk, read for the index."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from adapterhub_fin_registry.canonical import digest_of
from adapterhub_fin_registry.errors import Corrupted
from adapterhub_fin_registry.events import read_events
from adapterhub_fin_registry.numbered import numbers
from adapterhub_fin_registry.reading import read_object, read_small
from adapterhub_fin_registry.search.excerpts import Excerpts
from adapterhub_fin_registry.search.facts import Facts, facts
from adapterhub_fin_registry.version import known_format


class Known(NamedTuple):
    """What the index holds of a version that may have changed since."""

    id: int
    events: int
    aliases: list[str]


class Stored:
    """A version's folder; manifest and record are never rewritten, so that only events and aliases tell a change."""

    def __init__(self, name: str, number: int, folder: str, aliases: list[str]) -> None:
        self.name, self.number, self._folder, self._aliases = name, number, folder, sorted(aliases)

    def is_known(self, known: Known) -> bool:
        """Whether the index holds the version as it is."""
        if self._has("deleted.json") or not self._has("manifest.json"):
            return False
        events = numbers(Path(self._folder, "events"))
        return known.events == (events[-1] if events else 0) and known.aliases == self._aliases

    def read(self, excerpts: Excerpts) -> Facts | None:
        """What is stored; None where it was deleted, and Corrupted where it can't be read."""
        if self._has("deleted.json"):
            return None
        path = f"{self._folder}{os.sep}manifest.json"
        if os.path.islink(self._folder):  # noqa: PTH114 - a Path costs more than the look
            raise Corrupted(f"{self._folder} is a link: put the version itself in its place")
        try:
            data = read_small(path)
            record = read_object(f"{self._folder}{os.sep}record.json")
            events = read_events(Path(self._folder)) if self._has("events") else []
            manifest = known_format(excerpts.of(data), path)
            return facts(self.name, self.number, digest_of(data), manifest, record, events, self._aliases)
        except OSError as error:
            if self._has("deleted.json"):
                return None  # just now
            if not os.path.lexists(path):
                problem = f"{self._folder} holds no manifest.json: remove the folder, or restore it from a copy"
            else:
                problem = f"{error.filename} can't be read ({error.strerror}): restore it from a copy"
            raise Corrupted(problem) from error
        # What a manifest of another shape raises on the way through `facts`, and JSON of what isn't.
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError, RecursionError) as error:
            raise Corrupted(f"{path} isn't a manifest: restore it from a copy") from error

    def _has(self, entry: str) -> bool:
        return os.access(f"{self._folder}{os.sep}{entry}", os.F_OK)  # which raises nothing where it isn't there
