"""Serve the registry's names as repositories, and make every change of them except pushes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import cached_property, partial
from typing import Final, ParamSpec, TypeVar
from weakref import WeakValueDictionary

import anyio
import anyio.to_thread

from adapterhub_fin_registry.errors import BadReference
from adapterhub_fin_registry.hub_server.errors import HubError, bad_request, no_repository, no_revision
from adapterhub_fin_registry.hub_server.repo.draft_state import RepositoryState
from adapterhub_fin_registry.hub_server.repo.repository import ID, MAIN, TAG, CardOf, ServedRepository
from adapterhub_fin_registry.hub_server.repo.state import State
from adapterhub_fin_registry.model.reference import check_alias, check_name, is_segment
from adapterhub_fin_registry.registry import Registry
from adapterhub_fin_registry.storage.names import name_folders
from adapterhub_fin_registry.storage.transaction import now
from adapterhub_fin_registry.trust.client_config import Configuration

_CACHED: Final = 512  # repositories in memory
_NAMED: Final = 3  # repositories that an answer names
REFS: Final = 1000  # branches of a repository, and as many aliases
CHANGES: Final = 16  # at once, each of another repository
Params = ParamSpec("Params")
Result = TypeVar("Result")


class Repositories:
    """Find and change the repositories of a registry. Changes must run under `WriteLocks`, one at a time each."""

    def __init__(self, registry: Registry, state: State, card: CardOf, *, private: bool = True) -> None:
        self.registry = registry
        self.state = state
        self.card = card
        self.private = private
        self._cache: dict[str, tuple[str, RepositoryState | None, ServedRepository]] = {}
        self._guard = threading.Lock()

    def possible(self) -> list[str]:
        """Return every name that may be a repository, sorted, with empty and some deleted ones; `get` decides."""
        return sorted({*(name_folder.name for name_folder in name_folders(self.registry.root)), *self.state.names()})

    def get(self, name: str) -> ServedRepository:
        """Return a repository as it is now. Raises HubError 404 where there is none."""
        try:
            check_name(name)
            mark, state = self.registry.mark(name), self.state.read(name)
        except BadReference as error:
            raise no_repository(name[:200]) from error
        cached = self._cache.get(name)
        if cached is not None and cached[0] == mark and cached[1] is state:
            return cached[2]
        repository = ServedRepository(
            self.registry, self.state, self.card, name, state or RepositoryState(private=self.private)
        )
        if repository.oldest is None and state is None:
            raise no_repository(name)
        with self._guard:
            if len(self._cache) >= _CACHED:
                self._cache.pop(next(iter(self._cache)))
            self._cache[name] = (mark, state, repository)
        return repository

    def create(self, name: str, private: bool | None) -> None:
        """Create an empty repository. Raises HubError 400 for an invalid name, and 409 where it exists."""
        _check(name)
        self._check_free(name)
        is_private = self.private if private is None else private
        self.state.write(name, RepositoryState(created_at=now(), private=is_private))

    def settings(self, name: str, private: bool | None, gated: str | bool | None) -> None:
        """Set whether a repository is private and whether it is gated; None leaves a setting. Raises HubError 404."""
        state = self.get(name).state
        state = state if private is None else replace(state, private=private)
        self.state.write(name, state if gated is None else replace(state, gated=gated))

    def tag(self, name: str, revision: str, tag: str) -> None:
        """Accept the tag vN that a version has, or set an alias.

        Raises HubError 409 for a tag that is in use, and 400 for one that isn't allowed or for a draft.
        """
        repository = self.get(name)
        version = repository.commit(revision).version
        if version is None:
            raise bad_request(f"{revision!r} is no version yet, for files are missing: push them, then tag it")
        if number := TAG.fullmatch(tag):
            if int(number[1]) == version.number and revision != tag:
                return
            exists = any(other.number == int(number[1]) for other in repository.versions)
            why = "is another version" if exists else "is given by this server alone"
            raise HubError(409 if exists else 400, f"{tag} {why}: what was pushed is tagged v{version.number}")
        if tag in repository.aliases or tag in repository.state.branches or tag == MAIN:
            raise HubError(409, f"{name} has {tag} already: delete the tag first, or choose another")
        if ID.fullmatch(tag):
            raise bad_request(f"{tag} would be taken for a commit's id: choose another tag")
        check_alias(tag)
        _check_room(len(repository.aliases), "tags")
        self.registry.set_alias(name, tag, version.number)

    def untag(self, name: str, tag: str) -> None:
        """Remove an alias. Raises HubError 404 for an unknown one, and 400 for the tag of a version."""
        repository = self.get(name)
        if TAG.fullmatch(tag):
            repository.commit(tag)
            raise bad_request(f"{tag} is a version, which stays: `ahf rm {name}@{tag[1:]}` deletes it")
        if tag not in repository.aliases:
            raise no_revision(name, tag)
        self.registry.set_alias(name, tag, None)

    def branch(self, name: str, branch: str, start: str) -> None:
        """Create a branch. Raises HubError 409 where its name is taken, and 400 where it isn't allowed."""
        if not is_segment(branch) or TAG.fullmatch(branch) or ID.fullmatch(branch):
            raise bad_request(f"{branch[:100]!r} can't be a branch: use lowercase letters and digits, but not vN")
        repository = self.get(name)
        if branch == MAIN or branch in repository.state.branches or branch in repository.aliases:
            raise HubError(409, f"{name} has {branch} already: choose another name")
        _check_room(len(repository.state.branches), "branches")
        branches = {**repository.state.branches, branch: repository.commit(start).id}
        self.state.write(name, replace(repository.state, branches=branches))

    def unbranch(self, name: str, branch: str) -> None:
        """Delete a branch; its commits are forgotten in time. Raises HubError 404 for none, and 400 for `main`."""
        repository = self.get(name)
        if branch == MAIN:
            raise bad_request("main is the newest version, and can't be deleted")
        if branch not in repository.state.branches:
            raise no_revision(name, branch)
        branches = {other: id_ for other, id_ in repository.state.branches.items() if other != branch}
        self.state.write(name, replace(repository.state, branches=branches))

    def delete(self, name: str, by: str, may_see: Callable[[ServedRepository], bool]) -> None:
        """Delete a repository with every version; the numbers are never used again.

        `may_see` tells which repositories an answer may name. Raises HubError 409 where a version is damaged, and so
        can't be deleted, and where one is the base of another repository's.
        """
        repository = self.get(name)
        if damaged := self.registry.damaged(name):
            raise HubError(
                409,
                f"{min(damaged)} is damaged, and would stay: tell whoever runs this server, who has `ahf doctor`",
            )
        self._check_no_orphans(repository, may_see)
        for alias in repository.aliases:
            self.registry.set_alias(name, alias, None)
        for version in repository.versions:  # what is trained on a base meanwhile finds it gone, as it would later
            self.registry.delete(version, reason=f"deleted with its repository by {by}", allow_orphans=True)
        self.state.remove(name)

    def _check_no_orphans(self, repository: ServedRepository, may_see: Callable[[ServedRepository], bool]) -> None:
        orphans = {reference for version in repository.versions for reference in self.registry.orphans(version)}
        others = sorted({reference.partition("@")[0] for reference in orphans} - {repository.name})
        if not others:
            return
        parts = [name for name in others if self._is_seen(name, may_see)][:_NAMED]
        if more := len(others) - len(parts):
            parts.append(f"{more:,} more")
        raise HubError(
            409,
            f"{repository.name} has the base of {' and '.join(parts)}, which could not be loaded without it: delete "
            "those first, or ask whoever runs this server, who has `ahf rm --allow-orphans`",
        )

    def _is_seen(self, name: str, may_see: Callable[[ServedRepository], bool]) -> bool:
        try:
            return may_see(self.get(name))
        except HubError:
            return False  # deleted meanwhile

    def move(self, source: str, target: str) -> None:
        """Rename a repository without versions. Raises HubError 409 where it has versions or `target` exists."""
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


