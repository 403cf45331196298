"""A lock file: what each reference meant, so that it means the same tomorrow.

It is JSON for people and git: one entry for each reference with its date, sorted, and written whole or not at
all. It isn't part of a registry, and goes with the code that uses one.
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
_LIMIT: Final = 16 * 2**20  # bytes; a file of a hundred thousand entries is smaller
_log = logging.getLogger(__name__)


class LockKey(NamedTuple):
    """What was asked for, as it was written: an entry of a lock file is found by this."""

    reference: str
    as_of: str | None
    include_base: bool | None  # None without a date, where it makes no difference


def lock_key(wanted: object, as_of: str | date | datetime | None, include_base: bool) -> LockKey:
    """Return the key of a reference and its date: a date in any spelling is one instant, and "now" stays "now"."""
    if as_of is None:
        return LockKey(str(wanted), None, None)
    return LockKey(str(wanted), "now" if as_of == "now" else format_instant(as_of_instant(as_of)), include_base)


class Lock:
    """The resolutions in one lock file, which need not be there yet."""

    def __init__(self, path: str | os.PathLike[str], disk: Disk) -> None:
        self.path = Path(path)
        self._disk = disk

    def hold(
        self,
        key: LockKey,
        find: Callable[[str, str], Version],
        resolve: Callable[[], Version],
        named: Callable[[Version], str],
    ) -> Version:
        """The version that the file names for what is asked; else what `resolve` gives, which the file names then.

        `find` gives the version of an exact reference and a digest, `named` the reference to hold a version by.
        NotFound where the version that is named is gone.
        """
        entry = self.entries().get(key)
        if entry is None:
            version = resolve()
            self._write({**self.entries(), key: _entry(key, named(version), version.digest)})
            return version
        try:
            version = find(_exact(entry), entry["digest"])
        except NotFound as error:
            raise NotFound(
                f"{self.path} holds {key.reference} to {entry['version']}, {entry['digest']}, which is gone from the "
                "registry: restore that version, or take the entry out of the file to resolve it anew"
            ) from error
        self._warn(key, version, resolve)
        return version

    def entries(self) -> dict[LockKey, dict[str, Any]]:
        """What the file holds; Corrupted where it isn't a lock file."""
        try:
            if self.path.stat().st_size > _LIMIT:
                raise ValueError("it is too large")
            document = json.loads(self.path.read_text(encoding="utf-8"))
            if document["format"] != FORMAT:
                raise ValueError(f"its format is {document['format']!r} and not {FORMAT}")
            found = {_key_of(entry): entry for entry in document["resolutions"]}
            if len(found) != len(document["resolutions"]):
                raise ValueError("it holds a reference twice")
            return found
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise Corrupted(f"{self.path} can't be read ({error.strerror}): name another lock file") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise Corrupted(f"{self.path} isn't a lock file ({error}): restore it from git, or remove it") from error

    def _warn(self, key: LockKey, held: Version, resolve: Callable[[], Version]) -> None:
        if held.yanked:
            _log.warning("%s holds %s to %s, which was yanked", self.path, key.reference, held.reference)
        try:
            now = resolve()
        except AdapterHubError as error:  # whatever became of what isn't asked for, what is held is there
            _log.warning("%s holds %s to %s; by now %s", self.path, key.reference, held.reference, error)
            return
        if now.digest != held.digest:  # which may stand under the same number, in another registry
            message = "%s holds %s to %s, %s; by now it is %s, %s"
            _log.warning(message, self.path, key.reference, held.reference, held.digest, now.reference, now.digest)

    def _write(self, entries: dict[LockKey, dict[str, Any]]) -> None:
        resolutions = [entries[key] for key in sorted(entries, key=lambda each: tuple(map(str, each)))]
        document = {"format": FORMAT, "resolutions": resolutions}
        text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        try:
            self._disk.overwrite(self.path, text.encode())
        except OSError as error:
            raise WriteFailed(f"the lock file {self.path} can't be written ({error}): name another place") from error


def _entry(key: LockKey, named: str, digest: str) -> dict[str, Any]:
    fields = {key: value for key, value in key._asdict().items() if value is not None}
    return {**fields, "version": named, "digest": digest}


def _key_of(entry: dict[str, Any]) -> LockKey:
    """What an entry answers; a ValueError, KeyError or TypeError where it can't be one."""
    check_digest(entry["digest"])
    wanted, named = parse_reference(entry["reference"]), parse_reference(entry["version"])
    if isinstance(wanted, HubReference):
        if not (isinstance(named, HubReference) and named.repository == wanted.repository and named.is_commit):
            raise ValueError(f"it holds {wanted} to {named}, which is no commit of it")
    elif not isinstance(named, Reference) or (isinstance(wanted, Reference) and wanted.full_name != named.full_name):
        raise ValueError(f"it holds {wanted} to another name, {named}")
    return LockKey(entry["reference"], entry.get("as_of"), entry.get("include_base"))


def _exact(entry: dict[str, Any]) -> str:
    """The digest under the name that it was found under: numbers may differ from one registry to the next.

    On a Hub a commit is exact already.
    """
    if entry["version"].startswith("hf://"):
        return str(entry["version"])
    return f"{Reference.parse(entry['version']).full_name}@{entry['digest']}"
