"""Publish versions to stores, pull them, and import PEFT folders; the scheme of a URI says which store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin.errors import BadReference, NotAnAdapter, ReadOnly
from adapterhub_fin.plugin.descriptions import StoreKind
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.registries import INTAKE, configured_registries
from adapterhub_fin_registry import HubReference, parse_reference
from adapterhub_fin_registry.incoming import take

if TYPE_CHECKING:
    from adapterhub_fin.engine.importing.take_in import Import
    from adapterhub_fin.plugin.interfaces import Published, StoreImplementation, ThirdPartyAdapter
    from adapterhub_fin_registry import Registry, Version
    from adapterhub_fin_registry.remote_index import RemoteIndex


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
            from adapterhub_fin.engine.importing.take_in import import_incoming

            told = {"allow_pickle": allow_pickle, "registry": registry, "signatures": ()}  # vouched for by nobody here
            return import_incoming(incoming, name, **told).version
        return take(incoming, registry, name, INTAKE)


def import_folder(
    folder: str | Path,
    name: str,
    *,
    base: str | Path | Mapping[str, Any] | None = None,
    corpus: Mapping[str, Any] | None = None,
    labels: Sequence[str] | None = None,
    allow_pickle: bool = False,
    description: str = "",
    license: str | None = None,
    tags: Sequence[str] = (),
    registry: Registry | None = None,
    signatures: Sequence[bytes] | None = None,
) -> Import:
    """Add a PEFT folder to the registry, or one of a Hub as `hf://ORG/NAME`; its first load verifies its base.

    `base` is its id, its folder, or `{id, path, revision, knowledge_end, evidence}`, whose id is the adapter's own
    where it is left out. Of a folder the fingerprint is taken now, and the path is never recorded. `corpus` is `{name,
    knowledge_end, evidence, license}`. What carries no date is bounded by this moment. It is signed by the
    configuration's key unless `signatures` are given, which may be none. Raises NotAnAdapter with what to do for a
    folder of something else, and for a pickle unless `allow_pickle` is true; BaseNotFound for a folder without a base.
    """
    from adapterhub_fin.engine.importing.take_in import import_incoming, take_in

    options: dict[str, Any] = {"base": base, "corpus": corpus, "labels": labels, "allow_pickle": allow_pickle}
    options |= {"description": description, "license": license, "tags": tags, "signatures": signatures}
    options["registry"] = registry or configured_registries().writable()
    if not (uri := str(folder)).startswith("hf:/"):
        return take_in(Path(folder), name, {}, **options)
    uri = f"hf://{uri.removeprefix('hf:').lstrip('/')}"  # a Path has lost one of its slashes
    with store_of(uri).fetch(uri, weights(allow_pickle)) as incoming:
        if incoming.manifest is not None:
            raise NotAnAdapter(f"{uri} is a version with a manifest: take it as it is, with `ahf pull {uri}`")
        return import_incoming(incoming, name, **options)


def catalogue(uri: str) -> RemoteIndex:
    """The versions at a place of a store, such as `hf://acme`, to be listed and searched."""
    from adapterhub_fin_registry.remote_index import RemoteIndex

    return RemoteIndex(store_of(uri).versions(uri))


def foreign(uri: str, words: str = "", limit: int = 50) -> Sequence[ThirdPartyAdapter]:
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