class WriteLocks:
    """Run changes one at a time in each repository.

    A change of gigabytes takes long. Changes that wait for it use no thread, and changes have threads of their own, so
    that reads, logins and `/health` never wait for them.
    """

    def __init__(self, check: Callable[[], object]) -> None:
        """Create the locks; `check` runs before each change, with its locks, and refuses it by raising."""
        self._check = check
        # A lock exists only while it is used or waited for, since clients can name any number of repositories.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def take(
        self, names: set[str], change: Callable[Params, Result], /, *args: Params.args, **kwargs: Params.kwargs
    ) -> Result:
        """Return the result of a change that runs in a thread with the locks of some repositories."""
        async with AsyncExitStack() as locks:
            for name in sorted(names):  # in one order, so that two changes can't deadlock
                await locks.enter_async_context(self._locks.setdefault(name, asyncio.Lock()))
            return await anyio.to_thread.run_sync(
                self._changed, partial(change, *args, **kwargs), limiter=self._threads
            )

    def _changed(self, change: Callable[[], Result]) -> Result:
        self._check()
        return change()

    @cached_property
    def _threads(self) -> anyio.CapacityLimiter:
        return anyio.CapacityLimiter(CHANGES)


def _check_room(count: int, what: str) -> None:
    if count >= REFS:
        raise bad_request(f"a repository has {REFS} {what} at most besides those of its versions: delete one first")


def _check(name: str) -> None:
    try:
        check_name(name)
    except BadReference as error:
        raise bad_request(str(error)) from error


def without_paths(message: str, registry: Registry) -> str:
    """Return a message of the registry without the paths of this machine, which clients must not learn."""
    message = message.replace(str(Configuration.read().source), "the server's configuration")
    return message.replace(f"{registry.root}/", "").replace(str(registry.root), "the registry")
