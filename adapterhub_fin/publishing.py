"""Publish versions to stores, pull them, and import PEFT folders; a URI's scheme names the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin.errors import BadReference, NotAnAdapter, ReadOnly, Refused
from adapterhub_fin.plugin.adapter_files import PICKLE
from adapterhub_fin.plugin.descriptions import StoreKind
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.registries import INTAKE, configured_registries
from adapterhub_fin_registry import HubReference, parse_reference
from adapterhub_fin_registry.incoming import take

if TYPE_CHECKING:
    from adapterhub_fin.engine.importing.take_in import Import
    from adapterhub_fin.plugin.interfaces import Published, StoreImplementation, ThirdPartyAdapter
    from adapterhub_fin_registry import Registry, Version
    from adapterhub_fin_registry.model.manifest import BaseVersion
    from adapterhub_fin_registry.remote_index import RemoteIndex


@dataclass(frozen=True)
class Publication:
    """Report a version and where it was published.

    `recorded` is False after a dry run, and if the version's registry is read-only: no event was written.
    """

    version: Version
    published: Published
    recorded: bool

    @property
    def reference(self) -> str:
        """Return the published version's reference, such as `hf://acme/tone@v3`."""
        return self.published.at

    @property
    def base(self) -> BaseVersion | None:
        """Return the stored base that an adapter needs, which is published apart; None where it names none."""
        return self.version.manifest.base.version


def publish(
    reference: str,
    to: str,
    *,
    private: bool = False,
    create: bool = True,
    dry_run: bool = False,
    registry: Registry | None = None,
) -> Publication:
    """Publish a version of a registry to a store, such as `hf://acme/tone`, which gives it its number there.

    The files are verified first. A repository that doesn't exist is created if `create` is true, as a `private` one if
    that is true. A version that is already there is found, not uploaded again. A `publication` event records it.
    Raises NotFound for an unknown version or repository, Refused if the store or a policy refuses it, Corrupted if a
    file is damaged, and Unreachable; then nothing of it is visible in the store.

    Example:
        >>> publication = ahf.publish("acme/tone@3", to="hf://acme/tone")
        >>> publication.reference
        'hf://acme/tone@v1'
    """
    store = store_of(to)
    registry = registry or configured_registries().answering(reference)
    version = registry.verify(reference)
    published = store.publish(version, to, private=private, create=create, dry_run=dry_run)
    recorded = not dry_run and _record(registry, version, published)
    return Publication(version, published, recorded)


