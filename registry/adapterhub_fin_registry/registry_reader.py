"""Read a registry on a local disk: find, resolve, search and verify its versions, without changing them."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin_registry.errors import BadInstant, BadReference, Corrupted, NotFound, PolicyViolation
from adapterhub_fin_registry.io.cache import cache_folder
from adapterhub_fin_registry.io.clock import bounded_now
from adapterhub_fin_registry.io.disk import Disk
from adapterhub_fin_registry.io.safe_read import is_there, read_object
from adapterhub_fin_registry.model.event_files import damaged_files, outcomes_file
from adapterhub_fin_registry.model.history import read_history
from adapterhub_fin_registry.model.knowledge import as_of_instant, check_include_base, parse_instant
from adapterhub_fin_registry.model.reference import (
    DigestReference,
    HubReference,
    Reference,
    check_alias,
    parse_reference,
)
from adapterhub_fin_registry.model.version import AnyReference, Version, parsed_reference
from adapterhub_fin_registry.model.version_rows import VersionRows, rows_table
from adapterhub_fin_registry.storage import resolve as resolution
from adapterhub_fin_registry.storage.marks import mark_of
from adapterhub_fin_registry.storage.name_folder import NameFolder
from adapterhub_fin_registry.storage.names import listable, troubles
from adapterhub_fin_registry.storage.passed import stored, written
from adapterhub_fin_registry.storage.standing import DatedChoice, Yanked, check_yanked
from adapterhub_fin_registry.storage.training_hashes import TrainingHashes, read_hashes
from adapterhub_fin_registry.trust import admission
from adapterhub_fin_registry.trust.signatures import Signature, read_signatures

if TYPE_CHECKING:
    from adapterhub_fin_registry.search.index import Index
    from adapterhub_fin_registry.search.page import Page
    from adapterhub_fin_registry.storage.lineage import Lineage
    from adapterhub_fin_registry.storage.verify import Contents

AsOf = str | date | datetime
_log = logging.getLogger(__name__)


class RegistryReader:
    """Read the versions under one folder, by name, alias, date, digest or query."""

    is_remote = False  # whether its versions are elsewhere, so that nothing new can be stored in it

    def __init__(self, root: str | os.PathLike[str] | None = None, *, disk: Disk | None = None) -> None:
        self.root = _default_root() if root is None else Path(root).absolute()
        self._disk = disk or Disk()
        self._identity = self.root / "registry.json"
        self._index: Index | None = None
        identity = self._read_identity()
        if identity is not None and identity.get("format") != 1:
            raise Corrupted(f"{self._identity} isn't of format 1: upgrade adapterhub_fin, or restore it from a copy")

    @property
    def id(self) -> str | None:
        """Return the registry's own UUID, by which caches know it; None before the first write.

        Raises Corrupted if `registry.json` can't be read.
        """
        identity = self._read_identity()
        return None if identity is None else str(identity.get("id"))

    def bounded_now(self, *read: Path, name: str | None = None) -> datetime:
        """Return the instant that bounds when undated data was known, once it was read.

        It is the latest of now, the newest file of `read` (files, or folders with files) and the newest record of the
        registry, which is looked for under `name` too. Raises Refused if the clock is more than 24 hours behind one of
        them.
        """
        return bounded_now([*written(*read), *stored(self.root, name)])

    def mark(self, name: str | None = None) -> str:
        """Return the change mark of the registry or of one name: a text that differs after every change.

        It is empty before the first change. During a change, after an interrupted one, and if the mark can't be read,
        every call returns another text.
        """
        return mark_of(self.root if name is None else NameFolder(self.root, name).folder)

    def names(self) -> list[str]:
        """Return every name with a version, sorted."""
        return [
            name_folder.name
            for name_folder in listable(self.root)
            if next(name_folder.newest_first(), None) is not None
        ]

    def holds(self, name: str) -> bool:
        """Return whether there is a version under a name; a damaged one counts, a deleted one doesn't.

        A name that can't be listed counts as held: otherwise another registry would answer in its place.
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
        """Return every readable version of a name by ascending number, the yanked ones too.

        Raises Corrupted if the versions can't be listed.
        """
        name_folder = NameFolder(self.root, name)
        return [
            version
            for n in name_folder.numbers()
            if (version := name_folder.stored(n)) is not None and version.is_readable
        ]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.root)!r})"

    def _repr_html_(self) -> str:
        return rows_table(repr(self), self.rows())

    def rows(self, name: str | None = None) -> VersionRows:
        """Return what a list shows of every version, of one name or of all, in plain JSON values.

        Raises Corrupted if the versions of `name` can't be listed.
        """
        return VersionRows(row for name_folder in self._name_folders(name) for row in name_folder.rows())

    def damaged(self, name: str | None = None) -> dict[str, str]:
        """Return what is wrong with each damaged version, by reference; files are not hashed.

        A name or a namespace that can't be listed has one entry, under its own name. Searches skip all of these.
        """
        from adapterhub_fin_registry.search.version_reader import damaged

        problems = troubles(self.root) if name is None else {}
        for name_folder in self._name_folders(name):
            problems |= {f"{name_folder.name}@{number}": reason for number, reason in damaged(name_folder).items()}
        return problems

    def search(
        self,
        query: str = "",
        *,
        limit: int | None = 50,
        after: str | None = None,
        as_of: AsOf | None = None,
        include_base: bool = True,
    ) -> Page:
        """Return a page of the versions that a query finds (see docs/reference/search.md), of at most `limit` rows.

        `limit=None` means no limit; `after` is the `next` of the previous page. Yanked versions are found only by a
        query that asks about `yanked`, and never with as_of. Raises BadQuery, with the column, if the query can't be
        parsed.
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
        """Return the one version that a reference means.

        as_of chooses among the versions of a bare name; a version by number, alias or digest is only checked against
        it. With a lock file, the version is recorded there at the first call; later calls return that version, whatever
        was moved or yanked since, with a warning.

        Raises NotFound if there is no such version, LookAhead if none of them knew so little, Corrupted if it can't be
        read, and BadReference or BadInstant for an invalid argument.
        """
        parsed = parsed_reference(reference)
        before = None if as_of is None else as_of_instant(as_of)
        check_include_base(include_base)
        if lock is None:
            if isinstance(reference, Version) and before is None and self._holds_unchanged(reference):
                return _logged(parsed, reference)
            return _logged(parsed, self.find(parsed, before, include_base))
        from adapterhub_fin_registry.model.lock_file import Lock, lock_key

        version = Lock(lock, self._disk).hold(
            lock_key(parsed, as_of, include_base),
            find=lambda exact, digest: self._find_locked(exact, digest, before, include_base),
            resolve=lambda: self.find(parsed, before, include_base),
            reference_of=lambda version: self._lock_reference(parsed, version),
        )
        return _logged(parsed, version)

    def _holds_unchanged(self, version: Version) -> bool:
        """Return whether a version that was read before is stored here with the same bytes.

        What was parsed of them needs no parsing again. Raises Corrupted if it can't be read.
        """
        if version != NameFolder(self.root, version.name).version(version.number):
            return False
        version.knows_until()  # raises Corrupted here, as for any reference
        return True

    def as_of_many(
        self,
        reference: AnyReference,
        instants: Sequence[AsOf],
        *,
        include_base: bool = True,
        yanked: Yanked = "left_out",
    ) -> list[Version | None]:
        """Return for each instant the version that `resolve` with that as_of gives, or None where it knew too much.

        `yanked` says what a version counts for that was yanked since: for nothing, as for `resolve`; `as_then`: from
        when it was added here until it was yanked; `before_yank`: for every instant before it was yanked. The versions
        are read once, however many instants there are. Raises NotFound if there is no such version, and BadReference or
        BadInstant for an invalid argument.

        Example:
            >>> registry.as_of_many("acme/tone", ["2020-01-01", "2022-01-01"])
            [None, Version(acme/tone@3)]
        """
        return [*self.choose_each(reference, instants, include_base=include_base, yanked=yanked).versions]

    def choose_each(
        self,
        reference: AnyReference,
        instants: Sequence[AsOf],
        *,
        include_base: bool = True,
        yanked: Yanked = "left_out",
    ) -> DatedChoice:
        """Return what `as_of_many` does, with the yanked versions that would have answered, by index.

        Raises what `as_of_many` raises.
        """
        parsed, moments = parsed_reference(reference), [as_of_instant(instant) for instant in instants]
        check_include_base(include_base)
        return self._find_each(parsed, moments, include_base, check_yanked(yanked))

    def path(
        self,
        reference: AnyReference,
        *,
        as_of: AsOf | None = None,
        include_base: bool = True,
        lock: str | os.PathLike[str] | None = None,
    ) -> Path:
        """Return the folder of a version's files, once it is verified or known to be unchanged since it was.

        Raises PolicyViolation if the client's policy rejects the version, Corrupted if a file differs from the
        manifest, and what `resolve` raises.
        """
        version = self.resolve(reference, as_of=as_of, include_base=include_base, lock=lock)
        self._verified(version)
        return version.files

    def read_files(self, version: Version, paths: Collection[str]) -> dict[str, Contents]:
        """Verify a version's files as `path` does, and return the verified bytes of those at some paths.

        Each of them is read once, into memory beside the heap, so that nothing can change between its verification and
        its use. Paths that the version doesn't have are left out. Raises what `path` raises.
        """
        return self._verified(self.resolve(version), paths)

    def _verified(self, version: Version, paths: Collection[str] = ()) -> dict[str, Contents]:
        """Verify a version that was resolved, and return the bytes of some files. Raises as `path`."""
        from adapterhub_fin_registry.io.hash_cache import remembered
        from adapterhub_fin_registry.storage.verify import verify_files

        for violation in admission.violations(version, self.root):
            raise PolicyViolation(violation)
        with remembered(self.id) as memory:
            return verify_files(version, memory, paths)

    def verify(self, reference: AnyReference) -> Version:
        """Verify a version's manifest, files, tensors, signatures, history and outcomes, and return it.

        Every file is read. Neither the signers nor the client's policy are checked: see `signatures` and `violations`.
        Raises Corrupted if anything differs, and NotFound if there is no such version.
        """
        from adapterhub_fin_registry.storage.verify import verify_files, verify_tensors

        version = self.resolve(reference)
        verify_files(version)
        verify_tensors(version)
        for problem in (*read_signatures(version)[1], *damaged_files(version.folder).values()):
            raise Corrupted(problem)
        return version

    def lineage(self, reference: AnyReference) -> Lineage:
        """Return the ancestors and descendants of a version, by one pass over every manifest of the registry.

        Raises NotFound if there is no such version.
        """
        from adapterhub_fin_registry.storage.lineage import lineage

        return lineage(self.root, self.resolve(reference))

    def deleted(self, digest: str) -> list[str]:
        """Return the references under which a version with this digest was stored here, and deleted."""
        from adapterhub_fin_registry.storage.lineage import deleted

        return deleted(self.root, digest)

    def orphans(self, version: Version) -> list[str]:
        """Return the references of versions of this registry that would lack their base without a version, sorted.

        They were trained on it, and no other version here has its digest. Raises Corrupted if the names can't be
        listed.
        """
        if version.manifest.kind != "base":
            return []
        from adapterhub_fin_registry.storage.lineage import orphans

        return orphans(self.root, version)

    def violations(self, reference: AnyReference) -> list[str]:
        """Return the rules of the client's policy that a version breaks, each as a sentence; empty if it may be loaded.

        Raises NotFound if there is no such version, and BadConfiguration if the policy can't be used.
        """
        return admission.violations(self.resolve(reference), self.root)

    def signatures(self, reference: AnyReference) -> list[Signature]:
        """Return the valid signatures over a version; only a key can show who made one.

        `verify` reports the invalid ones. Raises NotFound if there is no such version.
        """
        return read_signatures(self.resolve(reference))[0]

    def aliases(self, name: str) -> dict[str, int]:
        """Return every alias of a name with the version that it names."""
        return NameFolder(self.root, name).aliases()

    def alias_history(self, name: str, alias: str) -> list[dict[str, Any]]:
        """Return every setting of an alias, oldest first: number, version (None if it was removed) and at.

        Raises BadReference if `alias` isn't a valid alias, and Corrupted if a setting can't be read.
        """
        check_alias(alias)
        return NameFolder(self.root, name).alias_history(alias)

    def alias_on(self, name: str, alias: str, on: AsOf) -> int | None:
        """Return the version that an alias named at an instant (a date means its 00:00 UTC); None if it named none.

        The settings count in the order of their numbers; each is dated by its writer's clock. Raises NotFound if the
        alias never existed, and Corrupted if a setting has no date.
        """
        instant, history = as_of_instant(on), self.alias_history(name, alias)
        if not history:
            raise NotFound(f"{name} never had an alias {alias}: it has {', '.join(self.aliases(name)) or 'none'}")
        try:
            versions = [setting["version"] for setting in history if parse_instant(setting["at"]) <= instant]
        except BadInstant as error:
            raise Corrupted(f"a setting of {name}@{alias} has no date ({error}): restore it from a copy") from error
        return versions[-1] if versions else None

    def events(self, reference: AnyReference) -> list[dict[str, Any]]:
        """Return the events of a version, oldest first: each event's body with number, kind, at and by.

        Raises NotFound if there is no such version, and Corrupted if an event can't be read.
        """
        return self.resolve(reference).events

    def history(self, reference: AnyReference) -> dict[str, dict[str, list[Any]]] | None:
        """Return the history of a version's training, the newest if there are several; None if none is stored here.

        It holds the tables `training` and `validation`, each a mapping of a column's name to its numbers, one for each
        recorded step. Raises NotFound if there is no such version, and Corrupted if the history is damaged.

        Example:
            >>> pandas.DataFrame(registry.history("acme/tone@1")["training"]).plot("step", "loss")
        """
        return read_history(self.resolve(reference).folder)

    def outcomes(self, reference: AnyReference, event: int | None = None) -> Path | None:
        """Return the outcomes by row of a version's evaluation, a parquet file; None if none is stored here.

        They are those of the event with this number, else those of the newest evaluation that has some. The file is
        verified. Raises NotFound if there is no such version, and Corrupted if the file is damaged.

        Example:
            >>> pandas.read_parquet(registry.outcomes("acme/tone@1"))[["truth", "answer"]]
        """
        return outcomes_file(self.resolve(reference).folder, event)

    def training_hashes(self, version: Version) -> TrainingHashes | None:
        """Return the texts that a version of this registry was trained on, as hashes; None if they aren't known here.

        Raises Corrupted if the hashes are damaged.
        """
        return read_hashes(version.folder, self.id)

    def find(
        self, reference: Reference | DigestReference | HubReference, before: datetime | None, include_base: bool
    ) -> Version:
        """Return the version that a parsed reference means before an instant, without logging; see `resolve`.

        Raises what `resolve` raises.
        """
        if isinstance(reference, HubReference):
            raise BadReference(
                f"{reference} is on a Hub and not in this registry: pull it first, and ask for its name here"
            )
        if isinstance(reference, DigestReference):
            version = self._by_digest(reference.digest)
        else:
            name_folder = NameFolder(self.root, reference.full_name)
            if reference.is_bare and before is not None:
                return resolution.newest_as_of(name_folder, self.names, before, include_base)
            version = resolution.exact(name_folder, self.names, reference)
        if before is not None:
            resolution.check_as_of(version, before, include_base)
        return version

    def _find_each(
        self,
        reference: Reference | DigestReference | HubReference,
        moments: Sequence[datetime],
        include_base: bool,
        yanked: Yanked,
    ) -> DatedChoice:
        """Return the version that a parsed reference means before each instant, None where it knew too much."""
        if isinstance(reference, Reference) and reference.is_bare:
            name_folder = NameFolder(self.root, reference.full_name)
            return resolution.newest_as_of_each(name_folder, self.names, moments, include_base, yanked)
        version = self.find(reference, None, include_base)
        return DatedChoice([version if version.knows_until(include_base) < moment else None for moment in moments])

    def _find_locked(self, exact: str, digest: str, before: datetime | None, include_base: bool) -> Version:
        """Return the version that a lock file records for a reference."""
        return self.find(parse_reference(exact), before, include_base)

    def _lock_reference(self, reference: Reference | DigestReference | HubReference, version: Version) -> str:
        """Return the reference that a lock file records for a version."""
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


def _logged(reference: object, version: Version) -> Version:
    # An alias and a bare name may move later: the log of a run must say what they meant.
    _log.info("%s is %s, %s", reference, version.reference, version.digest)
    return version


def _default_root() -> Path:
    if home := os.environ.get("AHF_HOME"):
        return Path(home).absolute()
    from platformdirs import user_data_path

    return user_data_path("adapterhub_fin", appauthor=False)
