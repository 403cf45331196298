"""What was read from one Hub, kept as a registry in the user's cache: verified, allowed by the policy, read again."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin_registry.errors import Corrupted, LookAhead, ReadOnly, Refused, Unreachable
from adapterhub_fin_registry.hub_client.client import Hub
from adapterhub_fin_registry.hub_client.repository import HubRepository, Pinned
from adapterhub_fin_registry.incoming import Intake, take
from adapterhub_fin_registry.io.cache import caches
from adapterhub_fin_registry.io.canonical_json import digest_of
from adapterhub_fin_registry.model.knowledge import choose, format_instant
from adapterhub_fin_registry.model.reference import DigestReference, HubReference, Reference, local_name
from adapterhub_fin_registry.model.version import Version
from adapterhub_fin_registry.registry import Registry
from adapterhub_fin_registry.registry_reader import AnyReference
from adapterhub_fin_registry.storage import resolve as resolution
from adapterhub_fin_registry.storage.name_folder import NameFolder
from adapterhub_fin_registry.trust.signatures import MANIFEST

if TYPE_CHECKING:
    from adapterhub_fin_registry.model.manifest import Manifest
    from adapterhub_fin_registry.trust.keys import PrivateKey
    from adapterhub_fin_registry.trust.signatures import Signature

_log = logging.getLogger(__name__)


class HubCache(Registry):
    """A registry that resolves `hf://ORG/NAME[@REVISION]`, asking the Hub and keeping what it gives.

    A version is kept under its repository's name and its own number. What has no number (a commit, a foreign
    repository) and what has a name that only a Hub allows is kept under `hub/`, by a hash: no text of a Hub becomes a
    path. A commit that was read before is not asked for again, and with HF_HUB_OFFLINE nothing is.
    """

    def __init__(self, hub: Hub, intake: Intake | None = None) -> None:
        super().__init__(caches() / "hubs" / hub.key)
        self.hub, self._intake = hub, intake or Intake()

    def standing_checks(self) -> Iterable[Callable[[Manifest, Path], object]]:
        return self._intake.checks()

    def check_writable(self) -> None:
        raise self._elsewhere("it")

    def set_alias(self, name: str, alias: str, version: int | None) -> None:
        raise self._elsewhere(name)

    def delete(self, reference: AnyReference, *, reason: str = "") -> Version:
        raise self._elsewhere(reference)

    def sign(self, reference: AnyReference, key: PrivateKey | str | os.PathLike[str]) -> Signature:
        raise self._elsewhere(reference)

    def add_event(self, reference: AnyReference, kind: str, body: Mapping[str, Any] | None = None) -> int:
        if kind != "fingerprint-verified":  # which a cache may forget
            raise self._elsewhere(reference)
        return super().add_event(reference, kind, body)

    def _elsewhere(self, what: object) -> ReadOnly:
        return ReadOnly(f"{what} is on {self.hub.endpoint} and only read here: `ahf pull` it, and use your own")

    def find(
        self, wanted: Reference | DigestReference | HubReference, before: datetime | None, include_base: bool
    ) -> Version:
        if not isinstance(wanted, HubReference):
            return super().find(wanted, before, include_base)
        version = self._of_hub(wanted, before, include_base)
        if before is not None:
            resolution.check_as_of(version, before, include_base)
        origin = version.record["origin"]
        _log.info("%s is commit %s of %s on %s", wanted, origin["commit"], origin["repository"], origin["endpoint"])
        return version

    def _held(self, exact: str, digest: str, before: datetime | None, include_base: bool) -> Version:
        version = super()._held(exact, digest, before, include_base)
        # What was imported has a manifest that was made here: there the commit alone is what two machines share.
        if version.digest != digest and "imported" not in version.record["origin"]:
            raise Refused(f"{exact} is {version.digest}, and the lock file holds it to {digest}: find out why")
        return version

    def _lasting(self, wanted: Reference | DigestReference | HubReference, version: Version) -> str:
        if not isinstance(wanted, HubReference):
            return super()._lasting(wanted, version)
        return f"hf://{wanted.repository}@{version.record['origin']['commit']}"

    def _of_hub(self, wanted: HubReference, before: datetime | None, include_base: bool) -> Version:
        kept = list(self._kept(wanted.repository))
        if wanted.is_commit and (found := next((v for v in kept if _commit(v) == wanted.revision), None)):
            return found
        if self.hub.offline:
            return self._offline(wanted, kept, before, include_base)
        repository = HubRepository(self.hub, wanted.repository)
        if wanted.revision is None and before is not None and (numbers := repository.numbers()):
            return self._taken(repository, _as_of(repository, repository.standing(numbers), before, include_base))
        return self._taken(repository, repository.pin(wanted.revision))

    def _offline(
        self, wanted: HubReference, kept: list[Version], before: datetime | None, include_base: bool
    ) -> Version:
        """What was read before and answers a reference; Unreachable where nothing was."""
        if wanted.revision is not None:
            kept = [v for v in kept if wanted.revision in (_commit(v), v.record["origin"].get("tag"))]
        if not kept:
            raise Unreachable(f"{wanted} isn't on this machine, and HF_HUB_OFFLINE is set: unset it to ask")
        numbered = [version for version in kept if "tag" in version.record["origin"]]
        if wanted.revision is None and numbered:
            chosen = max(numbered, key=lambda v: v.number) if before is None else choose(numbered, before, include_base)
            if chosen is None:
                raise _too_late(str(wanted), before)
            return chosen
        return kept[0]

    def _taken(self, repository: HubRepository, pinned: Pinned) -> Version:
        """The version of a commit, taken in unless it is kept already."""
        for version in self._kept(repository.name):
            if _commit(version) == pinned.commit and version.record["origin"].get("tag") == _tag(pinned):
                return version
        manifest = repository.pinned_manifest(pinned)
        if manifest is None:
            incoming = repository.foreign(pinned, self._intake.weights)
            incoming.check_unnumbered(f"{repository}@{pinned.commit}")
            return take(incoming, self, local_name(repository.name, numbered=False), self._intake)
        digest, name_folder = digest_of(manifest), NameFolder(self.root, local_name(repository.name, numbered=True))
        if pinned.number is not None and (there := name_folder.version(pinned.number)) and there.digest != digest:
            raise Corrupted(
                f"{repository}@v{pinned.number} is another version than it was when it was read before: find out who "
                f"moved its tag, and name the commit you trust ({_commit(there)} then, {pinned.commit} now)"
            )
        if found := name_folder.by_digest(digest):
            return found
        if pinned.number is None:
            name_folder = NameFolder(self.root, local_name(repository.name, numbered=False))
            if found := name_folder.by_digest(digest):
                return found
        return take(repository.version(pinned, manifest), self, name_folder.name, self._intake)

    def _kept(self, repository: str) -> Iterator[Version]:
        """What was read of a repository, what has a number first, the highest first."""
        for numbered in (True, False):
            for version in NameFolder(self.root, local_name(repository, numbered=numbered)).newest_first():
                if (version.record["origin"] or {}).get("repository") == repository:
                    yield version


def _commit(version: Version) -> str:
    return str(version.record["origin"]["commit"])


def _tag(pinned: Pinned) -> str | None:
    return None if pinned.number is None else f"v{pinned.number}"


def _as_of(repository: HubRepository, numbers: dict[int, str], before: datetime, include_base: bool) -> Pinned:
    """The version that a date chooses among those on the Hub, whose manifests alone are read."""
    dated = []
    for number, commit in sorted(numbers.items()):
        data = repository.manifest_of(number, commit)
        dated.append(Version(repository.name, number, digest_of(data), Path(MANIFEST), data))
    chosen = choose(dated, before, include_base)
    if chosen is None:
        raise _too_late(str(repository), before)
    return Pinned(numbers[chosen.number], chosen.number)


def _too_late(what: str, before: datetime | None) -> LookAhead:
    assert before is not None
    return LookAhead(
        f"no version of {what} ended its knowledge before {format_instant(before)}: ask for a later as_of, or see "
        "whether the base alone knows more, which include_base=False leaves out"
    )
