"""Several registries asked in order, as a shell asks the folders of its PATH."""

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
from adapterhub_fin_registry.registry import Registry
from adapterhub_fin_registry.registry_reader import AnyReference, AsOf
from adapterhub_fin_registry.storage import resolve as resolution
from adapterhub_fin_registry.storage.name_folder import NameFolder
from adapterhub_fin_registry.trust.client_config import HOME, Configuration, RegistryEntry

if TYPE_CHECKING:
    from adapterhub_fin_registry.model.version import Version
    from adapterhub_fin_registry.search.page import Page

CHOSEN: Final = "AHF_REGISTRY"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Member:
    """A registry of a chain, by the name that its configuration gives it."""

    name: str
    registry: Registry


class LocatedVersion(NamedTuple):
    """A version, and the registry of a chain that holds it."""

    registry: Registry
    version: Version


class RegistryChain:
    """Registries in order: the first that holds a name answers for it, and hides it in those after.

    Numbers, aliases and dates are of one registry: were the versions of two mixed under one name, `@3` and the newest
    would change with whatever another team stores, and a later registry could put itself before one that is trusted
    more. A digest means the same bytes everywhere, and is looked for in all.
    """

    registry_class: type[Registry] = Registry  # of the members on a disk, where they are read from a configuration

    def __init__(self, members: Sequence[Member], intake: Intake | None = None) -> None:
        self.members = tuple(members)
        self._intake = intake

    @classmethod
    def configured(cls, intake: Intake | None = None) -> Self:
        """The registries of the client's configuration; without any, the default one alone.

        An AHF_HOME that isn't among them is asked first, as `home`. AHF_REGISTRY names the one to use alone. `intake`
        is what plugins have to say of a version that is read from a Hub.
        """
        configuration = Configuration.read()
        entries = configuration.registries
        default = cls.registry_class() if not entries or os.environ.get("AHF_HOME") else None
        if default is not None and all(entry.path != default.root for entry in entries):
            entries = (RegistryEntry(HOME, default.root), *entries)
        if wanted := os.environ.get(CHOSEN):
            known = ", ".join(entry.name for entry in entries)
            entries = tuple(entry for entry in entries if entry.name == wanted)
            if not entries:
                raise NotFound(f"there is no registry named {wanted!r} in {configuration.source}: there is {known}")
        return cls([Member(e.name, cls._opened(e, configuration.source, intake)) for e in entries], intake)

    @classmethod
    def _opened(cls, entry: RegistryEntry, source: Path, intake: Intake | None) -> Registry:
        if entry.path is None:
            from adapterhub_fin_registry.hub_client.client import Hub
            from adapterhub_fin_registry.hub_client.hub_registry import HubRegistry

            return HubRegistry(Hub(), entry.uri or "", intake)
        if not entry.read_only:
            return cls.registry_class(entry.path)  # made by the first write, where it isn't there
        if not entry.path.is_dir():
            raise BadConfiguration(
                f"the registry {entry.name} in {source} isn't there, at {entry.path}: mount it, or take it out"
            )
        return cls.registry_class(entry.path, disk=_ReadOnlyDisk())

    def names(self) -> list[str]:
        """Every name with a version, in whichever registry, sorted."""
        return sorted({name for member in self.members for name in member.registry.names()})

    def rows(self, name: str | None = None) -> list[dict[str, Any]]:
        """What a list shows, each row with its `registry`, and `hidden` where an earlier one holds the name."""
        listed = enumerate(member.registry.rows(name) for member in self.members)
        return [row for position, rows in listed for row in self._placed(position, rows)]

    def search(
        self,
        query: str = "",
        *,
        limit: int | None = 50,
        after: str | None = None,
        as_of: AsOf | None = None,
        include_base: bool = True,
    ) -> Page:
        """A page of what the registries find, one after the other, each row as in `rows`; see `Registry.search`.

        An ORDER BY or a LIMIT of the query counts within each registry.
        """
        from adapterhub_fin_registry.search.page import Page

        start, inner = self._place(after)
        rows: list[dict[str, Any]] = []
        damaged: dict[str, str] = {}
        for position in range(start, len(self.members)):
            left = None if limit is None else limit - len(rows)
            if left == 0:
                return Page(rows, f"{position}.", damaged)
            found = self.members[position].registry.search(
                query, limit=left, after=inner, as_of=as_of, include_base=include_base
            )
            rows += self._placed(position, found)
            damaged = {**found.damaged, **damaged}  # of one reference in two, the one that answers for it
            if found.next is not None:
                return Page(rows, f"{position}.{found.next}", damaged)
            inner = None
        return Page(rows, None, damaged)

    def _placed(self, position: int, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Rows of one registry with its name, and whether an earlier one hides theirs."""
        hidden: dict[str, bool] = {}
        for row in rows:
            name = row["name"]
            if name not in hidden:
                hidden[name] = any(member.registry.holds(name) for member in self.members[:position])
            yield {**row, "registry": self.members[position].name, "hidden": hidden[name]}

    def _place(self, cursor: str | None) -> tuple[int, str | None]:
        """Which registry a cursor goes on in, and its cursor there."""
        if cursor is None:
            return 0, None
        position, dot, inner = cursor.partition(".")
        if not (dot and position.isascii() and position.isdigit() and int(position[:9]) < len(self.members)):
            raise BadQuery("the cursor isn't one of this search: begin at its first page")
        return int(position[:9]), inner or None

    def answering(self, reference: AnyReference) -> Registry:
        """The registry that answers for a reference: the first with its name, or with its digest; NotFound for none.

        For `hf://ORG/NAME` it is what was read of the Hub, which is asked when the reference is resolved.
        """
        wanted = parse_reference(reference) if isinstance(reference, str) else reference
        if isinstance(wanted, HubReference):
            from adapterhub_fin_registry.hub_client.client import Hub
            from adapterhub_fin_registry.hub_client.hub_cache import HubCache

            return HubCache(Hub(), self._intake)
        if len(self.members) == 1:
            return self.members[0].registry  # which says best itself what it lacks
        for member in self.members:
            if _answers(member.registry, wanted):
                _log.info("%s is answered by the registry %s at %s", wanted, member.name, member.registry.root)
                return member.registry
        raise self._missing(wanted)

    def locate(
        self,
        reference: AnyReference,
        *,
        as_of: AsOf | None = None,
        include_base: bool = True,
        lock: str | os.PathLike[str] | None = None,
    ) -> LocatedVersion:
        """The one version that a reference means, with the registry that holds it; see `Registry.resolve`.

        What a lock file holds is looked for in all of them, by its digest: a registry that came to hold the name since,
        and now answers for it, changes nothing.
        """
        wanted = parse_reference(reference) if isinstance(reference, str) else reference
        if lock is None or isinstance(wanted, HubReference):
            registry = self.answering(wanted)
            return LocatedVersion(registry, registry.resolve(wanted, as_of=as_of, include_base=include_base, lock=lock))
        from adapterhub_fin_registry.model.lock_file import Lock, lock_key

        before = None if as_of is None else as_of_instant(as_of)
        check_include_base(include_base)
        homes: dict[Path, Registry] = {}

        def find(wanted: Reference | DigestReference | HubReference) -> Version:
            registry = self.answering(wanted)
            version = registry.find(wanted, before, include_base)
            homes[version.folder] = registry
            return version

        version = Lock(lock, Disk()).hold(
            lock_key(wanted, as_of, include_base),
            find=lambda exact, digest: find(parse_reference(exact)),
            resolve=lambda: find(wanted),
            named=lambda version: version.reference,
        )
        _log.info("%s is %s, %s", wanted, version.reference, version.digest)
        return LocatedVersion(homes[version.folder], version)

    def resolve(
        self,
        reference: AnyReference,
        *,
        as_of: AsOf | None = None,
        include_base: bool = True,
        lock: str | os.PathLike[str] | None = None,
    ) -> Version:
        """The one version that a reference means; see `locate`."""
        return self.locate(reference, as_of=as_of, include_base=include_base, lock=lock).version

    def path(
        self,
        reference: AnyReference,
        *,
        as_of: AsOf | None = None,
        include_base: bool = True,
        lock: str | os.PathLike[str] | None = None,
    ) -> Path:
        """The folder of a version's files, verified and allowed by the policy; see `locate` and `Registry.path`."""
        registry, version = self.locate(reference, as_of=as_of, include_base=include_base, lock=lock)
        return registry.path(version.reference)

    def writable(self) -> Registry:
        """The first registry that can be written, which is where new versions go; ReadOnly where none can."""
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
        """The registry that new versions would go to, and the first where none can: for what only reads there."""
        try:
            return self.writable()
        except ReadOnly:
            return self.members[0].registry

    def _missing(self, wanted: Reference | DigestReference) -> NotFound:
        if isinstance(wanted, Reference):
            for registry in (member.registry for member in self.members):
                if registry.holds(wanted.full_name):
                    return resolution.missing(NameFolder(registry.root, wanted.full_name), self.names, wanted)
            return resolution.missing(NameFolder(self.members[0].registry.root, wanted.full_name), self.names)
        return NotFound(f"there is no version with the digest {wanted} in {self._listed()}: pull it first")

    def _listed(self) -> str:
        return ", ".join(member.name for member in self.members)


class _ReadOnlyDisk(Disk):
    """A disk on which no change can begin."""

    def begin(self, root: Path) -> Path:
        raise OSError(errno.EROFS, "the configuration makes it read_only")


def _answers(registry: Registry, wanted: Reference | DigestReference) -> bool:
    if isinstance(wanted, Reference) and wanted.digest is None:
        return registry.holds(wanted.full_name)
    try:
        registry.resolve(wanted)
    except NotFound:
        return False
    return True
