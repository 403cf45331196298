"""Read one organisation of a Hub as a registry."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from adapterhub_fin_registry.errors import BadConfiguration, NotFound
from adapterhub_fin_registry.hub_client import listing
from adapterhub_fin_registry.hub_client.client import Hub
from adapterhub_fin_registry.hub_client.hub_cache import HubCache
from adapterhub_fin_registry.hub_client.repository import HubRepository
from adapterhub_fin_registry.incoming import Intake
from adapterhub_fin_registry.io.canonical_json import digest_of
from adapterhub_fin_registry.model.reference import DigestReference, HubReference, Reference, is_segment
from adapterhub_fin_registry.model.version_rows import VersionRows
from adapterhub_fin_registry.registry_reader import AsOf
from adapterhub_fin_registry.remote_index import RemoteIndex

if TYPE_CHECKING:
    from adapterhub_fin_registry.model.version import Version
    from adapterhub_fin_registry.search.page import Page


class HubRegistry(HubCache):
    """Read one organisation of a Hub as a registry: `acme/tone@3` means `hf://acme/tone@v3`.

    It is what `uri = "hf://acme"` in the configuration opens. The constructor raises BadConfiguration for a `uri` that
    isn't an organisation. Names of other organisations are not in it.
    """

    is_remote = True

    def __init__(self, hub: Hub, uri: str, intake: Intake | None = None) -> None:
        super().__init__(hub, intake)
        location = listing.HubLocation.parse(uri)
        if location.author is None or location.repository is not None or not is_segment(location.author):
            raise BadConfiguration(
                f"a registry has the uri {uri}: name an organisation of the Hub in lowercase, as hf://acme"
            )
        self._location, self._organisation = location, location.author

    def names(self) -> list[str]:
        """Return the organisation's names that have versions, sorted."""
        return sorted({row["name"] for row in self.rows()})

    def holds(self, name: str) -> bool:
        """Return whether the organisation has versions of a name; with HF_HUB_OFFLINE, whether the cache has."""
        if name.partition("/")[0] != self._organisation:
            return False
        if self.hub.offline:
            return super().holds(name)
        try:
            return bool(HubRepository(self.hub, name).numbers())
        except NotFound:
            return False

    def rows(self, name: str | None = None) -> VersionRows:
        """Return a row for each version on the Hub, of one name or of all."""
        return VersionRows(row for row in self._remote_index().rows() if name in (None, row["name"]))

    def search(
        self,
        query: str = "",
        *,
        limit: int | None = 50,
        after: str | None = None,
        as_of: AsOf | None = None,
        include_base: bool = True,
    ) -> Page:
        """Search the versions on the Hub by their manifests; see `RemoteIndex.search`."""
        return self._remote_index().search(query, limit=limit, after=after, as_of=as_of, include_base=include_base)

    def _remote_index(self) -> RemoteIndex:
        return RemoteIndex(listing.versions(self.hub, self._location))

    def find(
        self, reference: Reference | DigestReference | HubReference, before: datetime | None, include_base: bool
    ) -> Version:
        """Return the version that a reference means; names of this organisation are looked up on the Hub.

        Raises NotFound for none and for an alias, which a Hub doesn't have, and otherwise as `HubCache.find`.
        """
        if isinstance(reference, HubReference):
            return super().find(reference, before, include_base)
        if isinstance(reference, DigestReference) or reference.digest is not None:
            return self._by_hub_digest(reference, before, include_base)
        if reference.namespace != self._organisation:
            return super().find(reference, before, include_base)  # an imported one, by its name in the cache
        if reference.alias is not None:
            raise NotFound(f"there is no {reference}: a Hub has no aliases; ask for {reference.full_name} or a number")
        if reference.version is not None and self._has(reference):
            return super().find(reference, before, include_base)  # the version of a number never changes
        revision = None if reference.version is None else f"v{reference.version}"
        return super().find(HubReference(reference.namespace, reference.name, revision), before, include_base)

    def _has(self, reference: Reference) -> bool:
        return any(version.number == reference.version for version in self.versions(reference.full_name))

    def _by_hub_digest(
        self, reference: Reference | DigestReference, before: datetime | None, include_base: bool
    ) -> Version:
        """Return the version of a digest, from the cache or else from its repository."""
        try:
            return super().find(reference, before, include_base)
        except NotFound:
            if isinstance(reference, DigestReference) or self.hub.offline or reference.namespace != self._organisation:
                raise
        repository = HubRepository(self.hub, reference.full_name)
        for number, commit in sorted(repository.numbers().items(), reverse=True):
            if digest_of(repository.manifest_of(number, commit)) == reference.digest:
                on_hub = HubReference(reference.namespace, reference.name, f"v{number}")
                return super().find(on_hub, before, include_base)
        raise NotFound(f"no version of hf://{reference.full_name} has the digest {reference.digest}: list its versions")
