"""Cache the versions that were read from one Hub, as a registry in the user's cache."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin_registry.errors import Corrupted, LookAhead, NotFound, ReadOnly, Refused, Unreachable
from adapterhub_fin_registry.hub_client.client import Hub
from adapterhub_fin_registry.hub_client.repository import HubRepository, ResolvedRevision
from adapterhub_fin_registry.incoming import Intake, take
from adapterhub_fin_registry.io.cache import caches
from adapterhub_fin_registry.io.canonical_json import digest_of
from adapterhub_fin_registry.model.knowledge import choose, format_instant
from adapterhub_fin_registry.model.reference import DigestReference, HubReference, Reference, local_name
from adapterhub_fin_registry.model.version import AnyReference, Version
from adapterhub_fin_registry.registry import Registry
from adapterhub_fin_registry.storage import resolve as resolution
from adapterhub_fin_registry.storage.name_folder import NameFolder
from adapterhub_fin_registry.storage.standing import DatedChoice, Yanked
from adapterhub_fin_registry.trust.signatures import MANIFEST

if TYPE_CHECKING:
    from adapterhub_fin_registry.model.manifest import Manifest
    from adapterhub_fin_registry.trust.keys import PrivateKey
    from adapterhub_fin_registry.trust.signatures import Signature

_log = logging.getLogger(__name__)


class HubCache(Registry):
    """Resolve `hf://ORG/NAME[@REVISION]` on a Hub, and cache the versions in a registry in the user's cache.

    A version is stored after its verification and the checks of `intake`, under its repository's name and its own
    number. A version without a number (a commit, a third party's repository) and one whose name only a Hub allows are
    stored under `hub/`, by a hash: no text of a Hub becomes a path. A commit that is in the cache is not requested
    again, and with HF_HUB_OFFLINE nothing is requested. Methods that change a registry raise ReadOnly.
    """

    def __init__(self, hub: Hub, intake: Intake | None = None) -> None:
        super().__init__(caches() / "hubs" / hub.key)
        self.hub, self._intake = hub, intake or Intake()

    def standing_checks(self) -> Iterable[Callable[[Manifest, Path], object]]:
        """Return the checks of plugins, which every version must pass before it is stored."""
        return self._intake.checks()

    def check_writable(self) -> None:
        """Raise ReadOnly."""
        raise self._elsewhere("it")

    def set_alias(self, name: str, alias: str, version: int | None) -> None:
        """Raise ReadOnly."""
        raise self._elsewhere(name)

    def delete(self, reference: AnyReference, *, reason: str = "", allow_orphans: bool = False) -> Version:
        """Raise ReadOnly."""
        raise self._elsewhere(reference)

    def sign(self, reference: AnyReference, key: PrivateKey | str | os.PathLike[str]) -> Signature:
        """Raise ReadOnly."""
        raise self._elsewhere(reference)

    def add_event(
        self,
        reference: AnyReference,
        kind: str,
        body: Mapping[str, Any] | None = None,
        *,
        outcomes: bytes | None = None,
    ) -> int:
        """Record the event `fingerprint-verified`, and return its number. Raises ReadOnly for any other kind."""
        if kind != "fingerprint-verified":  # this one may be lost with the cache
            raise self._elsewhere(reference)
        return super().add_event(reference, kind, body, outcomes=outcomes)

    def _elsewhere(self, what: object) -> ReadOnly:
        return ReadOnly(f"{what} is on {self.hub.endpoint} and only read here: `ahf pull` it, and use your own")

    def find(
        self, reference: Reference | DigestReference | HubReference, before: datetime | None, include_base: bool
    ) -> Version:
        """Return the version that a reference means; one on the Hub is downloaded unless it is cached.

        Raises NotFound for none, LookAhead for one that knows more than `before` allows, Unreachable where the Hub
        can't be asked, Corrupted for a tag that was moved or for wrong bytes, and what `take` raises.
        """
        if not isinstance(reference, HubReference):
            return super().find(reference, before, include_base)
        version = self._of_hub(reference, before, include_base)
        if before is not None:
            resolution.check_as_of(version, before, include_base)
        origin = version.record["origin"]
        _log.info("%s is commit %s of %s on %s", reference, origin["commit"], origin["repository"], origin["endpoint"])
        return version

    def find_digest(self, repository: str, digest: str) -> Version | None:
        """Return the version of a repository that has a digest, downloaded unless it is cached; None if there is none.

        Raises Unreachable where the Hub can't be asked, Corrupted for wrong bytes, and what `take` raises.
        """
        try:
            return super().find(DigestReference(digest), None, True)
        except NotFound:
            if self.hub.offline:
                return None
        remote = HubRepository(self.hub, repository)
        try:
            numbers = remote.numbers()
        except NotFound:
            return None
        for number, commit in sorted(numbers.items(), reverse=True):
            if digest_of(remote.manifest_of(number, commit)) == digest:
                return self._take_in(remote, ResolvedRevision(commit, number))
        return None

    def _find_each(
        self,
        reference: Reference | DigestReference | HubReference,
        moments: Sequence[datetime],
        include_base: bool,
        yanked: Yanked,
    ) -> DatedChoice:
        """Return the version that a reference means before each instant, None where it knew too much.

        The Hub is asked once for each version that answers: what answers an instant answers all down to its own end. It
        doesn't say when a version was yanked, so that yanked ones count for nothing. Raises Refused for `before_yank`.
        """
        if yanked == "before_yank":
            raise Refused(f"{self.hub.endpoint} doesn't say when a version was yanked: `ahf pull` the name first")
        versions: dict[datetime, Version | None] = {}
        end = datetime.max.replace(tzinfo=UTC)
        version: Version | None = None
        for moment in sorted(set(moments), reverse=True):
            if moment <= end:
                try:
                    version = self.find(reference, moment, include_base)
                    end = version.knows_until(include_base)
                except LookAhead:
                    version, end = None, datetime.min.replace(tzinfo=UTC)
            versions[moment] = version
        return DatedChoice([versions[moment] for moment in moments])

    def _find_locked(self, exact: str, digest: str, before: datetime | None, include_base: bool) -> Version:
        version = super()._find_locked(exact, digest, before, include_base)
        # The manifest of an imported adapter is made on this machine: two machines share the commit, not the digest.
        if version.digest != digest and "imported" not in version.record["origin"]:
            raise Refused(f"{exact} is {version.digest}, and the lock file has {digest}: find out why")
        return version

    def _lock_reference(self, reference: Reference | DigestReference | HubReference, version: Version) -> str:
        if not isinstance(reference, HubReference):
            return super()._lock_reference(reference, version)
        return f"hf://{reference.repository}@{version.record['origin']['commit']}"

    def _of_hub(self, reference: HubReference, before: datetime | None, include_base: bool) -> Version:
        cached = list(self._cached(reference.repository))
        if reference.is_commit and (version := next((v for v in cached if _commit(v) == reference.revision), None)):
            return version
        if self.hub.offline:
            return self._offline(reference, cached, before, include_base)
        repository = HubRepository(self.hub, reference.repository)
        if reference.revision is None and before is not None and (numbers := repository.numbers()):
            return self._take_in(repository, _as_of(repository, repository.standing(numbers), before, include_base))
        return self._take_in(repository, repository.resolve(reference.revision))

    def _offline(
        self, reference: HubReference, cached: list[Version], before: datetime | None, include_base: bool
    ) -> Version:
        """Return the cached version that a reference means. Raises Unreachable for none, LookAhead for later ones."""
        if reference.revision is not None:
            cached = [v for v in cached if reference.revision in (_commit(v), v.record["origin"].get("tag"))]
        if not cached:
            raise Unreachable(f"{reference} isn't on this machine, and HF_HUB_OFFLINE is set: unset it to ask")
        numbered = [version for version in cached if "tag" in version.record["origin"]]
        if reference.revision is None and numbered:
            chosen = max(numbered, key=lambda v: v.number) if before is None else choose(numbered, before, include_base)
            if chosen is None:
                raise _too_late(str(reference), before)
            return chosen
        return cached[0]

    def _take_in(self, repository: HubRepository, resolved: ResolvedRevision) -> Version:
        """Return the version of a commit, from the cache or else after storing it there."""
        for existing in self._cached(repository.name):
            if _commit(existing) == resolved.commit and existing.record["origin"].get("tag") == _tag(resolved):
                return existing
        manifest = repository.resolved_manifest(resolved)
        if manifest is None:
            incoming = repository.third_party(resolved, self._intake.weights)
            incoming.check_unnumbered(f"{repository}@{resolved.commit}")
            return take(incoming, self, local_name(repository.name, numbered=False), self._intake)
        digest, name_folder = digest_of(manifest), NameFolder(self.root, local_name(repository.name, numbered=True))
        previous = None if resolved.number is None else name_folder.version(resolved.number)
        if previous is not None and previous.digest != digest:
            raise Corrupted(
                f"{repository}@v{resolved.number} is another version than before: find out who moved its tag, and name "
                f"the commit you trust ({_commit(previous)} then, {resolved.commit} now)"
            )
        if version := name_folder.by_digest(digest):
            return version
        if resolved.number is None:
            name_folder = NameFolder(self.root, local_name(repository.name, numbered=False))
            if version := name_folder.by_digest(digest):
                return version
        return take(repository.version(resolved, manifest), self, name_folder.name, self._intake)

    def _cached(self, repository: str) -> Iterator[Version]:
        """Yield the cached versions of a repository: numbered ones first, the highest number first."""
        for numbered in (True, False):
            for version in NameFolder(self.root, local_name(repository, numbered=numbered)).newest_first():
                if (version.record["origin"] or {}).get("repository") == repository:
                    yield version


def _commit(version: Version) -> str:
    return str(version.record["origin"]["commit"])


def _tag(resolved: ResolvedRevision) -> str | None:
    return None if resolved.number is None else f"v{resolved.number}"


def _as_of(
    repository: HubRepository, numbers: dict[int, str], before: datetime, include_base: bool
) -> ResolvedRevision:
    """Return the version on the Hub that a date chooses, by the manifests alone. Raises LookAhead for none."""
    candidates = []
    for number, commit in sorted(numbers.items()):
        data = repository.manifest_of(number, commit)
        candidates.append(Version(repository.name, number, digest_of(data), Path(MANIFEST), data))
    chosen = choose(candidates, before, include_base)
    if chosen is None:
        raise _too_late(str(repository), before)
    return ResolvedRevision(numbers[chosen.number], chosen.number)


def _too_late(what: str, before: datetime | None) -> LookAhead:
    assert before is not None
    return LookAhead(
        f"no version of {what} has a knowledge end before {format_instant(before)}: ask for a later as_of, or leave "
        "out what the base knows with include_base=False"
    )
