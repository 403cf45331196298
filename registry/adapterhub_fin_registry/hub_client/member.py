"""An organisation on a Hub in the place of a registry: `uri = "hf://acme"` in the configuration."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from adapterhub_fin_registry.errors import BadConfiguration, NotFound
from adapterhub_fin_registry.hub_client import listing
from adapterhub_fin_registry.hub_client.client import Hub
from adapterhub_fin_registry.hub_client.hub_registry import HubCache
from adapterhub_fin_registry.hub_client.repository import HubRepository
from adapterhub_fin_registry.incoming import Intake
from adapterhub_fin_registry.io.canonical_json import digest_of
from adapterhub_fin_registry.model.reference import DigestReference, HubReference, Reference, is_segment
from adapterhub_fin_registry.registry_reader import AsOf
from adapterhub_fin_registry.remote_index import RemoteIndex

if TYPE_CHECKING:
    from adapterhub_fin_registry.model.version import Version
    from adapterhub_fin_registry.search.page import Page


class HubRegistry(HubCache):
    """A mirror in which `acme/tone@3` means `hf://acme/tone@v3`; names of other organisations aren't here."""

    is_remote = True

    def __init__(self, hub: Hub, uri: str, intake: Intake | None = None) -> None:
        super().__init__(hub, intake)
        place = listing.HubLocation.parse(uri)
        if place.author is None or place.repository is not None or not is_segment(place.author):
            raise BadConfiguration(
                f"a registry is at {uri}: name an organisation of the Hub in lowercase, as hf://acme"
            )
        self._place, self._organisation = place, place.author

    def names(self) -> list[str]:
        return sorted({row["name"] for row in self.rows()})

    def holds(self, name: str) -> bool:
        if name.partition("/")[0] != self._organisation:
            return False
        if self.hub.offline:
            return super().holds(name)
        try:
            return bool(HubRepository(self.hub, name).numbers())
        except NotFound:
            return False

    def rows(self, name: str | None = None) -> list[dict[str, Any]]:
        return [row for row in self._catalogue().rows() if name in (None, row["name"])]

    def search(
        self,
        query: str = "",
        *,
        limit: int | None = 50,
        after: str | None = None,
        as_of: AsOf | None = None,
        include_base: bool = True,
    ) -> Page:
        return self._catalogue().search(query, limit=limit, after=after, as_of=as_of, include_base=include_base)

    def _catalogue(self) -> RemoteIndex:
        return RemoteIndex(listing.versions(self.hub, self._place))

    def find(
        self, wanted: Reference | DigestReference | HubReference, before: datetime | None, include_base: bool
    ) -> Version:
        if isinstance(wanted, HubReference):
            return super().find(wanted, before, include_base)
        if isinstance(wanted, DigestReference) or wanted.digest is not None:
            return self._by_its_digest(wanted, before, include_base)
        if wanted.namespace != self._organisation:
            return super().find(wanted, before, include_base)  # what was taken in, by the name it has in the mirror
        if wanted.alias is not None:
            raise NotFound(f"there is no {wanted}: a Hub has no aliases; ask for {wanted.full_name} or a number")
        if wanted.version is not None and self._has(wanted):
            return super().find(wanted, before, include_base)  # a number means one version for ever
        revision = None if wanted.version is None else f"v{wanted.version}"
        return super().find(HubReference(wanted.namespace, wanted.name, revision), before, include_base)

    def _has(self, wanted: Reference) -> bool:
        return any(version.number == wanted.version for version in self.versions(wanted.full_name))

    def _by_its_digest(
        self, wanted: Reference | DigestReference, before: datetime | None, include_base: bool
    ) -> Version:
        """The version of a digest: the one that was read before, else one that its repository holds."""
        try:
            return super().find(wanted, before, include_base)
        except NotFound:
            if isinstance(wanted, DigestReference) or self.hub.offline or wanted.namespace != self._organisation:
                raise
        repository = HubRepository(self.hub, wanted.full_name)
        for number, commit in sorted(repository.numbers().items(), reverse=True):
            if digest_of(repository.manifest_of(number, commit)) == wanted.digest:
                return super().find(HubReference(wanted.namespace, wanted.name, f"v{number}"), before, include_base)
        raise NotFound(f"no version of hf://{wanted.full_name} has the digest {wanted.digest}: list its versions")
