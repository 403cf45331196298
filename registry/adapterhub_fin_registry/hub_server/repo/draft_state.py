"""What a repository has beside its versions, as values: commits that are no version's, branches, who may see it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from typing import Any, Final

from adapterhub_fin_registry.io.canonical_json import canonical

KEPT: Final = 32  # pushed commits of a repository that still answer to their id once others replaced them
ROWS: Final = 20_000  # files of these commits, all together
ALL_ROWS: Final = 100_000  # files of all of a repository's pushed commits, which are one document
Row = tuple[str, int, str]  # path, size, sha256


@dataclass(frozen=True)
class Pushed:
    """A commit that is more, or less, than a version: a draft, or a version with a card that was pushed.

    `version` is the digest of the version it shows; `on` that of the newest version when it was pushed. `files` are
    those that no version holds. `manifest` is the sha256 of what a draft that is whole would be stored by.
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
    def named(self) -> set[str]:
        """The sha256 of every file that is kept for it."""
        return {sha256 for _, _, sha256 in self.files} | ({self.manifest} if self.manifest else set())


@dataclass(frozen=True)
class RepositoryState:
    """What is known of a repository beside its versions."""

    created_at: str = ""
    private: bool = True
    gated: str | bool = False
    branches: dict[str, str] = field(default_factory=dict)  # the id of a commit by the name of the branch
    commits: tuple[Pushed, ...] = ()

    def commit(self, id_: str) -> Pushed | None:
        """A pushed commit by its id."""
        return self._by_id.get(id_)

    @cached_property
    def _by_id(self) -> dict[str, Pushed]:
        return {commit.id: commit for commit in self.commits}

    @cached_property
    def named(self) -> frozenset[str]:
        """The sha256 of every file that is kept for a commit."""
        return frozenset().union(*(commit.named for commit in self.commits))

    def with_commit(self, branch: str, commit: Pushed, birth: bool) -> RepositoryState:
        """The same with a commit at the tip of a branch; the oldest that nothing names any more are forgotten.

        At a version's birth its own commit is recorded, for its card, and no branch is moved to it.
        """
        branches = {name: id_ for name, id_ in self.branches.items() if name != branch}
        branches |= {} if birth else {branch: commit.id}
        commits = [*(each for each in self.commits if each.id != commit.id), commit]
        on_branches = set(branches.values())
        loose = [each for each in commits if each.id not in on_branches and not is_birth(each)]
        rows = list(accumulate(len(each.files) for each in reversed(loose)))
        few = sum(1 for count in rows[:KEPT] if count <= ROWS)
        forgotten = {each.id for each in loose[: len(loose) - few]}
        kept = tuple(each for each in commits if each.id not in forgotten)
        return replace(self, branches=branches, commits=kept)


def is_birth(commit: Pushed) -> bool:
    """Whether a pushed commit is that of a version itself."""
    return commit.version is not None and commit.id == version_id(commit.version)


def version_id(digest: str) -> str:
    """The id of a version's commit: of its digest alone, so that it is the same wherever the version is served."""
    return _id({"version": digest})


def pushed_id(version: str | None, on: str | None, files: Iterable[Row]) -> str:
    """The id of a commit that is no version's."""
    return _id({"version": version, "on": on, "files": sorted(files)})


def _id(value: Any) -> str:
    return hashlib.sha256(b"adapterhub_fin commit\0" + canonical(value)).hexdigest()[:40]


def parsed(document: dict[str, Any]) -> RepositoryState:
    """What a document says of a repository; a KeyError, TypeError or ValueError where it isn't one."""
    commits = tuple(
        Pushed(**{**each, "files": tuple((str(path), int(size), str(sha256)) for path, size, sha256 in each["files"])})
        for each in document["commits"]
    )
    branches = {str(name): str(id_) for name, id_ in document["branches"].items()}
    return RepositoryState(str(document["created_at"]), bool(document["private"]), document["gated"], branches, commits)
