"""Publishing a version: one commit with all of it, then the tag that makes it a version.

Whoever reads knows tagged versions alone, so that a publication that broke off shows nothing. What was sent may have
arrived though its answer was lost: each attempt begins by reading what the repository holds, and goes on from there.
"""

from __future__ import annotations

import io
import logging
import random
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from adapterhub_fin_registry.errors import NotFound, Refused, Unreachable
from adapterhub_fin_registry.hub_client.client import Hub, status_of, transferring
from adapterhub_fin_registry.hub_client.entry import CacheEntry
from adapterhub_fin_registry.hub_client.progress import Counted
from adapterhub_fin_registry.hub_client.repository import SIGNATURES, HubRepository
from adapterhub_fin_registry.trust.signatures import MANIFEST, read_signatures

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete

    from adapterhub_fin_registry.model.version import Version

CARD: Final = "README.md"
ATTEMPTS: Final = 12  # of which all but the last may lose to another publisher
_LOST: Final = 3  # answers that may be lost before the Hub counts as down
_KEPT: Final = frozenset({".gitattributes", ".gitignore"})  # the Hub's own
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Publication:
    """Where a version stands on a Hub; `is_new` is False where it stood there already.

    `commit` and `number` are None for a dry run, which says in `sends` what it would send.
    """

    repository: str
    endpoint: str
    number: int | None
    commit: str | None
    is_new: bool
    sends: tuple[tuple[str, int], ...] = ()

    @property
    def reference(self) -> str:
        """`hf://ORG/NAME@vN`."""
        return f"hf://{self.repository}" + ("" if self.number is None else f"@v{self.number}")


