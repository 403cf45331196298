"""Read and write a lock file, which records the version each reference resolved to.

It is JSON for people and git: a sorted list with one entry for each reference and date, written completely or not at
all. It belongs to the code that uses a registry, and isn't part of the registry.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from adapterhub_fin_registry.errors import AdapterHubError, Corrupted, NotFound, WriteFailed
from adapterhub_fin_registry.io.disk import Disk
from adapterhub_fin_registry.model.knowledge import as_of_instant, format_instant
from adapterhub_fin_registry.model.reference import HubReference, Reference, check_digest, parse_reference
from adapterhub_fin_registry.model.version import Version

FORMAT: Final = 2
_LIMIT: Final = 16 * 2**20  # bytes; a hundred thousand entries need less
_log = logging.getLogger(__name__)


class LockKey(NamedTuple):
    """Identify an entry of a lock file by the reference and date of the request, as they were written."""

    reference: str
    as_of: str | None
    include_base: bool | None  # None without a date, since it makes no difference then


def lock_key(reference: object, as_of: str | date | datetime | None, include_base: bool) -> LockKey:
    """Return the key of a reference and its date.

    A date in any spelling becomes one instant; "now" stays "now". Raises BadInstant for an as_of that is neither.
    """
    if as_of is None:
        return LockKey(str(reference), None, None)
    return LockKey(str(reference), "now" if as_of == "now" else format_instant(as_of_instant(as_of)), include_base)


class Lock:
    """Hold the resolutions of one lock file, which need not exist yet."""

    def __init__(self, path: str | os.PathLike[str], disk: Disk) -> None:
        self.path = Path(path)
        self._disk = disk

    def hold(
        self,
        key: LockKey,
        find: Callable[[str, str], Version],
        resolve: Callable[[], Version],
        reference_of: Callable[[Version], str],
    ) -> Version:
        """Return the version that the file records for a key; without an entry, resolve it and record it.

        `find` returns the version of an exact reference and a digest; `reference_of` returns the reference to record
        for a version. Raises NotFound if the recorded version is gone, Corrupted if the file isn't a lock file, and
        WriteFailed if it can't be written.
        """
        entry = self.entries().get(key)
        if entry is None:
            version = resolve()
            self._write({**self.entries(), key: _entry(key, reference_of(version), version.digest)})
            return version
        try:
            version = find(_exact(entry), entry["digest"])
        except NotFound as error:
            raise NotFound(
                f"{self.path} holds {key.reference} to {entry['version']}, {entry['digest']}, which is gone from the "
                "registry: restore that version, or remove the entry from the file to resolve it again"
            ) from error
        self._warn(key, version, resolve)
        return version

    def entries(self) -> dict[LockKey, dict[str, Any]]:
        """Return the entries of the file; an empty dict if it doesn't exist.

        Raises Corrupted if it isn't a lock file.
        """
        try:
            if self.path.stat().st_size > _LIMIT:
                raise ValueError("it is too large")
            document = json.loads(self.path.read_text(encoding="utf-8"))
            if document["format"] != FORMAT:
                raise ValueError(f"its format is {document['format']!r} and not {FORMAT}")
            entries = {_key_of(entry): entry for entry in document["resolutions"]}
            if len(entries) != len(document["resolutions"]):
                raise ValueError("it holds a reference twice")
            return entries
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise Corrupted(f"{self.path} can't be read ({error.strerror}): name another lock file") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise Corrupted(f"{self.path} isn't a lock file ({error}): restore it from git, or remove it") from error

    def _warn(self, key: LockKey, locked: Version, resolve: Callable[[], Version]) -> None:
        if locked.yanked:
            _log.warning("%s holds %s to %s, which was yanked", self.path, key.reference, locked.reference)
        try:
            now = resolve()
        except AdapterHubError as error:  # the locked version exists, whatever a new resolution would give
            _log.warning("%s holds %s to %s; by now %s", self.path, key.reference, locked.reference, error)
            return
        if now.digest != locked.digest:  # it may have the same number, in another registry
            message = "%s holds %s to %s, %s; by now it is %s, %s"
            _log.warning(message, self.path, key.reference, locked.reference, locked.digest, now.reference, now.digest)

    def _write(self, entries: dict[LockKey, dict[str, Any]]) -> None:
        resolutions = [entries[key] for key in sorted(entries, key=lambda key: tuple(map(str, key)))]
        document = {"format": FORMAT, "resolutions": resolutions}
        text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        try:
            self._disk.overwrite(self.path, text.encode())
        except OSError as error:
            raise WriteFailed(f"the lock file {self.path} can't be written ({error}): name another file") from error


def _entry(key: LockKey, reference: str, digest: str) -> dict[str, Any]:
    fields = {key: value for key, value in key._asdict().items() if value is not None}
    return {**fields, "version": reference, "digest": digest}


def _key_of(entry: dict[str, Any]) -> LockKey:
    """Return the key of an entry. Raises ValueError, KeyError or TypeError if it isn't a valid entry."""
    check_digest(entry["digest"])
    request, locked = parse_reference(entry["reference"]), parse_reference(entry["version"])
    if isinstance(request, HubReference):
        if not (isinstance(locked, HubReference) and locked.repository == request.repository and locked.is_commit):
            raise ValueError(f"it holds {request} to {locked}, which is no commit of it")
    elif not isinstance(locked, Reference) or (
        isinstance(request, Reference) and request.full_name != locked.full_name
    ):
        raise ValueError(f"it holds {request} to another name, {locked}")
    return LockKey(entry["reference"], entry.get("as_of"), entry.get("include_base"))


def _exact(entry: dict[str, Any]) -> str:
    """Return the exact reference of an entry: a commit on a Hub, else the name with the digest.

    The digest is used because numbers may differ from one registry to the next.
    """
    if entry["version"].startswith("hf://"):
        return str(entry["version"])
    return f"{Reference.parse(entry['version']).full_name}@{entry['digest']}"
