"""Publish to and read from a Hub, under the URI scheme `hf`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from adapterhub_fin.plugin import (
    BadReference,
    HubReference,
    Incoming,
    Published,
    RemoteVersion,
    StoreImplementation,
    ThirdPartyAdapter,
    Version,
    format_instant,
    parse_reference,
)
from adapterhub_fin_registry import hub_client

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo


class HubStore(StoreImplementation):
    """Store versions as the tags vN of repositories `hf://ORG/NAME`."""

    def __init__(self, options: Any) -> None:
        self.hub = hub_client.Hub()

    def publish(
        self, version: Version, uri: str, *, private: bool = False, create: bool = True, dry_run: bool = False
    ) -> Published:
        """Publish a version under the next free number. Raises BadReference for a URI with a revision, and HubError."""
        reference = _reference(uri)
        if reference.revision is not None:
            raise BadReference(
                f"{uri} has a revision, but a published version takes the next free number: leave it out"
            )
        readme = hub_client.card(version.manifest, reference.repository, version.events)
        done = hub_client.Publisher(self.hub, reference.repository, version, readme).publish(
            private=private, create=create, dry_run=dry_run
        )
        origin = {"endpoint": done.endpoint, "commit": done.commit} if done.commit else {}
        return Published(done.reference, done.number, done.is_new, done.sends, origin)

    @contextmanager
    def fetch(self, uri: str, weights: Sequence[str]) -> Iterator[Incoming]:
        """Yield a version or a third party's adapter, downloaded. Raises NotFound and HubError."""
        reference = _reference(uri)
        repository = hub_client.HubRepository(self.hub, reference.repository)
        resolved = repository.resolve(reference.revision)
        manifest = repository.resolved_manifest(resolved)
        yield repository.third_party(resolved, weights) if manifest is None else repository.version(resolved, manifest)

    def versions(self, uri: str) -> Sequence[RemoteVersion]:
        """Return the versions at a URI, without downloading their files. Raises HubError."""
        return hub_client.versions(self.hub, hub_client.HubLocation.parse(uri))

    def third_party(self, uri: str, words: str, limit: int) -> Sequence[ThirdPartyAdapter]:
        """Return at most `limit` adapters without a manifest whose names match the words. Raises HubError."""
        models = hub_client.third_party(self.hub, hub_client.HubLocation.parse(uri), words, limit)
        return [_third_party_adapter(model) for model in models]


def _third_party_adapter(model: ModelInfo) -> ThirdPartyAdapter:
    base = None if model.card_data is None else model.card_data.get("base_model")
    return ThirdPartyAdapter(
        f"hf://{model.id}@{model.sha}",
        base if isinstance(base, str) else None,
        tuple(sorted(model.tags or ())),
        format_instant(model.last_modified) if model.last_modified else "",
    )


def _reference(uri: str) -> HubReference:
    reference = parse_reference(uri)
    if not isinstance(reference, HubReference):
        raise BadReference(f"{uri} isn't on a Hub: write hf://ORG/NAME[@REVISION]")
    return reference