class Publisher:
    """One version on its way to one repository; its files were verified by whoever calls."""

    def __init__(self, hub: Hub, repository: str, version: Version, card: str) -> None:
        self.hub, self.repository, self.version = hub, HubRepository(hub, repository), version
        signatures = {f"{SIGNATURES}/{each.file_name}": each.data for each in read_signatures(version)[0]}
        self.texts: dict[str, bytes] = {MANIFEST: version.manifest_bytes, CARD: card.encode(), **signatures}
        self.files = version.manifest.files
        self._is_this: dict[str, bool] = {}  # by commit, which never changes
        self._may_be_ours = False  # whether what is found there may be what was sent

    def publish(self, *, private: bool = False, create: bool = True, dry_run: bool = False) -> Publication:
        """Publish, or find where it was published.

        A repository that isn't there is created where `create` allows it; Refused where `private` is asked for and it
        is public.
        """
        numbers = self._numbers(create)
        if private and numbers is not None:
            self._check_private()
        if dry_run:
            return self._among(numbers or {}) or self._rehearsed()
        if numbers is None:
            self.hub.ask(
                str(self.repository),
                lambda: self.hub.api.create_repo(self.repository.name, private=private or None, exist_ok=True),
                writes=True,
            )
            if private:
                self._check_private()  # for another may have made it meanwhile
        lost = 0
        for attempt in range(ATTEMPTS):
            time.sleep(random.uniform(0, 0.2 * attempt))  # those who met once must not meet again
            try:
                if (found := self._attempt()) is not None:
                    return found
            except Unreachable as error:
                lost += 1
                if lost >= _LOST:
                    raise
                _log.info("%s: %s; reading what arrived", self.repository, error)
        raise Refused(f"{self.repository} was changed by others {ATTEMPTS} times meanwhile: publish again later")

    def _numbers(self, create: bool) -> dict[int, str] | None:
        """The versions there are; None where the repository is to be created."""
        try:
            return self.repository.numbers()
        except NotFound:
            if create:
                return None
            raise

    def _check_private(self) -> None:
        name = self.repository.name
        is_private = self.hub.ask(str(self.repository), lambda: self.hub.api.model_info(name).private)
        if not is_private:
            raise Refused(f"{self.repository} is public: make it private on the Hub, or publish without --private")

    def _attempt(self) -> Publication | None:
        """One way from what the repository holds to the tag; None where another publisher came between."""
        numbers, head = self.repository.numbers(), self.repository.commit()
        if found := self._among(numbers):
            return self._read_back(found) if self._may_be_ours else found
        try:
            there = self.repository.files(head)
        except NotFound:  # a head that nothing refers to any more may be forgotten
            return None
        commit = head if self._is_whole(there) else self._commit(head, there)
        if commit is None:
            return None
        # Read again: the Hub may tag what is committed, and were this version tagged by another meanwhile, it would
        # get two numbers.
        numbers = self.repository.numbers()
        if found := self._among(numbers):
            return self._read_back(found)
        number, self._may_be_ours = max(numbers, default=0) + 1, True
        return self._read_back(self._published(number, commit)) if self._tag(number, commit) else None

    def _read_back(self, done: Publication) -> Publication:
        """Return what the Hub says it did, once it is there: any page may answer a request with 200.

        Raises Unreachable for what isn't there as it was sent.
        """
        assert done.number is not None and done.commit is not None
        self.repository.check_published(done.number, done.commit, self.version.manifest_bytes)
        if not self._is_whole(self.repository.files(done.commit)):
            raise Unreachable(
                f"{done.reference} on {self.hub.endpoint} lists other files than were sent: publish again, or tell its "
                "owner"
            )
        return done

    def _among(self, numbers: Mapping[int, str]) -> Publication | None:
        """The version that is this one, the newest of several."""
        unread = {commit: number for number, commit in numbers.items() if commit not in self._is_this}
        manifest = self.version.manifest_bytes
        with ThreadPoolExecutor(8) as readers:
            found = readers.map(lambda commit: self.repository.has_manifest(unread[commit], commit, manifest), unread)
            self._is_this |= dict(zip(unread, found, strict=True))
        for number in sorted(numbers, reverse=True):
            if self._is_this[numbers[number]]:
                return self._published(number, numbers[number])
        return None

    def _is_whole(self, there: Mapping[str, CacheEntry]) -> bool:
        """Whether a commit holds all of the version, as after a lost answer: its manifest alone would prove little."""
        texts = {path: data for path, data in self.texts.items() if path != CARD}  # a card's words may change
        if any(path not in there or not there[path].holds(data) for path, data in texts.items()):
            return False
        for path, size, sha256 in self.files:
            entry = there.get(path)
            if entry is None or entry.size != size:
                return False
            if not (entry.oid == sha256 if entry.lfs else entry.holds((self.version.files / path).read_bytes())):
                return False
        return True

    def _commit(self, head: str, there: Iterable[str]) -> str | None:
        """The commit that now holds the version on top of a head; None where the head has moved."""
        with ExitStack() as opened:
            operations = self._operations(there, opened)

            def send() -> str | None:
                try:
                    return self.hub.api.create_commit(
                        self.repository.name,
                        operations,
                        commit_message=f"Version {self.version.digest}",
                        parent_commit=head,
                    ).oid
                except Exception as error:  # sorted by its status; the rest is for `ask`
                    if status_of(error) in (409, 412):
                        return None
                    self._may_be_ours = True
                    raise

            with transferring():
                commit = self.hub.ask(str(self.repository), send, writes=True)
        if commit is None:
            return None
        self._may_be_ours = True
        return self.repository.checked(commit)

    def _operations(
        self, there: Iterable[str], opened: ExitStack
    ) -> list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete]:
        """Everything of the version, and the removal of what the head has beyond it.

        Files are handed over open: the client sends those over plain LFS, which every Hub has. By path it would send
        them over Xet alone, once hf-xet is installed, and fail on a Hub without it. What is lost is that parts of a
        file are shared with other files, which adapters hardly do.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        mine = {file.path for file in self.files} | self.texts.keys()
        beyond = sorted(set(there) - mine - _KEPT)
        added = [CommitOperationAdd(path, Counted(io.BytesIO(data))) for path, data in self.texts.items()]
        for path, size, _ in self.files:
            file = opened.enter_context(Counted(io.FileIO(self.version.files / path)))
            added.append(CommitOperationAdd(path, file))  # which hashes it first
            file.show(path, size)
        return [*added, *(CommitOperationDelete(path) for path in beyond)]

    def _tag(self, number: int, commit: str) -> bool:
        """Make a commit the version of a number; False where the number is taken."""

        def send() -> bool:
            try:
                self.hub.api.create_tag(
                    self.repository.name, tag=f"v{number}", revision=commit, tag_message=self.version.digest
                )
            except Exception as error:  # sorted by its status; the rest is for `ask`
                if status_of(error) == 409:
                    return False
                raise
            return True

        return self.hub.ask(str(self.repository), send, writes=True)

    def _published(self, number: int, commit: str) -> Publication:
        return Publication(self.repository.name, self.hub.endpoint, number, commit, self._may_be_ours)

    def _rehearsed(self) -> Publication:
        sends: list[tuple[str, int]] = [(path, size) for path, size, _ in self.files]
        sends += [(path, len(data)) for path, data in self.texts.items()]
        return Publication(self.repository.name, self.hub.endpoint, None, None, True, tuple(sorted(sends)))
