"""Serve one name as a repository: its versions as tags, the newest as `main`, and what was pushed since."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from adapterhub_fin_registry.errors import Corrupted
from adapterhub_fin_registry.hub_server.errors import HubError, no_revision
from adapterhub_fin_registry.hub_server.repo.draft_state import Pushed, RepositoryState, pushed_id, version_id
from adapterhub_fin_registry.hub_server.repo.state import State
from adapterhub_fin_registry.hub_server.repo.tree import CARD, Blob, Commit, version_files
from adapterhub_fin_registry.model.version import Version
from adapterhub_fin_registry.registry import Registry
from adapterhub_fin_registry.storage.name_folder import NameFolder
from adapterhub_fin_registry.storage.transaction import now

MAIN: Final = "main"
ID: Final = re.compile(r"[0-9a-f]{40}")
_EMPTY: Final = pushed_id(None, None, ())  # the commit of an empty repository
_CACHED_FILES: Final = 20_000  # of the commits in memory
_SHORT: Final = re.compile(r"[0-9a-f]{7,39}")
_SHA256: Final = re.compile(rb"[0-9a-f]{64}")
TAG: Final = re.compile(r"v([1-9][0-9]{0,8})")
CardOf = Callable[[Version], bytes]


@dataclass(frozen=True)
class Ref:
    """Represent a branch or a tag, and its commit."""

    name: str
    commit: str


class ServedRepository:
    """Represent one name at one moment: its versions, its aliases, and its state beyond them.

    A version is read when it is first needed and parsed when it is shown, since a push needs only the newest of
    hundreds.
    """

    def __init__(
        self, registry: Registry, state_folder: State, card: CardOf, name: str, state: RepositoryState
    ) -> None:
        self.registry = registry
        self._state_folder, self._card = state_folder, card
        self.name = name
        self.namespace = name.partition("/")[0]
        self._name_folder = NameFolder(registry.root, name)
        self._numbers = self._name_folder.numbers()
        self._stored: dict[int, Version | None] = {}
        self.aliases = registry.aliases(name) if self.oldest else {}
        self.state = state
        self._commits: dict[str, Commit] = {}
        self._files = 0  # of these commits
        self._lock = threading.Lock()
        self._blobs_of: dict[int, dict[str, Blob]] = {}

    @cached_property
    def versions(self) -> list[Version]:
        """Return every version that can be read, by ascending number."""
        return list(self._readable(self._numbers))

    @cached_property
    def oldest(self) -> Version | None:
        """Return the version of the lowest number, yanked or not; None where there are no versions."""
        return next(self._readable(self._numbers), None)

    @cached_property
    def newest(self) -> Version | None:
        """Return the version that `main` shows: the highest that is neither yanked nor deleted."""
        return next((version for version in self._readable(self._numbers[::-1]) if not _yanked(version)), None)

    @cached_property
    def created_at(self) -> str:
        """Return when the repository was created, or its first version stored, in UTC."""
        return self.state.created_at or (self.oldest.record["added_at"] if self.oldest else now())

    @property
    def head(self) -> Commit:
        """Return the commit of `main`: the newest version, or what was pushed on top of it."""
        pushed = self.state.commit(self.state.branches.get(MAIN, ""))
        on = self.newest.digest if self.newest else None
        if pushed is not None and pushed.on == on:
            return self._pushed(pushed)
        return self.newest_commit or Commit(_EMPTY, {}, date=self.created_at)

    @property
    def newest_commit(self) -> Commit | None:
        """Return the commit of the newest version itself; None without versions."""
        return self._of(self.newest) if self.newest else None

    def branches(self) -> list[Ref]:
        """Return `main` and the other branches."""
        branch_ids = [(name, id_) for name, id_ in sorted(self.state.branches.items()) if name != MAIN]
        return [Ref(MAIN, self.head.id), *(Ref(name, id_) for name, id_ in branch_ids)]

    def tags(self) -> list[Ref]:
        """Return a tag for every version and for every alias."""
        by_number = {version.number: version_id(version.digest) for version in self.versions}
        numbered = [Ref(f"v{number}", id_) for number, id_ in by_number.items()]
        aliases = [Ref(alias, by_number[n]) for alias, n in sorted(self.aliases.items()) if n in by_number]
        return numbered + aliases

    def commit(self, revision: str) -> Commit:
        """Return the commit of a branch, a tag, an alias or a commit id.

        The prefixes `refs/heads/` and `refs/tags/` choose the kind. A commit id may be shortened to seven digits.
        Raises HubError 404 for an unknown revision and an ambiguous id.
        """
        kind, ref = ref_of(revision)
        if kind != "tags" and ref == MAIN:
            return self.head
        if kind != "heads" and (tag := TAG.fullmatch(ref)):
            return self._number(int(tag[1]), revision)
        if kind is None and ID.fullmatch(ref):  # before aliases: a full id always means its commit
            return self._id(ref, revision)
        if kind != "tags" and ref in self.state.branches:
            return self._id(self.state.branches[ref], revision)
        if kind != "heads" and ref in self.aliases:
            return self._number(self.aliases[ref], revision)
        if kind is None and _SHORT.fullmatch(ref):
            return self._id(self._full_id(ref), revision)
        raise no_revision(self.name, revision)

    def _full_id(self, short: str) -> str:
        ids = {self.head.id, *self._ids, *(commit.id for commit in self.state.commits)}
        matches = [id_ for id_ in ids if id_.startswith(short)]
        if len(matches) > 1:
            raise HubError(
                404, f"{short} begins {len(matches)} commits of {self.name}: write more of it", "RevisionNotFound"
            )
        return matches[0] if matches else short

    def history(self, commit: Commit, start: int, length: int) -> tuple[list[Commit], int]:
        """Return `length` entries of a commit's history from `start`, newest first, and the number of all entries."""
        last = commit.version.number if commit.version else 0
        if not commit.version and self.newest is not None and commit.id == self.head.id:
            last = self.newest.number
        before = [
            version
            for version in reversed(self.versions)
            if version.number <= last and version_id(version.digest) != commit.id
        ]
        listed: list[Commit | Version] = [commit, *before]
        listed = listed[start : start + length]
        return [entry if isinstance(entry, Commit) else self._of(entry) for entry in listed], 1 + len(before)

    def uploaded(self, sha256: str) -> Blob | None:
        """Return the uploaded or drafted file with this SHA-256; None where there is none."""
        path = self._state_folder.blob(self.name, sha256)
        try:
            return Blob(path.stat().st_size, sha256, path)
        except FileNotFoundError:
            return None

    def holding(self, sha256: str) -> Iterator[tuple[Version, Blob]]:
        """Yield the versions that have a file with this SHA-256, newest first, each with the file."""
        for version in self._readable(self._numbers_by_sha256.get(sha256.encode(), ())):
            if blob := self._by_sha256(version).get(sha256):
                yield version, blob

    @cached_property
    def _numbers_by_sha256(self) -> dict[bytes, list[int]]:
        """Return the numbers of the versions, newest first, by every SHA-256 in their manifests.

        A commit or a batch asks for hundreds of files: each manifest is searched once for all of them.
        """
        numbers: dict[bytes, list[int]] = {}
        for number in self._numbers[::-1]:
            version = self._manifest(number)
            for digits in set(_SHA256.findall(version.manifest_bytes)) if version else ():
                numbers.setdefault(digits, []).append(number)
        return numbers

    def _by_sha256(self, version: Version) -> dict[str, Blob]:
        blobs = self._blobs_of.get(version.number)
        if blobs is None:
            files = version_files(version).values()
            blobs = {blob.sha256: blob for blob in files if blob.path is not None}
            if sum(map(len, list(self._blobs_of.values()))) > _CACHED_FILES:
                self._blobs_of.clear()
            self._blobs_of[version.number] = blobs
        return blobs

    def by_digest(self, digest: str) -> Version | None:
        """Return the version with a digest; None where there is none."""
        return next(self._readable(self._numbers[::-1], lambda version: version.digest == digest), None)

    def _readable(
        self, numbers: Iterable[int], may_be: Callable[[Version], bool] = lambda version: True
    ) -> Iterator[Version]:
        """Yield the readable versions of some numbers. A version for which `may_be` is false isn't parsed."""
        for number in numbers:
            version = self._manifest(number)
            if version is not None and may_be(version) and version.is_readable:
                yield version

    def _manifest(self, number: int) -> Version | None:
        if number not in self._stored:
            self._stored[number] = self._name_folder.stored(number)
        return self._stored[number]

    @cached_property
    def _ids(self) -> dict[str, list[int]]:
        """Return the numbers of the versions, newest first, by the ids of their commits."""
        numbers: dict[str, list[int]] = {}
        for number in self._numbers[::-1]:
            if version := self._manifest(number):
                numbers.setdefault(version_id(version.digest), []).append(number)
        return numbers

    def _number(self, number: int, revision: str) -> Commit:
        if number in self._numbers:
            for version in self._readable([number]):
                return self._of(version)
        raise no_revision(self.name, revision)

    def _id(self, id_: str, revision: str) -> Commit:
        if self.head.id == id_:  # also in an empty repository
            return self.head
        for version in self._readable(self._ids.get(id_, ())):
            return self._of(version)
        if pushed := self.state.commit(id_):
            return self._pushed(pushed)
        if id_ == _EMPTY:  # a branch may be older than the first push
            return Commit(_EMPTY, {}, date=self.created_at)
        raise no_revision(self.name, revision)

    def _of(self, version: Version) -> Commit:
        id_ = version_id(version.digest)
        if (cached := self._commits.get(id_)) is not None:
            return cached
        pushed = self.state.commit(id_)
        files = version_files(version) | (self._blobs(pushed) if pushed else {})
        if CARD not in files:
            files[CARD] = Blob.of(self._card(version))
        return self._cache(
            Commit(
                id_,
                files,
                version,
                pushed.title if pushed else f"Version {version.number}",
                pushed.message if pushed else "",
                pushed.author if pushed else str(version.record["added_by"]).partition("@")[0],
                str(version.record["added_at"]),
            )
        )

    def _cache(self, commit: Commit) -> Commit:
        """Cache a commit, and drop the oldest ones, since a history may have millions of files."""
        with self._lock:
            before = self._commits.pop(commit.id, None)  # another thread may have cached it meanwhile
            self._commits[commit.id] = commit
            self._files += len(commit.files) - len(before.files if before else ())
            while self._files > _CACHED_FILES and len(self._commits) > 1:
                self._files -= len(self._commits.pop(next(iter(self._commits))).files)
        return commit

    def _pushed(self, pushed: Pushed) -> Commit:
        if (cached := self._commits.get(pushed.id)) is not None:
            return cached
        version = self.by_digest(pushed.version) if pushed.version else None
        if pushed.version is not None and version is None:  # deleted meanwhile
            raise no_revision(self.name, pushed.id)
        files = self._blobs(pushed)
        if version is not None:
            version_blobs = version_files(version)
            files = version_blobs | files
            files.setdefault(CARD, Blob.of(self._card(version)))
        manifest = self._state_folder.blob(self.name, pushed.manifest) if pushed.manifest else None
        return self._cache(
            Commit(pushed.id, files, version, pushed.title, pushed.message, pushed.author, pushed.date, manifest)
        )

    def _blobs(self, pushed: Pushed) -> dict[str, Blob]:
        return {
            path: Blob(size, sha256, self._state_folder.blob(self.name, sha256)) for path, size, sha256 in pushed.files
        }


def ref_of(revision: str) -> tuple[str | None, str]:
    """Return the kind of a revision (`heads`, `tags`, or None for any), and the revision without its prefix."""
    for kind in ("heads", "tags"):
        if revision.startswith(f"refs/{kind}/"):
            return kind, revision.removeprefix(f"refs/{kind}/")
    return None, revision


def _yanked(version: Version) -> bool:
    try:
        return version.yanked
    except Corrupted:
        return True  # unknown, so `main` doesn't show it
