"""What a registry on a local disk holds: found, resolved, searched and verified, and never changed."""

from __future__ import annotations

import logging
import os
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin_registry.errors import BadInstant, BadReference, Corrupted, NotFound, PolicyViolation
from adapterhub_fin_registry.io.cache import cache_folder
from adapterhub_fin_registry.io.clock import bounded_now
from adapterhub_fin_registry.io.disk import Disk
from adapterhub_fin_registry.io.safe_read import is_there, read_object
from adapterhub_fin_registry.model.knowledge import as_of_instant, check_include_base, parse_instant
from adapterhub_fin_registry.model.reference import (
    DigestReference,
    HubReference,
    Reference,
    check_alias,
    parse_reference,
)
from adapterhub_fin_registry.model.version import Version
from adapterhub_fin_registry.storage import resolve as resolution
from adapterhub_fin_registry.storage.learnt import Learnt, read_learnt
from adapterhub_fin_registry.storage.name_folder import NameFolder, listable, mark_of, troubles
from adapterhub_fin_registry.storage.passed import stored, written
from adapterhub_fin_registry.trust import admission
from adapterhub_fin_registry.trust.signatures import Signature, read_signatures

if TYPE_CHECKING:
    from adapterhub_fin_registry.search.index import Index
    from adapterhub_fin_registry.search.page import Page
    from adapterhub_fin_registry.storage.lineage import Lineage

AnyReference = str | Reference | DigestReference | HubReference
AsOf = str | date | datetime
_log = logging.getLogger(__name__)


