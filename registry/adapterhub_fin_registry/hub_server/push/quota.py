"""Limit the bytes that namespaces and tokens have stored on the server's disk."""

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

AHEAD: Final = 8 * 2**20  # bytes that are reserved beyond a request, so that not every file is counted anew


@dataclass(frozen=True)
class Tally:
    """Hold the bytes of a repository, in all and by the token that sent them."""

    size: int = 0
    by_token: Counter[str] = field(default_factory=Counter)


class Room:
    """Reserve quota for bytes that are being received: they count as stored from the moment of `take`."""

    def __init__(self, quota: Quota, namespace: str, token: str) -> None:
        self._quota, self._owner = quota, (namespace, token)
        self._taken = self._left = 0

    def take(self, size: int) -> None:
        """Reserve bytes. Raises HubError 507 where the namespace or the token would exceed its quota."""
        if size > self._left:
            self._taken += (more := self._quota.reserve(*self._owner, size - self._left))
            self._left += more
        self._left -= size

    def leave(self) -> None:
        """Release the reservation: the bytes are on the disk now and counted there, or were given up."""
        self._quota.release(*self._owner, self._taken)
        self._taken = self._left = 0


class Quota:
    """Check quotas: of a namespace with its versions, drafts and uploads, and of the bytes that a token has sent."""

    def __init__(self, repositories: Repositories, settings: Settings) -> None:
        self._repositories = repositories
        self._limits = settings.namespace_quota, settings.token_quota
        self._tallies: dict[str, tuple[tuple[str, int], Tally]] = {}
        self._names: tuple[tuple[str, int], list[str]] | None = None
        self._lock = threading.RLock()
        self._reserved: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def room(self, namespace: str, token: str) -> Iterator[Room]:
        """Yield room for the bytes that a token sends to a namespace, and release it at the end."""
        room = Room(self, namespace, token)
        try:
            yield room
        finally:
            room.leave()

    def reserve(self, namespace: str, token: str, size: int) -> int:
        """Reserve bytes, and AHEAD more where they fit, and return the sum. Raises HubError 507."""
        with self._lock:
            try:
                self.check(namespace, token, size + AHEAD)
                size += AHEAD
            except HubError:
                self.check(namespace, token, size)
            self._reserved[namespace, token] += size
            return size

    def release(self, namespace: str, token: str, size: int) -> None:
        """Release reserved bytes."""
        with self._lock:
            self._reserved[namespace, token] -= size
            self._reserved += Counter()  # drops the zeros

    def check(self, namespace: str, token: str, size: int) -> None:
        """Raise HubError 507 where `size` more bytes would exceed the quota of the namespace or the token."""
        for_namespace, for_token = self._limits
        with self._lock:
            if for_namespace is not None:
                reserved = sum(count for (where, _), count in self._reserved.items() if where == namespace)
                _check(f"the namespace {namespace}", self._in_namespace(namespace) + reserved, size, for_namespace)
            if for_token is not None:
                reserved = sum(count for (_, by), count in self._reserved.items() if by == token)
                _check(f"the token {token}", self._by_token(token) + reserved, size, for_token)

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
        mark = registry.mark(name), state.changes[name]  # before counting, so that a change during it is noticed
        cached = self._tallies.get(name)
        if cached is None or cached[0] != mark:
            self._tallies[name] = cached = mark, self._counted(name)
        return cached[1]

    def _counted(self, name: str) -> Tally:
        by_token = self._repositories.state.sizes_by_token(name)
        try:
            versions = self._repositories.get(name).versions
        except HubError:  # no such repository
            versions = []
        for version in versions:
            copy = replace(version)  # a copy, so that its parsed manifest doesn't stay in memory
            by_token[_token_of(copy)] += sum(copy.plain(lambda data: [row[1] for row in data["files"]]))
        return Tally(by_token.total(), by_token)


def _token_of(version: Version) -> str:
    """Return the name of the token that pushed a version; "" where it wasn't pushed or its record can't be read."""
    try:
        return str((version.record["origin"] or {}).get("pushed_by", ""))
    except AdapterHubError:
        return ""


def _check(who: str, stored: int, size: int, limit: int) -> None:
    if stored + size > limit:
        raise HubError(
            507,
            f"{who} holds {_gigabytes(stored)} GB of the {_gigabytes(limit)} GB that it may, and "
            f"{_gigabytes(size)} GB more are too many: delete what isn't needed, or ask whoever runs this server for "
            "more",
        )


def _gigabytes(size: int) -> str:
    return f"{size / 2**30:.3g}"
