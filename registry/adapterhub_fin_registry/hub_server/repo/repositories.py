"""The registry's names as repositories, and what changes them but for a push."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Final

from adapterhub_fin_registry.errors import BadReference
from adapterhub_fin_registry.hub_server.errors import HubError, bad_request, no_repository, no_revision
from adapterhub_fin_registry.hub_server.repo.draft_state import RepositoryState
from adapterhub_fin_registry.hub_server.repo.repository import ID, MAIN, TAG, CardOf, ServedRepository
from adapterhub_fin_registry.hub_server.repo.state import State
from adapterhub_fin_registry.model.reference import check_alias, check_name, is_segment
from adapterhub_fin_registry.registry import Registry
from adapterhub_fin_registry.storage.name_folder import name_folders
from adapterhub_fin_registry.storage.transaction import now
from adapterhub_fin_registry.trust.client_config import Configuration

_CACHED: Final = 512
REFS: Final = 1000  # branches of a repository, and aliases


class Repositories:
    """Every repository of a registry, with what changes them: in `Turns`, one change of a repository at a time."""

    def __init__(self, registry: Registry, state: State, card: CardOf, *, private: bool = True) -> None:
        self.registry = registry
        self.state = state
        self.card = card
        self.private = private
        self._cache: dict[str, tuple[str, RepositoryState | None, ServedRepository]] = {}
        self._guard = threading.Lock()

    def possible(self) -> list[str]:
        """Every name that may be a repository's, the empty ones too, and some of deleted ones: `get` says which are."""
        return sorted({*(name_folder.name for name_folder in name_folders(self.registry.root)), *self.state.names()})

    def get(self, name: str) -> ServedRepository:
        """A repository as it is now; a HubError where there is none."""
        try:
            check_name(name)
            mark, kept = self.registry.mark(name), self.state.read(name)
        except BadReference as error:
            raise no_repository(name[:200]) from error
        cached = self._cache.get(name)
        if cached is not None and cached[0] == mark and cached[1] is kept:
            return cached[2]
        found = ServedRepository(
            self.registry, self.state, self.card, name, kept or RepositoryState(private=self.private)
        )
        if found.oldest is None and kept is None:
            raise no_repository(name)
        with self._guard:
            if len(self._cache) >= _CACHED:
                self._cache.pop(next(iter(self._cache)))
            self._cache[name] = (mark, kept, found)
        return found

    def create(self, name: str, private: bool | None) -> None:
        """Make an empty repository; 409 where there is one."""
        _check(name)
        self._check_free(name)
        chosen = self.private if private is None else private
        self.state.write(name, RepositoryState(created_at=now(), private=chosen))

    def settings(self, name: str, private: bool | None, gated: str | bool | None) -> None:
        """Change who may see a repository, and who may read its files."""
        kept = self.get(name).kept
        kept = kept if private is None else replace(kept, private=private)
        self.state.write(name, kept if gated is None else replace(kept, gated=gated))

    def tag(self, name: str, revision: str, tag: str) -> None:
        """Agree to the tag that a version has, or set an alias; 409 where the tag names something."""
        repository = self.get(name)
        version = repository.commit(revision).version
        if version is None:
            raise bad_request(f"{revision!r} is no version yet, for files are missing: push them, then tag it")
        if number := TAG.fullmatch(tag):
            if int(number[1]) == version.number and revision != tag:
                return
            there = any(each.number == int(number[1]) for each in repository.versions)
            why = "is another version" if there else "is given by this server alone"
            raise HubError(409 if there else 400, f"{tag} {why}: what was pushed is tagged v{version.number}")
        if tag in repository.aliases or tag in repository.kept.branches or tag == MAIN:
            raise HubError(409, f"{name} has {tag} already: delete the tag first, or choose another")
        if ID.fullmatch(tag):
            raise bad_request(f"{tag} would be taken for a commit's id: choose another tag")
        check_alias(tag)
        _check_room(len(repository.aliases), "tags")
        self.registry.set_alias(name, tag, version.number)

    def untag(self, name: str, tag: str) -> None:
        """Take an alias away."""
        repository = self.get(name)
        if TAG.fullmatch(tag):
            repository.commit(tag)
            raise bad_request(f"{tag} is a version, which stays: `ahf rm {name}@{tag[1:]}` deletes it")
        if tag not in repository.aliases:
            raise no_revision(name, tag)
        self.registry.set_alias(name, tag, None)

    def branch(self, name: str, branch: str, start: str) -> None:
        """Make a branch; 409 where its name is taken."""
        if not is_segment(branch) or TAG.fullmatch(branch) or ID.fullmatch(branch):
            raise bad_request(f"{branch[:100]!r} can't be a branch: use lowercase letters and digits, but not vN")
        repository = self.get(name)
        if branch == MAIN or branch in repository.kept.branches or branch in repository.aliases:
            raise HubError(409, f"{name} has {branch} already: choose another name")
        _check_room(len(repository.kept.branches), "branches")
        branches = {**repository.kept.branches, branch: repository.commit(start).id}
        self.state.write(name, replace(repository.kept, branches=branches))

    def unbranch(self, name: str, branch: str) -> None:
        """Take a branch away; what was pushed to it is forgotten in time."""
        repository = self.get(name)
        if branch == MAIN:
            raise bad_request("main is the newest version, and can't be deleted")
        if branch not in repository.kept.branches:
            raise no_revision(name, branch)
        branches = {each: id_ for each, id_ in repository.kept.branches.items() if each != branch}
        self.state.write(name, replace(repository.kept, branches=branches))

    def delete(self, name: str, by: str) -> None:
        """Delete a repository with every version; the numbers are never used again."""
        repository = self.get(name)
        if damaged := self.registry.damaged(name):
            raise HubError(
                409,
                f"{min(damaged)} is damaged, and would stay: tell whoever runs this server, who has `ahf doctor`",
            )
        for alias in repository.aliases:
            self.registry.set_alias(name, alias, None)
        for version in repository.versions:
            self.registry.delete(version.reference, reason=f"deleted with its repository by {by}")
        self.state.remove(name)

    def move(self, source: str, target: str) -> None:
        """Give a repository without versions another name; what has versions keeps the name that others know."""
        _check(target)
        if self.get(source).versions:
            raise HubError(
                409, f"{source} has versions, which stay under their name: publish them as {target}, then delete it"
            )
        self._check_free(target)
        self.state.rename(source, target)

    def _check_free(self, name: str) -> None:
        try:
            self.get(name)
        except HubError:
            return
        raise HubError(409, f"there is a repository {name} already: push to it")


def _check_room(count: int, what: str) -> None:
    if count >= REFS:
        raise bad_request(f"a repository has {REFS} {what} at most beside those of its versions: delete one first")


def _check(name: str) -> None:
    try:
        check_name(name)
    except BadReference as error:
        raise bad_request(str(error)) from error


def without_paths(message: str, registry: Registry) -> str:
    """A message of the registry's without where things lie on this machine, which is nothing to its clients."""
    message = message.replace(str(Configuration.read().source), "the server's configuration")
    return message.replace(f"{registry.root}/", "").replace(str(registry.root), "the registry")
