"""One name as a repository: its versions as tags, `main` as the newest of them, and what was pushed since."""

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
_EMPTY: Final = pushed_id(None, None, ())  # the commit of a repository in which nothing is
_REMEMBERED: Final = 20_000  # files of the commits that are kept in memory
_SHORT: Final = re.compile(r"[0-9a-f]{7,39}")
_SHA256: Final = re.compile(rb"[0-9a-f]{64}")
TAG: Final = re.compile(r"v([1-9][0-9]{0,8})")
CardOf = Callable[[Version], bytes]


@dataclass(frozen=True)
class Ref:
    """A branch or a tag and the commit it names."""

    name: str
    commit: str


class ServedRepository:
    """One name as it was found: its versions, its aliases, and the state beside them.

    A version is read when it is first asked for, and parsed when it is shown: a push needs the newest of hundreds.
    """

    def __init__(self, registry: Registry, state: State, card: CardOf, name: str, kept: RepositoryState) -> None:
        self.registry = registry
        self._state, self._card = state, card
        self.name = name
        self.namespace = name.partition("/")[0]
        self._shelf = NameFolder(registry.root, name)
        self._numbers = self._shelf.numbers()
        self._stored: dict[int, Version | None] = {}
        self.aliases = registry.aliases(name) if self.oldest else {}
        self.kept = kept
        self._commits: dict[str, Commit] = {}
        self._files = 0  # of these commits
        self._lock = threading.Lock()
        self._blobs_of: dict[int, dict[str, Blob]] = {}

    @cached_property
    def versions(self) -> list[Version]:
        """Every version that can be read, by ascending number."""
        return list(self._readable(self._numbers))

    @cached_property
    def oldest(self) -> Version | None:
        """The version of the lowest number, yanked or not."""
        return next(self._readable(self._numbers), None)

    @cached_property
    def newest(self) -> Version | None:
        """The version that `main` shows: the highest that is neither yanked nor deleted."""
        return next((version for version in self._readable(self._numbers[::-1]) if not _yanked(version)), None)

    @cached_property
    def created_at(self) -> str:
        """When the repository was made, or its first version stored."""
        return self.kept.created_at or (self.oldest.record["added_at"] if self.oldest else now())

    @property
    def head(self) -> Commit:
        """What `main` is: the newest version, or what was pushed on top of it."""
        pushed = self.kept.commit(self.kept.branches.get(MAIN, ""))
        on = self.newest.digest if self.newest else None
        if pushed is not None and pushed.on == on:
            return self._pushed(pushed)
        return self.newest_commit or Commit(_EMPTY, {}, date=self.created_at)

    @property
    def newest_commit(self) -> Commit | None:
        """The commit of the newest version itself."""
        return self._of(self.newest) if self.newest else None

    def branches(self) -> list[Ref]:
        """`main` and the branches that were made."""
        others = [(name, id_) for name, id_ in sorted(self.kept.branches.items()) if name != MAIN]
        return [Ref(MAIN, self.head.id), *(Ref(name, id_) for name, id_ in others)]

    def tags(self) -> list[Ref]:
        """A tag for every version, and one for every alias."""
        by_number = {version.number: version_id(version.digest) for version in self.versions}
        numbered = [Ref(f"v{number}", id_) for number, id_ in by_number.items()]
        named = [Ref(alias, by_number[n]) for alias, n in sorted(self.aliases.items()) if n in by_number]
        return numbered + named

    def commit(self, revision: str) -> Commit:
        """What a branch, a tag, an alias or a commit id means; a HubError where it means nothing.

        `refs/heads/` and `refs/tags/` say which of them. An id may be cut short, to no less than seven digits.
        """
        kind, ref = ref_of(revision)
        if kind != "tags" and ref == MAIN:
            return self.head
        if kind != "heads" and (tag := TAG.fullmatch(ref)):
            return self._number(int(tag[1]), revision)
        if kind is None and ID.fullmatch(ref):  # before any alias: who names a commit means that one and no other
            return self._id(ref, revision)
        if kind != "tags" and ref in self.kept.branches:
            return self._id(self.kept.branches[ref], revision)
        if kind != "heads" and ref in self.aliases:
            return self._number(self.aliases[ref], revision)
        if kind is None and _SHORT.fullmatch(ref):
            return self._id(self._whole_id(ref), revision)
        raise no_revision(self.name, revision)

    def _whole_id(self, short: str) -> str:
        known = {self.head.id, *self._ids, *(commit.id for commit in self.kept.commits)}
        found = [id_ for id_ in known if id_.startswith(short)]
        if len(found) > 1:
            raise HubError(
                404, f"{short} begins {len(found)} commits of {self.name}: write more of it", "RevisionNotFound"
            )
        return found[0] if found else short

    def history(self, commit: Commit, start: int, length: int) -> tuple[list[Commit], int]:
        """Return a part of a commit and the versions before it, newest first, and how many these are in all."""
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
        return [each if isinstance(each, Commit) else self._of(each) for each in listed], 1 + len(before)

    def uploaded(self, sha256: str) -> Blob | None:
        """A file by its bytes that was uploaded, or is kept for a draft."""
        path = self._state.blob(self.name, sha256)
        try:
            return Blob(path.stat().st_size, sha256, path)
        except FileNotFoundError:
            return None

    def holding(self, sha256: str) -> Iterator[tuple[Version, Blob]]:
        """The versions that have a file of these bytes, newest first, each with the file."""
        for version in self._readable(self._naming.get(sha256.encode(), ())):
            if blob := self._by_sha256(version).get(sha256):
                yield version, blob

    @cached_property
    def _naming(self) -> dict[bytes, list[int]]:
        """The numbers of the versions by the digits in their manifests, those of their files among them, newest first.

        A commit or a batch asks for hundreds of files: each version is looked through once for all of them.
        """
        found: dict[bytes, list[int]] = {}
        for number in self._numbers[::-1]:
            version = self._manifest(number)
            for digits in set(_SHA256.findall(version.manifest_bytes)) if version else ():
                found.setdefault(digits, []).append(number)
        return found

    def _by_sha256(self, version: Version) -> dict[str, Blob]:
        found = self._blobs_of.get(version.number)
        if found is None:
            files = version_files(version).values()
            found = {blob.sha256: blob for blob in files if blob.path is not None}
            if sum(map(len, list(self._blobs_of.values()))) > _REMEMBERED:
                self._blobs_of.clear()
            self._blobs_of[version.number] = found
        return found

    def by_digest(self, digest: str) -> Version | None:
        """The version with a digest."""
        return next(self._readable(self._numbers[::-1], lambda version: version.digest == digest), None)

    def _readable(
        self, numbers: Iterable[int], may_be: Callable[[Version], bool] = lambda version: True
    ) -> Iterator[Version]:
        """Of some numbers the versions that can be read; those that `may_be` rules out aren't parsed to tell."""
        for number in numbers:
            version = self._manifest(number)
            if version is not None and may_be(version) and version.is_readable:
                yield version

    def _manifest(self, number: int) -> Version | None:
        if number not in self._stored:
            self._stored[number] = self._shelf.stored(number)
        return self._stored[number]

    @cached_property
    def _ids(self) -> dict[str, list[int]]:
        """The numbers of the versions by the ids of their commits, newest first."""
        found: dict[str, list[int]] = {}
        for number in self._numbers[::-1]:
            if version := self._manifest(number):
                found.setdefault(version_id(version.digest), []).append(number)
        return found

    def _number(self, number: int, revision: str) -> Commit:
        if number in self._numbers:
            for version in self._readable([number]):
                return self._of(version)
        raise no_revision(self.name, revision)

    def _id(self, id_: str, revision: str) -> Commit:
        if self.head.id == id_:  # an empty repository's among them
            return self.head
        for version in self._readable(self._ids.get(id_, ())):
            return self._of(version)
        if pushed := self.kept.commit(id_):
            return self._pushed(pushed)
        if id_ == _EMPTY:  # a branch may have been made there before anything was pushed
            return Commit(_EMPTY, {}, date=self.created_at)
        raise no_revision(self.name, revision)

    def _of(self, version: Version) -> Commit:
        id_ = version_id(version.digest)
        if (known := self._commits.get(id_)) is not None:
            return known
        born = self.kept.commit(id_)
        files = version_files(version) | (self._blobs(born) if born else {})
        if CARD not in files:
            files[CARD] = Blob.of(self._card(version))
        return self._remembered(
            Commit(
                id_,
                files,
                version,
                born.title if born else f"Version {version.number}",
                born.message if born else "",
                born.author if born else str(version.record["added_by"]).partition("@")[0],
                str(version.record["added_at"]),
            )
        )

    def _remembered(self, commit: Commit) -> Commit:
        """Keep a commit for who asks next, and let go of the oldest: a history may hold millions of files."""
        with self._lock:
            before = self._commits.pop(commit.id, None)  # another thread may have been as quick
            self._commits[commit.id] = commit
            self._files += len(commit.files) - len(before.files if before else ())
            while self._files > _REMEMBERED and len(self._commits) > 1:
                self._files -= len(self._commits.pop(next(iter(self._commits))).files)
        return commit

    def _pushed(self, pushed: Pushed) -> Commit:
        if (known := self._commits.get(pushed.id)) is not None:
            return known
        version = self.by_digest(pushed.version) if pushed.version else None
        if pushed.version is not None and version is None:  # it was deleted since
            raise no_revision(self.name, pushed.id)
        files = self._blobs(pushed)
        if version is not None:
            own = version_files(version)
            files = own | files
            files.setdefault(CARD, Blob.of(self._card(version)))
        manifest = self._state.blob(self.name, pushed.manifest) if pushed.manifest else None
        return self._remembered(
            Commit(pushed.id, files, version, pushed.title, pushed.message, pushed.author, pushed.date, manifest)
        )

    def _blobs(self, pushed: Pushed) -> dict[str, Blob]:
        return {path: Blob(size, sha256, self._state.blob(self.name, sha256)) for path, size, sha256 in pushed.files}


def ref_of(revision: str) -> tuple[str | None, str]:
    """Whether a revision says that it is of `heads` or of `tags`, and what it is without that."""
    for kind in ("heads", "tags"):
        if revision.startswith(f"refs/{kind}/"):
            return kind, revision.removeprefix(f"refs/{kind}/")
    return None, revision


def _yanked(version: Version) -> bool:
    try:
        return version.yanked
    except Corrupted:
        return True  # whether it was can't be known, and then it isn't chosen
