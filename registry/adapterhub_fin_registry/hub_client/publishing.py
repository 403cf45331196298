"""Publish a version: one commit with all of its files, then the tag that makes it a version.

Readers see only tagged versions, so an interrupted publication leaves nothing visible. A request may have succeeded
although its answer was lost, so each attempt reads what the repository holds, and continues from there.
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
from adapterhub_fin_registry.hub_client.download import CacheEntry
from adapterhub_fin_registry.hub_client.progress import Counted
from adapterhub_fin_registry.hub_client.repository import SIGNATURES, HubRepository
from adapterhub_fin_registry.trust.signatures import MANIFEST, read_signatures

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete

    from adapterhub_fin_registry.model.version import Version

CARD: Final = "README.md"
ATTEMPTS: Final = 12  # each may lose to another publisher
_LOST: Final = 3  # lost answers after which the Hub counts as down
_HUB_FILES: Final = frozenset({".gitattributes", ".gitignore"})  # made by the Hub, not part of a version
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Publication:
    """Represent a version on a Hub; `is_new` is False where it was there before.

    In a dry run `commit` and `number` are None, and `sends` has the path and size in bytes of each file to send.
    """

    repository: str
    endpoint: str
    number: int | None
    commit: str | None
    is_new: bool
    sends: tuple[tuple[str, int], ...] = ()

    @property
    def reference(self) -> str:
        """Return `hf://ORG/NAME@vN`, without the number in a dry run."""
        return f"hf://{self.repository}" + ("" if self.number is None else f"@v{self.number}")


class Publisher:
    """Publish one version to one repository. The caller has verified its files."""

    def __init__(self, hub: Hub, repository: str, version: Version, card: str) -> None:
        self.hub, self.repository, self.version = hub, HubRepository(hub, repository), version
        signatures = {f"{SIGNATURES}/{signed.file_name}": signed.data for signed in read_signatures(version)[0]}
        self.texts: dict[str, bytes] = {MANIFEST: version.manifest_bytes, CARD: card.encode(), **signatures}
        self.files = version.manifest.files
        self._is_this: dict[str, bool] = {}  # by commit: whether it is this version
        self._may_be_ours = False  # whether a version on the Hub may come from this publisher

    def publish(self, *, private: bool = False, create: bool = True, dry_run: bool = False) -> Publication:
        """Publish the version, or return the publication that is there already.

        A missing repository is created if `create` is true. Raises NotFound for a missing repository otherwise, Refused
        if `private` is true and the repository is public or if other publishers won every attempt, Unreachable if the
        Hub doesn't answer, and what `Hub.ask` raises.
        """
        numbers = self._numbers(create)
        if private and numbers is not None:
            self._check_private()
        if dry_run:
            return self._find_published(numbers or {}) or self._dry_run()
        if numbers is None:
            self.hub.ask(
                str(self.repository),
                lambda: self.hub.api.create_repo(self.repository.name, private=private or None, exist_ok=True),
                writes=True,
            )
            if private:
                self._check_private()  # another publisher may have created it meanwhile
        lost = 0
        for attempt in range(ATTEMPTS):
            time.sleep(random.uniform(0, 0.2 * attempt))  # so that two publishers don't collide again
            try:
                if (publication := self._attempt()) is not None:
                    return publication
            except Unreachable as error:
                lost += 1
                if lost >= _LOST:
                    raise
                _log.info("%s: %s; reading what the Hub has", self.repository, error)
        raise Refused(f"{self.repository} was changed by others {ATTEMPTS} times meanwhile: publish again later")

    def _numbers(self, create: bool) -> dict[int, str] | None:
        """Return the commits of the versions; None where the repository is to be created."""
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
        """Commit and tag what the repository lacks; None where another publisher was faster."""
        numbers, head = self.repository.numbers(), self.repository.commit()
        if publication := self._find_published(numbers):
            return self._checked(publication) if self._may_be_ours else publication
        try:
            files = self.repository.files(head)
        except NotFound:  # the head moved, and the Hub may forget a commit without references
            return None
        commit = head if self._is_complete(files) else self._commit(head, files)
        if commit is None:
            return None
        # Read the tags again: the Hub may tag a commit by itself, or another publisher may have tagged this version.
        # A second tag would give the version two numbers.
        numbers = self.repository.numbers()
        if publication := self._find_published(numbers):
            return self._checked(publication)
        number, self._may_be_ours = max(numbers, default=0) + 1, True
        return self._checked(self._publication(number, commit)) if self._tag(number, commit) else None

    def _checked(self, publication: Publication) -> Publication:
        """Return a publication after reading it back, since any web page may answer a request with 200.

        Raises Unreachable where the version isn't there as it was sent.
        """
        assert publication.number is not None and publication.commit is not None
        self.repository.check_published(publication.number, publication.commit, self.version.manifest_bytes)
        if not self._is_complete(self.repository.files(publication.commit)):
            raise Unreachable(
                f"{publication.reference} on {self.hub.endpoint} lists other files than were sent: publish again, "
                "or tell its owner"
            )
        return publication

    def _find_published(self, numbers: Mapping[int, str]) -> Publication | None:
        """Return the publication of this version among the Hub's versions, the newest of several; None for none."""
        unread = {commit: number for number, commit in numbers.items() if commit not in self._is_this}
        manifest = self.version.manifest_bytes
        with ThreadPoolExecutor(8) as readers:
            results = readers.map(lambda commit: self.repository.has_manifest(unread[commit], commit, manifest), unread)
            self._is_this |= dict(zip(unread, results, strict=True))
        for number in sorted(numbers, reverse=True):
            if self._is_this[numbers[number]]:
                return self._publication(number, numbers[number])
        return None

    def _is_complete(self, files: Mapping[str, CacheEntry]) -> bool:
        """Return whether a commit has every file of the version; after a lost answer a manifest alone proves little."""
        texts = {path: data for path, data in self.texts.items() if path != CARD}  # a card may be edited
        if any(path not in files or not files[path].holds(data) for path, data in texts.items()):
            return False
        for path, size, sha256 in self.files:
            entry = files.get(path)
            if entry is None or entry.size != size:
                return False
            if not (entry.oid == sha256 if entry.lfs else entry.holds((self.version.files / path).read_bytes())):
                return False
        return True

    def _commit(self, head: str, present: Iterable[str]) -> str | None:
        """Return a new commit with the version on top of `head`; None where the head has moved."""
        with ExitStack() as opened:
            operations = self._operations(present, opened)

            def send() -> str | None:
                try:
                    return self.hub.api.create_commit(
                        self.repository.name,
                        operations,
                        commit_message=f"Version {self.version.digest}",
                        parent_commit=head,
                    ).oid
                except Exception as error:  # `ask` translates all but these statuses
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
        self, present: Iterable[str], opened: ExitStack
    ) -> list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete]:
        """Return the operations that add every file of the version and delete the other files of the head.

        Files are passed as open file objects, which the client sends over plain LFS: every Hub supports that. Given
        paths, the client would use Xet alone once hf-xet is installed, and fail on a Hub without it. The cost is Xet's
        deduplication between files, which hardly matters for adapters.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        own = {file.path for file in self.files} | self.texts.keys()
        extra = sorted(set(present) - own - _HUB_FILES)
        additions = [CommitOperationAdd(path, Counted(io.BytesIO(data))) for path, data in self.texts.items()]
        for path, size, _ in self.files:
            file = opened.enter_context(Counted(io.FileIO(self.version.files / path)))
            additions.append(CommitOperationAdd(path, file))  # this hashes the file, so its bar begins after it
            file.show(path, size)
        return [*additions, *(CommitOperationDelete(path) for path in extra)]

    def _tag(self, number: int, commit: str) -> bool:
        """Tag a commit as version `number`; False where the number is taken."""

        def send() -> bool:
            try:
                self.hub.api.create_tag(
                    self.repository.name, tag=f"v{number}", revision=commit, tag_message=self.version.digest
                )
            except Exception as error:  # `ask` translates all but this status
                if status_of(error) == 409:
                    return False
                raise
            return True

        return self.hub.ask(str(self.repository), send, writes=True)

    def _publication(self, number: int, commit: str) -> Publication:
        return Publication(self.repository.name, self.hub.endpoint, number, commit, self._may_be_ours)

    def _dry_run(self) -> Publication:
        sends: list[tuple[str, int]] = [(path, size) for path, size, _ in self.files]
        sends += [(path, len(data)) for path, data in self.texts.items()]
        return Publication(self.repository.name, self.hub.endpoint, None, None, True, tuple(sorted(sends)))
