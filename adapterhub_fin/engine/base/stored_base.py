"""Find the stored version of a base, by its reference or by the digest that an adapter records."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from adapterhub_fin.errors import BadReference, BaseNotFound, Corrupted, LookAhead, NotFound, Unsupported
from adapterhub_fin.plugin.interfaces import KnownAt
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin_registry import DigestReference, HubReference, Intake, RegistryChain, parse_reference
from adapterhub_fin_registry.model.knowledge import BASE, format_instant, parse_instant
from adapterhub_fin_registry.model.manifest import BaseVersion
from adapterhub_fin_registry.registry_chain import LocatedVersion, answers_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from adapterhub_fin_registry import Manifest, Registry, Version

log = logging.getLogger(__name__)
WEAKEST: Final = ("bounded", "asserted", "observed")  # how well a date is known, the weakest first


def _vetoes() -> Iterable[Callable[[Manifest, Path], object]]:
    return extensions().vetoes()


def _chain() -> RegistryChain:
    # A folder without a manifest is never a base that a version could name, so that none is imported here.
    return RegistryChain.configured(Intake(checks=_vetoes))


def find_stored(reference: str, as_of: str | None, registry: Registry | None) -> LocatedVersion:
    """Return the stored base that a reference means, in `registry` if that holds its name, else in the configured ones.

    Raises NotFound, LookAhead or BadReference as `RegistryChain.locate` does, and Unsupported for an adapter.
    """
    parsed = parse_reference(reference)
    if registry is not None and not isinstance(parsed, HubReference) and answers_for(registry, parsed):
        return check_is_base(LocatedVersion(registry, registry.resolve(parsed, as_of=as_of)))
    return check_is_base(_chain().locate(parsed, as_of=as_of))


def find_recorded(recorded: BaseVersion, registry: Registry, *, download: bool) -> LocatedVersion | None:
    """Return the stored base that an adapter of `registry` was trained on, by its digest; None if it isn't there.

    It may have another name by now. With `download` the repository that has its name on the Hub is searched too.
    """
    for one in _registries(registry):
        try:
            return check_is_base(LocatedVersion(one, _of_digest(recorded, one)))
        except NotFound:
            continue
    return _downloaded(recorded) if download else None


def _of_digest(recorded: BaseVersion, registry: Registry) -> Version:
    """Return the version of a registry that has the digest: first under its name, which spares reading the others.

    Raises NotFound for none. No Hub is asked.
    """
    if not registry.is_remote:
        with suppress(NotFound, BadReference):  # the name is a manifest's word, and may be none here
            return registry.resolve(f"{recorded.name}@{recorded.digest}")
    return registry.resolve(recorded.digest)


def _registries(first: Registry) -> Iterator[Registry]:
    yield first
    for member in _chain().members:
        if member.registry.root != first.root:
            yield member.registry


def _downloaded(recorded: BaseVersion) -> LocatedVersion | None:
    from adapterhub_fin_registry.hub_client.client import Hub
    from adapterhub_fin_registry.hub_client.hub_cache import HubCache

    try:
        parse_reference(f"hf://{recorded.name}")
    except BadReference:
        return None  # no repository can have that name
    cache = HubCache(Hub(), Intake(checks=_vetoes))
    version = cache.find_digest(recorded.name, recorded.digest)
    return None if version is None else check_is_base(LocatedVersion(cache, version))


def stored_under(name: str) -> Version | None:
    """Return the newest base that the registries on this machine hold under a name; None if there is none."""
    for member in _chain().members:
        with suppress(NotFound, BadReference, Corrupted):  # it may be a Hub's id, which no registry could hold
            if not member.registry.is_remote and member.registry.holds(name):
                version = member.registry.resolve(name)
                return version if version.manifest.kind == "base" else None
    return None


def check_is_base(located: LocatedVersion) -> LocatedVersion:
    """Return a version that is a base. Raises Unsupported for an adapter."""
    version = located.version
    if version.manifest.kind != "base":
        raise Unsupported(
            f"{version.reference} is an adapter and no base: give the base that it was trained on, or continue from it "
            f"with start: {version.reference}"
        )
    return located


def check_is_adapter(version: Version) -> None:
    """Raise Unsupported for a version that is a base, which has no adapter to load."""
    if version.manifest.kind == "base":
        raise Unsupported(
            f"{version.reference} is a base and no adapter: `ahf path {version.reference}` gives its folder, for plain "
            "Transformers and for --base (base=...)"
        )


def check_dated(adapter: Version, base: Version) -> None:
    """Raise LookAhead for an adapter that says its stored base knows less than that does."""
    stated = max(parse_instant(entry.at) for entry in adapter.manifest.knowledge.inputs if entry.input == BASE)
    if stated < base.knowledge_end:
        raise LookAhead(
            f"{adapter.reference} says that its base knows until {format_instant(stated)}, and that base, "
            f"{base.reference}, knows until {format_instant(base.knowledge_end)}: its manifest was rewritten, so train "
            "it again, or ask who signed it"
        )


def warn_if_yanked(base: Version) -> None:
    """Log a warning where a base that was asked for by number, alias or digest was withdrawn."""
    if (yank := base.yank) is not None:
        reason = f" ({yank.reason})" if yank.reason else ""
        log.warning("the base %s was yanked at %s%s", base.reference, format_instant(yank.at), reason)


def missing_base(adapter: str, recorded: BaseVersion, registry: Registry) -> BaseNotFound:
    """Return the error of an adapter whose stored base isn't here, which says whether it was deleted."""
    deleted = [name for one in _registries(registry) if not one.is_remote for name in one.deleted(recorded.digest)]
    gone = f"{deleted[0]} here was deleted" if deleted else "no registry here holds it"
    return BaseNotFound(
        f"{adapter} was trained on the base {recorded.name}, {recorded.digest}, and {gone}: pull it (`ahf pull "
        f"hf://{recorded.name}`, or --download), or name its folder with --base FOLDER (base=...)"
    )


def base_record(version: Version) -> BaseVersion:
    """Return what an adapter records of the stored base that it was trained on."""
    return BaseVersion(digest=version.digest, name=version.name)


def known_of_version(version: Version) -> KnownAt:
    """Return the knowledge end of a stored base, known as well as the weakest of its inputs."""
    knowledge = version.manifest.knowledge
    kinds = {entry.kind for entry in knowledge.inputs}
    kind = next(kind for kind in WEAKEST if kind in kinds)
    evidence = f"knowledge end of the base {version.reference}, {version.digest}"
    return KnownAt(at=parse_instant(knowledge.end), kind=kind, evidence=evidence)


def exact_reference(reference: str, version: Version) -> str:
    """Return a reference that always means this version: a digest as it is, else by number, or by commit on a Hub."""
    parsed = parse_reference(reference)
    if isinstance(parsed, HubReference):
        origin = version.record["origin"]
        return f"hf://{origin['repository']}@{origin['commit']}"
    if isinstance(parsed, DigestReference) or parsed.digest is not None:
        return str(parsed)
    return version.reference