def pull(uri: str, as_: str | None = None, *, allow_pickle: bool = False, registry: Registry | None = None) -> Version:
    """Copy a version from a store, such as `hf://acme/tone@v3`, into the registry, under its own name or `as_`.

    Every file is compared with the manifest, and the client's policy and the plugins' vetoes are asked. The version
    keeps its number if that is free. A folder without a manifest is imported, its files compared with the store's
    listing; a pickle only with `allow_pickle`. Raises NotFound, Refused, PolicyViolation, Corrupted or Unreachable, and
    then nothing is stored.

    Example:
        >>> version = ahf.pull("hf://acme/tone@v3", as_="acme/tone")
        >>> version.reference
        'acme/tone@3'
    """
    store, name = store_of(uri), as_ or _own_name(uri)
    registry = registry or configured_registries().writable()
    with store.fetch(uri, weights(allow_pickle)) as incoming:
        if incoming.manifest is None:
            incoming.check_unnumbered(uri)
            from adapterhub_fin.engine.importing.take_in import import_incoming

            options = {"allow_pickle": allow_pickle, "registry": registry, "signatures": ()}  # it stays unsigned
            return import_incoming(incoming, name, **options).version
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
    """Add a PEFT folder to the registry, or a Hub repository as `hf://ORG/NAME`; its first load verifies the base.

    `base` is an id, a folder, or `{id, path, revision, knowledge_end, evidence}`; without an id, the one in the
    adapter's configuration counts. The fingerprint of a base given as a folder is taken now; its path is never
    recorded. `corpus` is `{name, knowledge_end, evidence, license}`. Undated inputs count as known now. The version is
    signed with the configured key unless `signatures` are given, which may be empty. Raises NotAnAdapter, which says
    what to do, for a folder of something else and for a pickle without `allow_pickle`, BaseNotFound for a folder that
    is not a base, and BadRecipe for wrong keys or dates.

    Example:
        >>> imported = ahf.import_folder("runs/tone-lora", "acme/tone", base="minilm")
        >>> imported.version.reference, imported.warnings
        ('acme/tone@1', [])
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


def add_base(
    base: str | Path,
    name: str,
    *,
    knowledge_end: str | None = None,
    evidence: str | None = None,
    corpus: str | None = None,
    repository: str | None = None,
    description: str = "",
    license: str | None = None,
    tags: Sequence[str] = (),
    download: bool = False,
    registry: Registry | None = None,
    signatures: Sequence[bytes] | None = None,
) -> Import:
    """Add a base that was trained elsewhere to the registry: a folder as `save_pretrained` writes it, or an id.

    `knowledge_end` is the last date of its training data, tokenizer included, with the `evidence` of it; without one
    the date that a plugin knows counts, else now. `corpus` names that data, and `repository` is the Hub id to record
    of a folder. Weights must be safetensors; other files are left out and listed. Raises BaseNotFound for a folder
    without a model or a tokenizer, Refused for an adapter, pickles or a model with Python code of its own, WrongTensors
    where weights are missing, and BadRecipe for wrong dates.

    Example:
        >>> added = ahf.add_base("models/fin-2013", "acme/fin", knowledge_end="2013-12-31", evidence="its card")
        >>> ahf.train(name="acme/tone", base=added.version.reference, corpus="headlines")
    """
    from adapterhub_fin.engine.base.find import find_base
    from adapterhub_fin.engine.importing.take_in_base import take_in_base
    from adapterhub_fin.recipe.choices import BaseChoice, named_base

    choice = BaseChoice.read({**named_base(base), **({"id": repository} if repository else {})})
    if choice.version is not None:
        raise Refused(f"{base} is stored already: pull it (`ahf pull`), or name it as base in recipes")
    stated = {"name": corpus, "knowledge_end": knowledge_end, "evidence": evidence}
    return take_in_base(
        find_base(choice, download=download),
        name,
        corpus={key: value for key, value in stated.items() if value is not None} or None,
        description=description,
        license=license,
        tags=tags,
        registry=registry or configured_registries().writable(),
        signatures=signatures,
    )


def catalogue(uri: str) -> RemoteIndex:
    """Return an index of a store's versions under a URI such as `hf://acme`, to list and search.

    Raises BadReference or UnknownName for a URI of no known store, and Unreachable.
    """
    from adapterhub_fin_registry.remote_index import RemoteIndex

    return RemoteIndex(store_of(uri).versions(uri))


def third_party(uri: str, words: str = "", limit: int = 50) -> Sequence[ThirdPartyAdapter]:
    """Return at most `limit` third-party adapters under a URI. They have no manifest; `pull` and `load` take them.

    Raises BadReference or UnknownName for a URI of no known store, and Unreachable.
    """
    return store_of(uri).third_party(uri, words, limit)


def store_of(uri: str) -> StoreImplementation:
    """Return the store of a URI's scheme.

    Raises BadReference for a URI without a scheme, and UnknownName, which lists the stores, for an unknown one.
    """
    scheme, separator, _ = uri.partition("://")
    if not separator:
        raise BadReference(f"{uri!r} names no store: write its scheme, as in hf://ORG/NAME")
    kind = extensions().get(StoreKind, scheme)
    store: StoreImplementation = kind.load()(kind.load_options()())
    return store


def weights(allow_pickle: bool) -> tuple[str, ...]:
    """Return the file names that may be an imported folder's weights, the preferred first."""
    safe = INTAKE.weights
    return (*safe, PICKLE) if allow_pickle else safe


def _own_name(uri: str) -> str:
    if not uri.startswith("hf://"):
        raise BadReference(f"{uri} doesn't say what to call it here: name it, with --as NAMESPACE/NAME (as_=...)")
    reference = parse_reference(uri)
    assert isinstance(reference, HubReference)
    try:
        parse_reference(reference.repository)
    except BadReference as error:
        raise BadReference(f"{error}; name it, with --as NAMESPACE/NAME (as_=...)") from error
    return reference.repository


def _record(registry: Registry, version: Version, published: Published) -> bool:
    """Record a publication unless it is recorded already; return False if the registry is read-only."""
    body = {"to": published.at, **published.origin}
    if any(event["kind"] == "publication" and body.items() <= event.items() for event in version.events):
        return True
    try:
        registry.add_event(version, "publication", body)
    except ReadOnly:
        return False
    return True
