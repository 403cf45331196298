"""Publish a version to a store and pull one from it; which store, the URI's scheme says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapterhub_fin.errors import BadReference, ReadOnly
from adapterhub_fin.plugin.descriptions import StoreKind
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.registries import INTAKE, configured_registries
from adapterhub_fin_registry import HubReference, parse_reference
from adapterhub_fin_registry.incoming import take

if TYPE_CHECKING:
    from adapterhub_fin.plugin.interfaces import Foreign, Published, StoreImplementation
    from adapterhub_fin_registry import Registry, Version
    from adapterhub_fin_registry.remote_index import Catalogue


@dataclass(frozen=True)
class Publication:
    """A version and where it was published.

    `recorded` is False where the registry that holds the version can't be written, so that no event says it.
    """

    version: Version
    published: Published
    recorded: bool

    @property
    def reference(self) -> str:
        """What it is called there, as `hf://acme/tone@v3`."""
        return self.published.at


def publish(
    reference: str,
    to: str,
    *,
    private: bool = False,
    create: bool = True,
    dry_run: bool = False,
    registry: Registry | None = None,
) -> Publication:
    """Put a version of a registry into a store, such as `hf://acme/tone`, which numbers it; or find it there.

    Its files are verified first. The place is created where it isn't there and `create` allows it, `private` where
    that is asked for. A `publication` event records it. Raises Refused, NotFound or Unreachable, and then nobody sees
    anything of it.
    """
    store = store_of(to)
    registry = registry or configured_registries().answering(reference)
    version = registry.verify(reference)
    published = store.publish(version, to, private=private, create=create, dry_run=dry_run)
    recorded = not dry_run and _record(registry, version, published)
    return Publication(version, published, recorded)


def pull(uri: str, as_: str | None = None, *, allow_pickle: bool = False, registry: Registry | None = None) -> Version:
    """Take a version from a store, such as `hf://acme/tone@v3`, into the registry, under its own name or `as_`.

    Every file is compared with the manifest, and the client's policy and the plugins' vetoes are asked; Refused or
    Corrupted stores nothing. The number is kept where it is free. What has no manifest is imported, its files compared
    with what the store lists, a pickle only with `allow_pickle`.
    """
    store, name = store_of(uri), as_ or _own_name(uri)
    registry = registry or configured_registries().writable()
    with store.fetch(uri, weights(allow_pickle)) as incoming:
        if incoming.manifest is None:
            incoming.check_unnumbered(uri)
            from adapterhub_fin.engine.importing.import_folder import import_incoming

            told = {"allow_pickle": allow_pickle, "registry": registry, "signatures": ()}  # vouched for by nobody here
            return import_incoming(incoming, name, **told).version
        return take(incoming, registry, name, INTAKE)


def catalogue(uri: str) -> Catalogue:
    """The versions at a place of a store, such as `hf://acme`, to be listed and searched."""
    from adapterhub_fin_registry.remote_index import Catalogue

    return Catalogue(store_of(uri).versions(uri))


def foreign(uri: str, words: str = "", limit: int = 50) -> Sequence[Foreign]:
    """The adapters at a place of a store that others published, without a manifest; `pull` and `load` take them."""
    return store_of(uri).foreign(uri, words, limit)


def store_of(uri: str) -> StoreImplementation:
    """The store that a URI's scheme names; UnknownName lists those there are."""
    scheme, found, _ = uri.partition("://")
    if not found:
        raise BadReference(f"{uri!r} names no store: write its scheme, as in hf://ORG/NAME")
    kind = extensions().get(StoreKind, scheme)
    store: StoreImplementation = kind.load()(kind.load_options()())
    return store


def weights(allow_pickle: bool) -> tuple[str, ...]:
    """The files that may be a foreign folder's weights, the preferred first."""
    safe = INTAKE.weights
    return (*safe, "adapter_model.bin") if allow_pickle else safe


def _own_name(uri: str) -> str:
    if not uri.startswith("hf://"):
        raise BadReference(f"{uri} doesn't say what it is called here: name it, with --as NAMESPACE/NAME (as_=...)")
    reference = parse_reference(uri)
    assert isinstance(reference, HubReference)
    try:
        parse_reference(reference.repository)
    except BadReference as error:
        raise BadReference(f"{error}; name it, with --as NAMESPACE/NAME (as_=...)") from error
    return reference.repository


def _record(registry: Registry, version: Version, published: Published) -> bool:
    """Record the publication once; whether it is recorded."""
    body = {"to": published.at, **published.origin}
    if any(event["kind"] == "publication" and body.items() <= event.items() for event in version.events):
        return True
    try:
        registry.add_event(version.reference, "publication", body)
    except ReadOnly:
        return False
    return True
