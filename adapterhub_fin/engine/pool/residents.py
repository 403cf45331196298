"""Keep the versions in memory that were used last, up to a number of bytes."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition, get_ident
from typing import TYPE_CHECKING, Final

from adapterhub_fin.engine.pool.recent import Recent
from adapterhub_fin.engine.pool.resident import Resident
from adapterhub_fin.errors import Refused

if TYPE_CHECKING:
    from adapterhub_fin_registry import Version

COUNTED: Final = 1024  # versions whose loads are counted one by one


@dataclass
class Counts:
    """Count what a pool did: answers from memory, loads and evictions."""

    hits: int = 0
    loads: int = 0
    evictions: int = 0
    loads_by: Recent[str, int] = field(default_factory=lambda: Recent(COUNTED))

    def count_load(self, reference: str) -> None:
        """Count a load of a version."""
        self.loads += 1
        self.loads_by.put(reference, 1 + (self.loads_by.get(reference) or 0))


class Residents:
    """Load each version once for all threads, and evict the least recently used that nothing computes with."""

    def __init__(self, limit: int, load: Callable[[Version], Resident]) -> None:
        self.limit, self.counts, self._load = limit, Counts(), load
        self._changed = Condition()
        self._loaded: OrderedDict[str, Resident] = OrderedDict()  # by digest, the least recently used first
        self._users: Counter[str] = Counter()
        self._pins: Counter[str] = Counter()
        self._loading: dict[str, int] = {}  # by digest: the thread that loads it
        self._crowded: set[str] = set()  # digests of what is loaded and waits for room
        self._holders: Counter[int] = Counter()  # threads that keep versions in memory, as a stream that is read

    @contextmanager
    def hold(self, versions: Sequence[Version], loaded: dict[str, Resident] | None = None) -> Iterator[list[Resident]]:
        """Yield the first versions that fit in memory together, one at least; they stay until the block ends.

        `loaded`, by digest, holds between the parts of one call the version that was loaded and had no room, so that it
        isn't loaded again for the next part. Waits for other threads where their versions take the room. Raises Refused
        for a version that can't fit at all, and what loading raises.
        """
        residents: list[Resident] = []
        loaded = {} if loaded is None else loaded
        me = get_ident()
        try:
            for version in versions:
                resident = self._take(version, loaded, may_wait=not residents)
                if resident is None:
                    break
                residents.append(resident)
                with self._changed:
                    self._holders[me] += 1
            yield residents
        finally:
            with self._changed:
                self._holders[me] -= len(residents)
                self._users.subtract(resident.version.digest for resident in residents)
                self._holders, self._users = +self._holders, +self._users  # without the zeros
                self._shrink(0)
                self._changed.notify_all()

    def _take(self, version: Version, loaded: dict[str, Resident], *, may_wait: bool) -> Resident | None:
        """Return a version in memory, counted as in use; None where there is no room and this thread mustn't wait.

        One that was loaded for nothing is put into `loaded`, and taken from there.
        """
        digest = version.digest
        with self._changed:
            while True:
                if digest in self._loaded:
                    self._loaded.move_to_end(digest)
                    self._users[digest] += 1
                    self.counts.hits += 1
                    loaded.pop(digest, None)  # another thread has loaded it too
                    return self._loaded[digest]
                if digest not in self._loading:
                    break
                if not may_wait:
                    return None  # who waits while it holds others could wait for ever
                if digest in self._crowded:
                    self._check_waiting(version.reference)
                self._changed.wait()
            self._loading[digest] = get_ident()
        resident = loaded.pop(digest, None)
        try:
            resident = resident or self._load(version)
        finally:
            with self._changed:
                if resident is None:
                    del self._loading[digest]
                    self._changed.notify_all()
        admitted = self._admit(resident, may_wait)
        if admitted is None:
            loaded[digest] = resident
        return admitted

    def _admit(self, resident: Resident, may_wait: bool) -> Resident | None:
        """Put a loaded version beside the others once there is room; None where this thread mustn't wait for it."""
        digest = resident.version.digest
        with self._changed:
            try:
                self._check_size(resident)
                while not self._shrink(resident.bytes):
                    if not may_wait:
                        return None
                    self._check_waiting(resident.reference)
                    if digest not in self._crowded:
                        self._crowded.add(digest)
                        self._changed.notify_all()
                    self._changed.wait()
                    self._check_size(resident)  # others may have been pinned meanwhile
                self._loaded[digest] = resident
                self._users[digest] += 1
                self.counts.count_load(resident.reference)
                return resident
            finally:
                del self._loading[digest]
                self._crowded.discard(digest)
                self._changed.notify_all()

    def _check_waiting(self, reference: str) -> None:
        """Raise Refused where this thread keeps versions in memory already, so that it could wait for itself."""
        if self._holders[get_ident()]:
            raise Refused(
                f"there is no room for {reference} beside the stream that this thread reads: read it to its end or "
                "close it first, or make the pool larger (bytes=...)"
            )

    def _check_size(self, resident: Resident) -> None:
        pinned = sum(each.bytes for digest, each in self._loaded.items() if self._pins[digest])
        if resident.bytes + pinned > self.limit:
            others = f" beside {pinned:,} of pinned ones" if pinned else ""
            raise Refused(
                f"{resident.reference} takes {resident.bytes:,} bytes{others}, and the pool may hold {self.limit:,}: "
                "make the pool larger (bytes=...)"
            )

    def _shrink(self, needed: int) -> bool:
        """Free so many bytes by evicting the least recently used; return whether they are free."""
        used = sum(resident.bytes for resident in self._loaded.values())
        for digest, resident in list(self._loaded.items()):
            if used + needed <= self.limit:
                return True
            if not self._users[digest] and not self._pins[digest]:
                self._remove(digest)
                used -= resident.bytes
        return used + needed <= self.limit

    def pin(self, version: Version) -> None:
        """Load a version and keep it until `unpin`. Raises Refused where it doesn't fit."""
        with self.hold([version]), self._changed:
            self._pins[version.digest] += 1

    def unpin(self, version: Version) -> None:
        """Let a version be evicted again. Raises Refused for one that isn't pinned."""
        with self._changed:
            if not self._pins[version.digest]:
                raise Refused(f"{version.reference} isn't pinned")
            self._pins[version.digest] -= 1
            self._pins = +self._pins  # without the zeros
            self._changed.notify_all()

    def evict(self, version: Version) -> None:
        """Remove a version from memory now; nothing happens where it isn't there. Raises Refused while it is in use."""
        with self._changed:
            if self._users[version.digest] or self._pins[version.digest]:
                raise Refused(f"{version.reference} is in use or pinned: unpin it, or wait for its answers")
            if version.digest in self._loaded:
                self._remove(version.digest)

    def _remove(self, digest: str) -> None:
        del self._loaded[digest]
        self.counts.evictions += 1

    def loads_by(self) -> dict[str, int]:
        """Return how many times each of the versions that were loaded last was loaded, by reference."""
        with self._changed:
            return dict(self.counts.loads_by.items())

    def listed(self) -> list[tuple[Resident, int, bool]]:
        """Return each version in memory, the last used first, with how many calls use it and whether it is pinned."""
        with self._changed:
            return [(each, self._users[digest], bool(self._pins[digest])) for digest, each in self._loaded.items()][
                ::-1
            ]
