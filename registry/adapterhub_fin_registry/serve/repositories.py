"""The registry's names as repositories: versions as tags, `main` as the newest of them, and what was pushed since."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from adapterhub_fin_registry import admission
from adapterhub_fin_registry.change import now
from adapterhub_fin_registry.configuration import Configuration
from adapterhub_fin_registry.errors import BadReference, Corrupted
from adapterhub_fin_registry.local import Registry
from adapterhub_fin_registry.reference import check_alias, check_name, is_segment
from adapterhub_fin_registry.serve.errors import HubError, bad_request, no_repository, no_revision
from adapterhub_fin_registry.serve.state import Pushed, RepositoryState, State, pushed_id, version_id
from adapterhub_fin_registry.serve.tree import CARD, Blob, Commit, version_files
from adapterhub_fin_registry.version import Version

MAIN: Final = "main"
_ID: Final = re.compile(r"[0-9a-f]{40}")
_TAG: Final = re.compile(r"v([1-9][0-9]{0,8})")
_CACHED: Final = 512
CardOf = Callable[[Version], bytes]


@dataclass(frozen=True)
class Ref:
    """A branch or a tag and the commit it names."""

    name: str
    commit: str


class Repository:
    """One name as it was read: its versions, its aliases, and the state beside them."""

    def __init__(self, repositories: Repositories, name: str, kept: RepositoryState | None) -> None:
        registry, self._state = repositories.registry, repositories.state
        self._card = repositories.card
        self.name = name
        self.namespace = name.partition("/")[0]
        # Without what was parsed of each on the way: a manifest's objects take ten times its bytes, and stay cached.
        self.versions = [replace(version) for version in registry.versions(name)]
        self.aliases = registry.aliases(name) if self.versions else {}
        self.kept = kept or RepositoryState(private=repositories.private)
        self.exists = bool(self.versions or kept)
        self._commits: dict[str, Commit] = {}

    @cached_property
    def newest(self) -> Version | None:
        """The version that `main` shows: the highest that is neither yanked nor deleted."""
        return next((version for version in reversed(self.versions) if not _yanked(version)), None)

    @cached_property
    def created_at(self) -> str:
        """When the repository was made, or its first version stored."""
        return self.kept.created_at or (self.versions[0].record["added_at"] if self.versions else now())

    @property
    def head(self) -> Commit:
        """What `main` is: the newest version, or what was pushed on top of it."""
        pushed = self.kept.commit(self.kept.branches.get(MAIN, ""))
        on = self.newest.digest if self.newest else None
        if pushed is not None and pushed.on == on:
            return self._pushed(pushed)
        return self._of(self.newest) if self.newest else Commit(pushed_id(None, None, ()), {}, date=self.created_at)

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
        """What a branch, a tag, an alias or a whole commit id means; a HubError where it means nothing."""
        if revision == MAIN:
            return self.head
        if tag := _TAG.fullmatch(revision):
            return self._number(int(tag[1]), revision)
        if revision in self.kept.branches:
            return self._id(self.kept.branches[revision], revision)
        if revision in self.aliases:
            return self._number(self.aliases[revision], revision)
        return self._id(revision, revision)

    def history(self, commit: Commit) -> list[Commit]:
        """A commit and the versions before it, newest first."""
        last = commit.version.number if commit.version else 0
        if not commit.version and self.newest is not None and commit.id == self.head.id:
            last = self.newest.number + 1
        before = [self._of(version) for version in reversed(self.versions) if version.number <= last]
        return [commit, *(each for each in before if each.id != commit.id)]

    def find(self, sha256: str) -> Blob | None:
        """A file by its bytes: one that was uploaded, or one of a version's."""
        uploaded = self._state.blob(self.name, sha256)
        try:
            return Blob(uploaded.stat().st_size, sha256, uploaded)
        except FileNotFoundError:
            pass
        for version in reversed(self.versions):
            for blob in version_files(version).values():
                if blob.sha256 == sha256:
                    return blob
        return None

    def by_digest(self, digest: str) -> Version | None:
        """The version with a digest."""
        return next((version for version in reversed(self.versions) if version.digest == digest), None)

    def _number(self, number: int, revision: str) -> Commit:
        for version in self.versions:
            if version.number == number:
                return self._of(version)
        raise no_revision(self.name, revision)

    def _id(self, id_: str, revision: str) -> Commit:
        if _ID.fullmatch(id_):
            if self.head.id == id_:  # an empty repository's among them
                return self.head
            for version in reversed(self.versions):
                if version_id(version.digest) == id_:
                    return self._of(version)
            if pushed := self.kept.commit(id_):
                return self._pushed(pushed)
        raise no_revision(self.name, revision)

    def _of(self, version: Version) -> Commit:
        id_ = version_id(version.digest)
        if id_ not in self._commits:
            born = self.kept.commit(id_)
            files = version_files(version) | (self._blobs(born) if born else {})
            if CARD not in files:
                files[CARD] = Blob.of(self._card(version))
            self._commits[id_] = Commit(
                id_,
                files,
                version,
                born.title if born else f"Version {version.number}",
                born.message if born else "",
                born.author if born else str(version.record["added_by"]).partition("@")[0],
                str(version.record["added_at"]),
            )
        return self._commits[id_]

    def _pushed(self, pushed: Pushed) -> Commit:
        if pushed.id in self._commits:
            return self._commits[pushed.id]
        version = self.by_digest(pushed.version) if pushed.version else None
        if pushed.version is not None and version is None:  # it was deleted since
            raise no_revision(self.name, pushed.id)
        files = self._blobs(pushed)
        if version is not None:
            own = version_files(version)
            files = own | files
            files.setdefault(CARD, Blob.of(self._card(version)))
        commit = Commit(pushed.id, files, version, pushed.title, pushed.message, pushed.author, pushed.date)
        self._commits[pushed.id] = commit
        return commit

    def _blobs(self, pushed: Pushed) -> dict[str, Blob]:
        return {path: Blob(size, sha256, self._state.blob(self.name, sha256)) for path, size, sha256 in pushed.files}