class RegistryReader:
    """The reading half of a `Registry`: the versions under one folder, by name, alias, date, digest or query."""

    is_remote = False  # whether what it answers lies elsewhere, so that nothing new can be stored in it

    def __init__(self, root: str | os.PathLike[str] | None = None, *, disk: Disk | None = None) -> None:
        self.root = _default_root() if root is None else Path(root).absolute()
        self._disk = disk or Disk()
        self._identity = self.root / "registry.json"
        self._index: Index | None = None
        found = self._read_identity()
        if found is not None and found.get("format") != 1:
            raise Corrupted(f"{self._identity} isn't of format 1: upgrade adapterhub_fin, or restore it from a copy")

    @property
    def id(self) -> str | None:
        """The registry's own UUID, by which caches know it; None before the first write."""
        found = self._read_identity()
        return None if found is None else str(found.get("id"))

    def bounded_now(self, *read: Path, name: str | None = None) -> datetime:
        """Return the moment that bounds what carries no date, once it was read.

        It is the latest of now, the newest file of `read` (files, or folders with files) and the newest record here,
        which is looked for under `name` too. Raises Refused where the clock is more than 24 hours behind one of them.
        """
        return bounded_now([*written(*read), *stored(self.root, name)])

    def mark(self, name: str | None = None) -> str:
        """What changes whenever anything changes, in the registry or under one name; empty before the first change.

        While a change is being made, after one that was broken off, and where the mark can't be read, no two answers
        are the same.
        """
        return mark_of(self.root if name is None else NameFolder(self.root, name).folder)

    def names(self) -> list[str]:
        """Every name with a version, sorted."""
        return [
            name_folder.name
            for name_folder in listable(self.root)
            if next(name_folder.newest_first(), None) is not None
        ]

    def holds(self, name: str) -> bool:
        """Whether there is a version under a name: a damaged one too, but not the tombstones of deleted ones.

        What can't be looked at is held too, or another registry would answer in its place.
        """
        name_folder = NameFolder(self.root, name)
        try:
            return any(
                not is_there(name_folder.versions_folder / str(n) / "deleted.json")
                for n in reversed(name_folder.numbers())
            )
        except Corrupted:
            return True

    def versions(self, name: str) -> list[Version]:
        """Every version of a name, the yanked ones too, by ascending number."""
        name_folder = NameFolder(self.root, name)
        return [
            version
            for n in name_folder.numbers()
            if (version := name_folder.stored(n)) is not None and version.is_readable
        ]

    def rows(self, name: str | None = None) -> list[dict[str, Any]]:
        """What a list shows of every version, of one name or of all, in plain JSON values."""
        return [row for name_folder in self._name_folders(name) for row in name_folder.rows()]

    def damaged(self, name: str | None = None) -> dict[str, str]:
        """What is wrong with each version that a search passes over, by reference; files are not hashed.

        Of a name or a namespace that can't even be listed, it stands under that alone.
        """
        from adapterhub_fin_registry.search.version_reader import damaged

        found = troubles(self.root) if name is None else {}
        for name_folder in self._name_folders(name):
            found |= {f"{name_folder.name}@{number}": reason for number, reason in damaged(name_folder).items()}
        return found

    def search(
        self,
        query: str = "",
        *,
        limit: int | None = 50,
        after: str | None = None,
        as_of: AsOf | None = None,
        include_base: bool = True,
    ) -> Page:
        """Return the rows that a query finds (docs/reference/search.md), at most `limit` a page; None is no limit.

        `after` is the `next` of the page before. Yanked versions are found only by a query that asks about `yanked`,
        and never with as_of. BadQuery says at which column a query can't be read.
        """
        from adapterhub_fin_registry.search.index import Index
        from adapterhub_fin_registry.search.page import Cut, search

        cut = (
            None
            if as_of is None
            else Cut(as_of_instant(as_of), check_include_base(include_base), is_now=as_of == "now")
        )
        if self._index is None and (id_ := self.id) is not None:
            self._index = Index(self.root, cache_folder(id_) / "search")
        return search(self._index, query, limit, after, cut)

    def resolve(
        self,
        reference: AnyReference,
        *,
        as_of: AsOf | None = None,
        include_base: bool = True,
        lock: str | os.PathLike[str] | None = None,
    ) -> Version:
        """The one version that a reference means.

        as_of chooses among the versions of a bare name; a number, an alias or a digest it only checks. A lock file
        remembers the version for the next time, when it is given whatever was moved or yanked since, with a warning.
        """
        wanted = parse_reference(reference) if isinstance(reference, str) else reference
        before = None if as_of is None else as_of_instant(as_of)
        check_include_base(include_base)
        if lock is None:
            return _logged(wanted, self.find(wanted, before, include_base))
        from adapterhub_fin_registry.model.lock_file import Lock, lock_key

        version = Lock(lock, self._disk).hold(
            lock_key(wanted, as_of, include_base),
            find=lambda exact, digest: self._held(exact, digest, before, include_base),
            resolve=lambda: self.find(wanted, before, include_base),
            named=lambda version: self._lasting(wanted, version),
        )
        return _logged(wanted, version)

    def path(
        self,
        reference: AnyReference,
        *,
        as_of: AsOf | None = None,
        include_base: bool = True,
        lock: str | os.PathLike[str] | None = None,
    ) -> Path:
        """The folder of a version's files, verified, or unchanged since it was; Refused where the policy says no."""
        from adapterhub_fin_registry.io.hash_cache import remembered
        from adapterhub_fin_registry.storage.verify import verify_files

        version = self.resolve(reference, as_of=as_of, include_base=include_base, lock=lock)
        for violation in admission.violations(version, self.root):
            raise PolicyViolation(violation)
        with remembered(self.id) as memory:
            verify_files(version, memory)
        return version.files

    def verify(self, reference: AnyReference) -> Version:
        """The version, once its manifest, its files, their tensors and its signatures were found to agree.

        Nothing is remembered. Who signed isn't asked, nor what the client's policy says: `signatures` and `violations`
        tell.
        """
        from adapterhub_fin_registry.storage.verify import verify_files, verify_tensors

        version = self.resolve(reference)
        verify_files(version)
        verify_tensors(version)
        for problem in read_signatures(version)[1]:
            raise Corrupted(problem)
        return version

    def lineage(self, reference: AnyReference) -> Lineage:
        """What a version came from and what came from it; one pass over every manifest of the registry."""
        from adapterhub_fin_registry.storage.lineage import lineage

        return lineage(self.root, self.resolve(reference))

    def violations(self, reference: AnyReference) -> list[str]:
        """The rules of the client's policy that a version breaks, each as a sentence; none where it may be loaded."""
        return admission.violations(self.resolve(reference), self.root)

    def signatures(self, reference: AnyReference) -> list[Signature]:
        """The signatures over a version; whose they are, only keys can tell. What else lies there, `verify` tells."""
        return read_signatures(self.resolve(reference))[0]

    def aliases(self, name: str) -> dict[str, int]:
        """Every alias of a name with the version it names."""
        return NameFolder(self.root, name).aliases()

    def alias_history(self, name: str, alias: str) -> list[dict[str, Any]]:
        """Every setting of an alias, oldest first: number, version (None where it was removed) and at."""
        check_alias(alias)
        return NameFolder(self.root, name).alias_history(alias)

    def alias_on(self, name: str, alias: str, on: AsOf) -> int | None:
        """The version that an alias named at an instant (a date means its 00:00 UTC); None where it named none then.

        The settings count in the order of their numbers; when each was made is as the clock of its writer had it.
        """
        moment, history = as_of_instant(on), self.alias_history(name, alias)
        if not history:
            raise NotFound(f"{name} never had an alias {alias}: it has {', '.join(self.aliases(name)) or 'none'}")
        try:
            made = [setting["version"] for setting in history if parse_instant(setting["at"]) <= moment]
        except BadInstant as error:
            raise Corrupted(f"a setting of {name}@{alias} has no date ({error}): restore it from a copy") from error
        return made[-1] if made else None

    def events(self, reference: AnyReference) -> list[dict[str, Any]]:
        """What happened to a version, oldest first: number, kind, at and by, with the body's keys beside."""
        return self.resolve(reference).events

    def learnt(self, version: Version) -> Learnt | None:
        """Return the texts that a version of this registry learnt from, as hashes; None where nobody here can tell."""
        return read_learnt(version.folder, self.id)

    def find(
        self, wanted: Reference | DigestReference | HubReference, before: datetime | None, include_base: bool
    ) -> Version:
        """The version that a reference means before an instant, with no word to the log; see `resolve`."""
        if isinstance(wanted, HubReference):
            raise BadReference(
                f"{wanted} is on a Hub and not in this registry: pull it first, and ask for its name here"
            )
        if isinstance(wanted, DigestReference):
            version = self._by_digest(wanted.digest)
        else:
            name_folder = NameFolder(self.root, wanted.full_name)
            if wanted.is_bare and before is not None:
                return resolution.newest_as_of(name_folder, self.names, before, include_base)
            version = resolution.exact(name_folder, self.names, wanted)
        if before is not None:
            resolution.check_as_of(version, before, include_base)
        return version

    def _held(self, exact: str, digest: str, before: datetime | None, include_base: bool) -> Version:
        """The version that a lock file holds a reference to."""
        return self.find(parse_reference(exact), before, include_base)

    def _lasting(self, wanted: Reference | DigestReference | HubReference, version: Version) -> str:
        """How a lock file names a version."""
        return version.reference

    def _name_folders(self, name: str | None) -> list[NameFolder]:
        return listable(self.root) if name is None else [NameFolder(self.root, name)]

    def _read_identity(self) -> dict[str, Any] | None:
        try:
            return read_object(self._identity)
        except FileNotFoundError:
            return None
        except NotADirectoryError as error:
            raise Corrupted(f"{self.root} isn't a folder: give that of a registry, or of a new one") from error

    def _by_digest(self, digest: str) -> Version:
        for name_folder in listable(self.root):
            if version := name_folder.by_digest(digest):
                return version
        raise NotFound(f"there is no version with the digest {digest}: pull it, or ask another registry")


def _logged(wanted: object, version: Version) -> Version:
    # An alias and a bare name move: a run's log must say what they were.
    _log.info("%s is %s, %s", wanted, version.reference, version.digest)
    return version


def _default_root() -> Path:
    if home := os.environ.get("AHF_HOME"):
        return Path(home).absolute()
    from platformdirs import user_data_path

    return user_data_path("adapterhub_fin", appauthor=False)
