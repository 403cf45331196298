"""Represent the state of a repository beyond its versions: pushed commits, branches and visibility."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from typing import Any, Final

from adapterhub_fin_registry.io.canonical_json import canonical

REPLACED: Final = 32  # replaced commits of a repository that can still be read by their id
ROWS: Final = 20_000  # files of these commits together
ALL_ROWS: Final = 100_000  # files of all pushed commits of a repository, which are stored as one document
Row = tuple[str, int, str]  # path, size, sha256


@dataclass(frozen=True)
class Pushed:
    """Represent a pushed commit that isn't just a version: a draft, or a version with a pushed card.

    `version` is the digest of the version that it shows; `on` is the digest of the newest version when it was pushed.
    `files` are the files that no version has. `manifest` is the SHA-256 of the manifest with which a complete draft
    would be stored.
    """

    id: str
    version: str | None
    on: str | None
    files: tuple[Row, ...]
    title: str = ""
    message: str = ""
    author: str = ""
    date: str = ""
    manifest: str = ""

    @property
    def hashes(self) -> set[str]:
        """Return the SHA-256 of every file in the state that the commit needs."""
        return {sha256 for _, _, sha256 in self.files} | ({self.manifest} if self.manifest else set())


@dataclass(frozen=True)
class RepositoryState:
    """Represent the state of a repository beyond its versions; `branches` maps a name to a commit id."""

    created_at: str = ""
    private: bool = True
    gated: str | bool = False
    branches: dict[str, str] = field(default_factory=dict)
    commits: tuple[Pushed, ...] = ()

    def commit(self, id_: str) -> Pushed | None:
        """Return the pushed commit with an id; None where there is none."""
        return self._by_id.get(id_)

    @cached_property
    def _by_id(self) -> dict[str, Pushed]:
        return {commit.id: commit for commit in self.commits}

    @cached_property
    def hashes(self) -> frozenset[str]:
        """Return the SHA-256 of every file that a commit needs."""
        return frozenset().union(*(commit.hashes for commit in self.commits))

    def with_commit(self, branch: str, commit: Pushed, birth: bool) -> RepositoryState:
        """Return the state with a commit at the tip of a branch, without the oldest of the replaced commits.

        With `birth` the commit is that of a version that was just stored: it is recorded for its card, and the branch
        is removed instead of moved.
        """
        branches = {name: id_ for name, id_ in self.branches.items() if name != branch}
        branches |= {} if birth else {branch: commit.id}
        commits = [*(other for other in self.commits if other.id != commit.id), commit]
        on_branches = set(branches.values())
        loose = [other for other in commits if other.id not in on_branches and not is_birth(other)]
        rows = list(accumulate(len(other.files) for other in reversed(loose)))
        few = sum(1 for count in rows[:REPLACED] if count <= ROWS)
        forgotten = {other.id for other in loose[: len(loose) - few]}
        remaining = tuple(other for other in commits if other.id not in forgotten)
        return replace(self, branches=branches, commits=remaining)


def is_birth(commit: Pushed) -> bool:
    """Return whether a pushed commit is the one with which its version was stored."""
    return commit.version is not None and commit.id == version_id(commit.version)


def version_id(digest: str) -> str:
    """Return the commit id of a version: a hash of its digest alone, the same on every server."""
    return _id({"version": digest})


def pushed_id(version: str | None, on: str | None, files: Iterable[Row]) -> str:
    """Return the id of a pushed commit."""
    return _id({"version": version, "on": on, "files": sorted(files)})


def _id(value: Any) -> str:
    return hashlib.sha256(b"adapterhub_fin commit\0" + canonical(value)).hexdigest()[:40]


def _rows(files: Iterable[Any]) -> tuple[Row, ...]:
    return tuple((str(path), int(size), str(sha256)) for path, size, sha256 in files)


def parse_state(document: dict[str, Any]) -> RepositoryState:
    """Parse the state of a repository. Raises KeyError, TypeError or ValueError for an invalid document."""
    commits = tuple(Pushed(**{**commit, "files": _rows(commit["files"])}) for commit in document["commits"])
    branches = {str(name): str(id_) for name, id_ in document["branches"].items()}
    return RepositoryState(str(document["created_at"]), bool(document["private"]), document["gated"], branches, commits)