class Repositories:
    """Every repository of a registry, with what changes them."""

    def __init__(self, registry: Registry, state: State, card: CardOf, *, private: bool = True) -> None:
        self.registry = registry
        self.state = state
        self.card = card
        self.private = private
        self._cache: dict[str, tuple[str, RepositoryState | None, Repository]] = {}
        self._guard = threading.Lock()

    def names(self) -> list[str]:
        """Every repository, the empty ones too."""
        return sorted({*self.registry.names(), *self.state.names()})

    def get(self, name: str) -> Repository:
        """A repository as it is now; a HubError where there is none."""
        try:
            check_name(name)
            mark, kept = self.registry.mark(name), self.state.read(name)
        except BadReference as error:
            raise no_repository(name[:200]) from error
        cached = self._cache.get(name)
        if cached is not None and cached[0] == mark and cached[1] is kept:
            return cached[2]
        found = Repository(self, name, kept)
        if not found.exists:
            raise no_repository(name)
        with self._guard:
            if len(self._cache) >= _CACHED:
                self._cache.pop(next(iter(self._cache)))
            self._cache[name] = (mark, kept, found)
        return found

    def create(self, name: str, private: bool | None) -> None:
        """Make an empty repository; 409 where there is one."""
        try:
            check_name(name)
        except BadReference as error:
            raise bad_request(str(error)) from error
        with self.state.locked(name):
            if self._is_there(name):
                raise HubError(409, f"there is a repository {name} already: push to it")
            chosen = self.private if private is None else private
            self.state.write(name, RepositoryState(created_at=now(), private=chosen))

    def settings(self, name: str, private: bool | None, gated: str | bool | None) -> None:
        """Change who may see a repository, and who may read its files."""
        with self.state.locked(name):
            kept = self.get(name).kept
            kept = kept if private is None else replace(kept, private=private)
            self.state.write(name, kept if gated is None else replace(kept, gated=gated))

    def tag(self, name: str, revision: str, tag: str) -> None:
        """Agree to the tag that a version has, or set an alias; 409 where the tag names something."""
        with self.state.locked(name):
            repository = self.get(name)
            version = repository.commit(revision).version
            if version is None:
                raise bad_request(f"{revision!r} is no version yet, for files are missing: push them, then tag it")
            if number := _TAG.fullmatch(tag):
                if int(number[1]) == version.number and revision != tag:
                    return
                there = any(each.number == int(number[1]) for each in repository.versions)
                why = "is another version" if there else "is given by this server alone"
                raise HubError(409 if there else 400, f"{tag} {why}: what was pushed is tagged v{version.number}")
            if tag in repository.aliases or tag in repository.kept.branches or tag == MAIN:
                raise HubError(409, f"{name} has {tag} already: delete the tag first, or choose another")
            check_alias(tag)
            self.registry.set_alias(name, tag, version.number)

    def untag(self, name: str, tag: str) -> None:
        """Take an alias away."""
        with self.state.locked(name):
            repository = self.get(name)
            if _TAG.fullmatch(tag):
                repository.commit(tag)
                raise bad_request(f"{tag} is a version, which stays: `ahf rm {name}@{tag[1:]}` deletes it")
            if tag not in repository.aliases:
                raise no_revision(name, tag)
            self.registry.set_alias(name, tag, None)

    def branch(self, name: str, branch: str, start: str) -> None:
        """Make a branch; 409 where its name is taken."""
        if not is_segment(branch) or _TAG.fullmatch(branch) or _ID.fullmatch(branch):
            raise bad_request(f"{branch[:100]!r} can't be a branch: use lowercase letters and digits, but not vN")
        with self.state.locked(name):
            repository = self.get(name)
            if branch == MAIN or branch in repository.kept.branches or branch in repository.aliases:
                raise HubError(409, f"{name} has {branch} already: choose another name")
            branches = {**repository.kept.branches, branch: repository.commit(start).id}
            self.state.write(name, replace(repository.kept, branches=branches))

    def unbranch(self, name: str, branch: str) -> None:
        """Take a branch away; what was pushed to it is forgotten in time."""
        with self.state.locked(name):
            repository = self.get(name)
            if branch == MAIN:
                raise bad_request("main is the newest version, and can't be deleted")
            if branch not in repository.kept.branches:
                raise no_revision(name, branch)
            branches = {each: id_ for each, id_ in repository.kept.branches.items() if each != branch}
            self.state.write(name, replace(repository.kept, branches=branches))

    def delete(self, name: str, by: str) -> None:
        """Delete a repository with every version; the numbers are never used again."""
        with self.state.locked(name):
            repository = self.get(name)
            for alias in repository.aliases:
                self.registry.set_alias(name, alias, None)
            for version in repository.versions:
                self.registry.delete(version.reference, reason=f"deleted with its repository by {by}")
            self.state.remove(name)

    def move(self, source: str, target: str, by: str) -> None:
        """Give a repository without versions another name; what has versions keeps the name that others know."""
        with self.state.locked(source):
            repository = self.get(source)
            if repository.versions:
                raise HubError(
                    409, f"{source} has versions, which stay under their name: publish them as {target}, then delete it"
                )
            self.create(target, repository.kept.private)
            self.state.remove(source)

    def check_policy(self, version: Version) -> None:
        """Refuse to give out what the server's own policy doesn't allow, in the words that clients pass on."""
        for violation in admission.violations(version, self.registry.root):
            raise HubError(403, without_paths(violation, self.registry), "GatedRepo")

    def _is_there(self, name: str) -> bool:
        try:
            self.get(name)
        except HubError:
            return False
        return True


def without_paths(message: str, registry: Registry) -> str:
    """A message of the registry's without where things lie on this machine, which is nothing to its clients."""
    message = message.replace(str(Configuration.read().source), "the server's configuration")
    return message.replace(f"{registry.root}/", "").replace(str(registry.root), "the registry")


def _yanked(version: Version) -> bool:
    try:
        return version.yanked
    except Corrupted:
        return True  # whether it was can't be known, and then it isn't chosen
