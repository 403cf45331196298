"""Ask several registries in order, as a shell searches the folders of its PATH."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from adapterhub_fin_registry.errors import BadConfiguration, BadQuery, NotFound, ReadOnly
from adapterhub_fin_registry.incoming import Intake
from adapterhub_fin_registry.io.disk import Disk
from adapterhub_fin_registry.model.knowledge import as_of_instant, check_include_base
from adapterhub_fin_registry.model.reference import DigestReference, HubReference, Reference, parse_reference
from adapterhub_fin_registry.model.version import parsed_reference
from adapterhub_fin_registry.model.version_rows import VersionRows, rows_table
from adapterhub_fin_registry.registry import Registry, check_no_orphans, to_delete
from adapterhub_fin_registry.registry_reader import AsOf
from adapterhub_fin_registry.storage import resolve as resolution
from adapterhub_fin_registry.storage.name_folder import NameFolder
from adapterhub_fin_registry.trust.client_config import HOME, Configuration, RegistryEntry

if TYPE_CHECKING:
    from adapterhub_fin_registry.model.version import AnyReference, Version
    from adapterhub_fin_registry.search.page import Page
    from adapterhub_fin_registry.storage.standing import Yanked

CHOSEN: Final = "AHF_REGISTRY"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Member:
    """Represent a registry of a chain, by the name that the configuration gives it."""

    name: str
    registry: Registry


class LocatedVersion(NamedTuple):
    """Hold a version and the registry of a chain that holds it."""

    registry: Registry
    version: Version


class RegistryChain:
    """Ask registries in order: the first that holds a name answers for it, and hides the name in those after it.

    Numbers, aliases and dates belong to one registry. If the versions of two were mixed under one name, `@3` and the
    newest would change with whatever another team stores, and a later registry could replace what an earlier, more
    trusted one holds. A digest means the same bytes everywhere, and is looked for in all.
    """

    registry_class: type[Registry] = Registry  # of the members on a disk that a configuration names

    def __init__(self, members: Sequence[Member], intake: Intake | None = None) -> None:
        self.members = tuple(members)
        self._intake = intake

    @classmethod
    def configured(cls, intake: Intake | None = None) -> Self:
        """Return the chain of the client's configuration; without any configured registry, the default one alone.

        An AHF_HOME that isn't configured is asked first, as `home`. AHF_REGISTRY selects one registry by name. `intake`
        says how versions from a Hub are checked and imported. Raises BadConfiguration if the configuration can't be
        used, and NotFound if there is no registry of that name.
        """
        configuration = Configuration.read()
        entries = configuration.registries
        default = cls.registry_class() if not entries or os.environ.get("AHF_HOME") else None
        if default is not None and all(entry.path != default.root for entry in entries):
            entries = (RegistryEntry(HOME, default.root), *entries)
        if chosen := os.environ.get(CHOSEN):
            names = ", ".join(entry.name for entry in entries)
            entries = tuple(entry for entry in entries if entry.name == chosen)
            if not entries:
                raise NotFound(f"there is no registry named {chosen!r} in {configuration.source}: there is {names}")
        return cls([Member(e.name, cls._opened(e, configuration.source, intake)) for e in entries], intake)

    @classmethod
    def _opened(cls, entry: RegistryEntry, source: Path, intake: Intake | None) -> Registry:
        if entry.path is None:
            from adapterhub_fin_registry.hub_client.client import Hub
            from adapterhub_fin_registry.hub_client.hub_registry import HubRegistry

            return HubRegistry(Hub(), entry.uri or "", intake)
        if not entry.read_only:
            return cls.registry_class(entry.path)  # the first write creates it
        if not entry.path.is_dir():
            raise BadConfiguration(
                f"the registry {entry.name} in {source} isn't there, at {entry.path}: mount it, or take it out"
            )
        return cls.registry_class(entry.path, disk=_ReadOnlyDisk())

    def names(self) -> list[str]:
        """Return every name with a version in any of the registries, sorted."""
        return sorted({name for member in self.members for name in member.registry.names()})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(repr(member.registry) for member in self.members)})"

    def _repr_html_(self) -> str:
        return rows_table(repr(self), self.rows())

    def rows(self, name: str | None = None) -> VersionRows:
        """Return what a list shows, each row with its `registry`, and `hidden` if an earlier registry holds the name.

        Raises Corrupted if the versions of `name` can't be listed.
        """
        by_member = enumerate(member.registry.rows(name) for member in self.members)
        return VersionRows(row for position, rows in by_member for row in self._labelled(position, rows))

    def search(
        self,
        query: str = "",
        *,
        limit: int | None = 50,
        after: str | None = None,
        as_of: AsOf | None = None,
        include_base: bool = True,
    ) -> Page:
        """Return a page of what the registries find, one after the other, each row as in `rows`; see `Registry.search`.

        An ORDER BY or a LIMIT of the query applies within each registry. Raises BadQuery if the query or the cursor
        can't be used.
        """
        from adapterhub_fin_registry.search.page import Page

        start, inner = self._position(after)
        rows: list[dict[str, Any]] = []
        damaged: dict[str, str] = {}
        for position in range(start, len(self.members)):
            left = None if limit is None else limit - len(rows)
            if left == 0:
                return Page(rows, f"{position}.", damaged)
            page = self.members[position].registry.search(
                query, limit=left, after=inner, as_of=as_of, include_base=include_base
            )
            rows += self._labelled(position, page)
            damaged = {**page.damaged, **damaged}  # if two have the same reference, the earlier registry's counts
            if page.next is not None:
                return Page(rows, f"{position}.{page.next}", damaged)
            inner = None
        return Page(rows, None, damaged)

    def _labelled(self, position: int, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield rows of one registry with its name, and whether an earlier one hides them."""
        hidden: dict[str, bool] = {}
        for row in rows:
            name = row["name"]
            if name not in hidden:
                hidden[name] = any(member.registry.holds(name) for member in self.members[:position])
            yield {**row, "registry": self.members[position].name, "hidden": hidden[name]}

    def _position(self, cursor: str | None) -> tuple[int, str | None]:
        """Return the position of the registry in which a cursor continues, and its cursor there."""
        if cursor is None:
            return 0, None
        position, dot, inner = cursor.partition(".")
        if not (dot and position.isascii() and position.isdigit() and int(position[:9]) < len(self.members)):
            raise BadQuery("the cursor isn't one of this search: begin at its first page")
        return int(position[:9]), inner or None

    def answering(self, reference: AnyReference) -> Registry:
        """Return the registry that answers for a reference: the first that holds its name, or its digest.

        For `hf://ORG/NAME` it is the cache of Hubs, which contacts the Hub when the reference is resolved. Raises
        NotFound if no registry holds it, and BadReference if it isn't a reference.
        """
        parsed = parsed_reference(reference)
        if isinstance(parsed, HubReference):
            from adapterhub_fin_registry.hub_client.client import Hub
            from adapterhub_fin_registry.hub_client.hub_cache import HubCache

            return HubCache(Hub(), self._intake)
        if len(self.members) == 1:
            return self.members[0].registry  # its own error says best what is missing
        for member in self.members:
            if answers_for(member.registry, parsed):
                _log.info("%s is answered by the registry %s at %s", parsed, member.name, member.registry.root)
                return member.registry
        raise self._missing(parsed)

    def locate(
        self,
        reference: AnyReference,
        *,
        as_of: AsOf | None = None,
        include_base: bool = True,
        lock: str | os.PathLike[str] | None = None,
    ) -> LocatedVersion:
        """Return the one version that a reference means, with the registry that holds it; see `Registry.resolve`.

        A version that a lock file records is looked for in all registries, by its digest: the result is the same even
        if another registry holds the name by now and answers for it. Raises what `Registry.resolve` raises.
        """
        parsed = parsed_reference(reference)
        if lock is None or isinstance(parsed, HubReference):
            registry = self.answering(parsed)
            return LocatedVersion(registry, registry.resolve(parsed, as_of=as_of, include_base=include_base, lock=lock))
        from adapterhub_fin_registry.model.lock_file import Lock, lock_key

        before = None if as_of is None else as_of_instant(as_of)
        check_include_base(include_base)
        homes: dict[Path, Registry] = {}

        def find(exact: Reference | DigestReference | HubReference) -> Version:
            registry = self.answering(exact)
            version = registry.find(exact, before, include_base)
            homes[version.folder] = registry
            return version

        version = Lock(lock, Disk()).hold(
            lock_key(parsed, as_of, include_base),
            find=lambda exact, digest: find(parse_reference(exact)),
            resolve=lambda: find(parsed),
            reference_of=lambda version: version.reference,
        )
        _log.info("%s is %s, %s", parsed, version.reference, version.digest)
        return LocatedVersion(homes[version.folder], version)

    def resolve(
        self,
        reference: AnyReference,
        *,
        as_of: AsOf | None = None,
        include_base: bool = True,
        lock: str | os.PathLike[str] | None = None,
    ) -> Version:
        """Return the one version that a reference means; see `locate`.

        Raises what `Registry.resolve` raises.
        """
        return self.locate(reference, as_of=as_of, include_base=include_base, lock=lock).version

    def as_of_many(
        self,
        reference: AnyReference,
        instants: Sequence[AsOf],
        *,
        include_base: bool = True,
        yanked: Yanked = "left_out",
    ) -> list[Version | None]:
        """Return for each instant the version that a reference means then; see `Registry.as_of_many`.

        Raises what `Registry.as_of_many` raises.
        """
        registry = self.answering(parsed_reference(reference))
        return registry.as_of_many(reference, instants, include_base=include_base, yanked=yanked)

    def path(
        self,
        reference: AnyReference,
        *,
        as_of: AsOf | None = None,
        include_base: bool = True,
        lock: str | os.PathLike[str] | None = None,
    ) -> Path:
        """Return the folder of a version's files, verified and allowed by the policy; see `locate` and `Registry.path`.

        Raises what `Registry.path` raises.
        """
        registry, version = self.locate(reference, as_of=as_of, include_base=include_base, lock=lock)
        return registry.path(version)

    def delete(self, reference: AnyReference, *, reason: str = "", allow_orphans: bool = False) -> Version:
        """Delete a version of the registry that answers for it; see `Registry.delete`.

        A base counts as needed by the versions of every registry on a disk, unless another of them has its digest too.
        Raises what `Registry.delete` raises.
        """
        parsed = to_delete(reference)
        registry = self.answering(parsed)
        if not (registry.is_remote or isinstance(parsed, HubReference) or allow_orphans):  # a Hub's refuses anyhow
            version, local = registry.resolve(parsed), [m.registry for m in self.members if not m.registry.is_remote]
            others = [other for other in local if other.root != registry.root]
            allow_orphans = any(answers_for(other, DigestReference(version.digest)) for other in others)
            if not allow_orphans:
                check_no_orphans(version, [each for other in others for each in other.orphans(version)])
        return registry.delete(parsed, reason=reason, allow_orphans=allow_orphans)

    def writable(self) -> Registry:
        """Return the first registry that can be written, where new versions go.

        Raises ReadOnly if there is none.
        """
        if len(self.members) == 1 and not self.members[0].registry.is_remote:
            return self.members[0].registry
        for member in self.members:
            try:
                member.registry.check_writable()
            except ReadOnly:
                continue
            return member.registry
        raise ReadOnly(
            f"none of the registries {self._listed()} can be written: configure one of your own, or AHF_HOME"
        )

    def writable_or_first(self) -> Registry:
        """Return the registry that new versions would go to, or the first one if none can be written.

        It is for callers that only read from it.
        """
        try:
            return self.writable()
        except ReadOnly:
            return self.members[0].registry

    def _missing(self, reference: Reference | DigestReference) -> NotFound:
        if isinstance(reference, Reference):
            for registry in (member.registry for member in self.members):
                if registry.holds(reference.full_name):
                    return resolution.missing(NameFolder(registry.root, reference.full_name), self.names, reference)
            return resolution.missing(NameFolder(self.members[0].registry.root, reference.full_name), self.names)
        return NotFound(f"there is no version with the digest {reference} in {self._listed()}: pull it first")

    def _listed(self) -> str:
        return ", ".join(member.name for member in self.members)


class _ReadOnlyDisk(Disk):
    """Represent a disk on which no change can begin."""

    def begin(self, root: Path) -> Path:
        raise OSError(errno.EROFS, "the configuration makes it read_only")


def answers_for(registry: Registry, reference: Reference | DigestReference) -> bool:
    """Return whether a registry holds a reference's name, yanked or not, or a version with its digest."""
    if isinstance(reference, Reference) and reference.digest is None:
        return registry.holds(reference.full_name)
    try:
        registry.resolve(reference)
    except NotFound:
        return False
    return True
