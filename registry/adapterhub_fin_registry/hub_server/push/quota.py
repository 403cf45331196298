"""How many bytes the namespaces and the tokens hold on the server's disk, and how many they may."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from adapterhub_fin_registry.errors import AdapterHubError
from adapterhub_fin_registry.hub_server.errors import HubError
from adapterhub_fin_registry.hub_server.repo.repositories import Repositories
from adapterhub_fin_registry.hub_server.settings import Settings
from adapterhub_fin_registry.model.version import Version

AHEAD: Final = 8 * 2**20


@dataclass(frozen=True)
class Tally:
    """The bytes that a repository holds, and of these those that came by each token."""

    size: int = 0
    by_token: Counter[str] = field(default_factory=Counter)


class Room:
    """Bytes that are on their way in: they count as held from the moment when they are asked for."""

    def __init__(self, quota: Quota, namespace: str, token: str) -> None:
        self._quota, self._of = quota, (namespace, token)
        self._taken = self._left = 0

    def take(self, size: int) -> None:
        """Ask for some bytes; raises HubError 507 where the namespace or the token would hold more than it may."""
        if size > self._left:
            self._taken += (more := self._quota.reserve(*self._of, size - self._left))
            self._left += more
        self._left -= size

    def leave(self) -> None:
        """Let go of what was asked for: by now it lies on the disk and is counted there, or it never will."""
        self._quota.release(*self._of, self._taken)
        self._taken = self._left = 0


class Quota:
    """What may be held: by a namespace with its versions, drafts and uploads, and by what a token has brought."""

    def __init__(self, repositories: Repositories, settings: Settings) -> None:
        self._repositories = repositories
        self._limits = settings.namespace_quota, settings.token_quota
        self._tallies: dict[str, tuple[tuple[str, int], Tally]] = {}
        self._names: tuple[tuple[str, int], list[str]] | None = None
        self._lock = threading.RLock()
        self._coming: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def room(self, namespace: str, token: str) -> Iterator[Room]:
        """Room for what a token brings to a namespace, let go of at the end."""
        room = Room(self, namespace, token)
        try:
            yield room
        finally:
            room.leave()

    def reserve(self, namespace: str, token: str, size: int) -> int:
        """Count some bytes as coming, and a few more where these fit: what is held isn't added up for each file."""
        with self._lock:
            try:
                self.check(namespace, token, size + AHEAD)
                size += AHEAD
            except HubError:
                self.check(namespace, token, size)
            self._coming[namespace, token] += size
            return size

    def release(self, namespace: str, token: str, size: int) -> None:
        """Count some bytes as coming no more."""
        with self._lock:
            self._coming[namespace, token] -= size
            self._coming += Counter()  # without those that are zero

    def check(self, namespace: str, token: str, size: int) -> None:
        """Raise HubError 507 where so many bytes more would be more than the namespace or the token may hold."""
        for_namespace, for_token = self._limits
        with self._lock:
            if for_namespace is not None:
                coming = sum(each for (where, _), each in self._coming.items() if where == namespace)
                _check(f"the namespace {namespace}", self._in_namespace(namespace) + coming, size, for_namespace)
            if for_token is not None:
                coming = sum(each for (_, who), each in self._coming.items() if who == token)
                _check(f"the token {token}", self._by_token(token) + coming, size, for_token)

    def _in_namespace(self, namespace: str) -> int:
        return sum(self._tally(name).size for name in self._all_names() if name.startswith(f"{namespace}/"))

    def _by_token(self, token: str) -> int:
        return sum(self._tally(name).by_token[token] for name in self._all_names())

    def _all_names(self) -> list[str]:
        registry, state = self._repositories.registry, self._repositories.state
        mark = registry.mark(), state.generation
        if self._names is None or self._names[0] != mark:
            self._names = mark, self._repositories.possible()
        return self._names[1]

    def _tally(self, name: str) -> Tally:
        registry, state = self._repositories.registry, self._repositories.state
        mark = registry.mark(name), state.changes[name]  # before it is counted: what changes then is counted again
        known = self._tallies.get(name)
        if known is None or known[0] != mark:
            self._tallies[name] = known = mark, self._counted(name)
        return known[1]

    def _counted(self, name: str) -> Tally:
        by_token = self._repositories.state.held(name)
        try:
            versions = self._repositories.get(name).versions
        except HubError:  # there is none, or none any more
            versions = []
        for version in versions:
            alone = replace(version)  # what is read of it isn't kept with it
            by_token[_brought_by(alone)] += sum(alone.plain(lambda data: [row[1] for row in data["files"]]))
        return Tally(by_token.total(), by_token)


def _brought_by(version: Version) -> str:
    """The token that pushed a version; "" for one that came by another way, or where that can't be read."""
    try:
        return str((version.record["origin"] or {}).get("pushed_by", ""))
    except AdapterHubError:
        return ""


def _check(whose: str, held: int, size: int, limit: int) -> None:
    if held + size > limit:
        raise HubError(
            507,
            f"{whose} holds {_gigabytes(held)} GB of the {_gigabytes(limit)} GB that it may, and {_gigabytes(size)} GB "
            "more are too many: delete what isn't needed, or ask whoever runs this server for more",
        )


def _gigabytes(size: int) -> str:
    return f"{size / 2**30:.3g}"
