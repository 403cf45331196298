"""The registry on a local disk: a folder of versions, found by name, with no database and no server."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin_registry import admission, resolution
from adapterhub_fin_registry.cache import cache_folder
from adapterhub_fin_registry.canonical import canonical, json_object
from adapterhub_fin_registry.change import Change, author, changing, now
from adapterhub_fin_registry.disk import Disk
from adapterhub_fin_registry.errors import BadInstant, BadReference, Corrupted, NotFound, Refused
from adapterhub_fin_registry.events import check_event
from adapterhub_fin_registry.gc import GRACE, Leftover, collect
from adapterhub_fin_registry.knowledge import Tier, as_of_instant, check_tier, parse_instant
from adapterhub_fin_registry.numbered import following, numbers
from adapterhub_fin_registry.reading import read_object
from adapterhub_fin_registry.reference import (
    DigestReference,
    HubReference,
    Reference,
    check_alias,
    parse_reference,
)
from adapterhub_fin_registry.shelf import Shelf, mark_of, shelves
from adapterhub_fin_registry.signatures import Signature, read_signatures, signature_folder
from adapterhub_fin_registry.version import Version

if TYPE_CHECKING:
    from adapterhub_fin_registry.doctor import Finding
    from adapterhub_fin_registry.keys import PrivateKey
    from adapterhub_fin_registry.lineage import Lineage
    from adapterhub_fin_registry.manifest import Manifest
    from adapterhub_fin_registry.search.index import Index
    from adapterhub_fin_registry.search.page import Page

AnyReference = str | Reference | DigestReference | HubReference
_log = logging.getLogger(__name__)

AsOf = str | date | datetime


class Registry:
    """Versions of adapters under one folder: `root`, else AHF_HOME, else the platform's folder for user data.

    Opening writes nothing, so that a root may be mounted read-only; the first write makes what is missing.
    """

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

    def identify(self) -> str:
        """The registry's id, given to it now where nothing was ever written."""
        if self.id is None:
            with changing(self._disk, self.root, self.root) as change:
                change.identify()
        return str(self.id)

    def mark(self, name: str | None = None) -> str:
        """What changes whenever anything changes, in the registry or under one name; empty before the first change.

        While a change is being made, and after one that was broken off, no two answers are the same.
        """
        return mark_of(self.root if name is None else Shelf(self.root, name).folder)

    def names(self) -> list[str]:
        """Every name with a version, sorted."""
        return [shelf.name for shelf in shelves(self.root) if next(shelf.newest_first(), None) is not None]

    def holds(self, name: str) -> bool:
        """Whether there is a version under a name: a damaged one too, but not the tombstones of deleted ones."""
        shelf = Shelf(self.root, name)
        return any(not (shelf.versions_folder / str(n) / "deleted.json").exists() for n in reversed(shelf.numbers()))

    def versions(self, name: str) -> list[Version]:
        """Every version of a name, the yanked ones too, by ascending number."""
        return list(Shelf(self.root, name).newest_first())[::-1]

    def rows(self, name: str | None = None) -> list[dict[str, Any]]:
        """What a list shows of every version, of one name or of all, in plain JSON values."""
        return [row for shelf in self._shelves(name) for row in shelf.rows()]

    def damaged(self, name: str | None = None) -> dict[str, str]:
        """What is wrong with each version that a search passes over, by reference; files are not hashed."""
        return {f"{shelf.name}@{n}": reason for shelf in self._shelves(name) for n, reason in shelf.damaged().items()}

    def search(
        self,
        query: str = "",
        *,
        limit: int | None = 50,
        after: str | None = None,
        as_of: AsOf | None = None,
        tier: Tier = "strict",
    ) -> Page:
        """The rows of what a query finds (see docs/search.md), a page of at most `limit` at a time; None is no limit.

        `after` is the `next` of the page before. Yanked versions are found only by a query that asks about `yanked`,
        and never with as_of. BadQuery says at which column a query can't be read.
        """
        from adapterhub_fin_registry.search.index import Index
        from adapterhub_fin_registry.search.page import Cut, search

        cut = None if as_of is None else Cut(as_of_instant(as_of), check_tier(tier), is_now=as_of == "now")
        if self._index is None and (id_ := self.id) is not None:
            self._index = Index(self.root, cache_folder(id_) / "search")
        return search(self._index, query, limit, after, cut)

    def resolve(
        self,
        reference: AnyReference,
        *,
        as_of: AsOf | None = None,
        tier: Tier = "strict",
        lock: str | os.PathLike[str] | None = None,
    ) -> Version:
        """The one version that a reference means.

        as_of chooses among the versions of a bare name; a number, an alias or a digest it only checks. A lock file
        remembers the version for the next time, when it is given whatever was moved or yanked since, with a warning.
        """
        wanted = parse_reference(reference) if isinstance(reference, str) else reference
        before = None if as_of is None else as_of_instant(as_of)
        check_tier(tier)
        if lock is None:
            return _logged(wanted, self._find(wanted, before, tier))
        from adapterhub_fin_registry.lock import Lock, asked

        version = Lock(lock, self._disk).hold(
            asked(wanted, as_of, tier),
            find=lambda exact, digest: self._held(exact, digest, before, tier),
            resolve=lambda: self._find(wanted, before, tier),
            named=lambda version: self._lasting(wanted, version),
        )
        return _logged(wanted, version)

    def path(
        self,
        reference: AnyReference,
        *,
        as_of: AsOf | None = None,
        tier: Tier = "strict",
        lock: str | os.PathLike[str] | None = None,
    ) -> Path:
        """The folder of a version's files, verified, or unchanged since it was; Refused where the policy says no."""
        from adapterhub_fin_registry.memory import remembered
        from adapterhub_fin_registry.verification import verify_files

        version = self.resolve(reference, as_of=as_of, tier=tier, lock=lock)
        for violation in admission.violations(version, self.root):
            raise Refused(violation)
        with remembered(self.id) as memory:
            verify_files(version, memory)
        return version.files

    def verify(self, reference: AnyReference) -> Version:
        """The version, once its manifest, its files, their tensors and its signatures were found to agree.

        Nothing is remembered. Who signed isn't asked, nor what the client's policy says: `signatures` and `violations`
        tell.
        """
        from adapterhub_fin_registry.verification import verify_files, verify_tensors

        version = self.resolve(reference)
        verify_files(version)
        verify_tensors(version)
        for problem in read_signatures(version)[1]:
            raise Corrupted(problem)
        return version

    def lineage(self, reference: AnyReference) -> Lineage:
        """What a version came from and what came from it; one pass over every manifest of the registry."""
        from adapterhub_fin_registry.lineage import lineage

        return lineage(self.root, self.resolve(reference))

    def violations(self, reference: AnyReference) -> list[str]:
        """The rules of the client's policy that a version breaks, each as a sentence; none where it may be loaded."""
        return admission.violations(self.resolve(reference), self.root)

    def signatures(self, reference: AnyReference) -> list[Signature]:
        """The signatures over a version; whose they are, only keys can tell. What else lies there, `verify` tells."""
        return read_signatures(self.resolve(reference))[0]

    def sign(self, reference: AnyReference, key: PrivateKey | str | os.PathLike[str]) -> Signature:
        """Sign a version that is whole, with a key or its file; the signature is stored beside it."""
        from adapterhub_fin_registry.keys import PrivateKey

        key = key if isinstance(key, PrivateKey) else PrivateKey.read(key)
        version = self.verify(reference)
        return self._attach(version, Signature.make(version.manifest, key))

    def add_signature(self, reference: AnyReference, data: bytes) -> Signature:
        """Store a signature from elsewhere; BadSignature unless its bytes are one over this very version.

        Whose it is isn't checked: that is for whoever trusts it to ask.
        """
        version = self.resolve(reference)
        return self._attach(version, Signature.parse(data, version.manifest))

    def add(
        self,
        folder: str | os.PathLike[str],
        manifest: Manifest,
        *,
        name: str,
        checks: Iterable[Callable[[Manifest, Path], object]] = (),
        origin: Mapping[str, Any] | None = None,
        number: int | None = None,
        signatures: Iterable[bytes] | None = None,
    ) -> Version:
        """Store a folder as the next version of a name, or find the version that it already is.

        The manifest is completed with the folder's files and tensors; those that it names must match. Each check is
        called with the completed manifest and the copied files, and stops the add by raising Refused, or anything.
        `number` is taken where it is free, which is for versions that come from elsewhere, as are `signatures`, which
        are stored with the version; without them it is signed by the configuration's `sign_with`. What the client's
        policy doesn't allow is Refused.
        """
        from adapterhub_fin_registry.adding import run_checks, store, take_in

        shelf = Shelf(self.root, name)
        if number is not None:
            Reference.parse(f"{name}@{number}")
        record = {
            "name": name,
            "added_at": now(),
            "added_by": author(),
            "origin": None if origin is None else json_object(origin),
        }
        policy, key = admission.terms(self.root)
        with self._changing(shelf) as change:
            files = change.built / "files"
            self._disk.make(files)
            complete = take_in(self._disk, Path(folder), files, manifest)
            signed = admission.brought(complete, signatures, key)
            policy.check(f"this version of {name}", complete, signed)
            run_checks(checks, complete, files)
            version, is_new = store(change, shelf, complete, signed, record, number)
            if not is_new:
                self._disk.sync(shelf.versions_folder)  # whoever stored it may not have come so far
                for signature in signed:
                    self._attach(version, signature)
        return version

    def set_alias(self, name: str, alias: str, version: int | None) -> None:
        """Let an alias name a version from now on, or none; its history remains."""
        shelf = Shelf(self.root, name)
        check_alias(alias)
        current = shelf.alias(alias)
        if version is None and current is None:
            raise NotFound(f"{name} has no alias {alias}: it has {', '.join(shelf.aliases()) or 'none'}")
        if version is not None:
            resolution.exact(shelf, self.names, Reference.parse(f"{name}@{version}"))
        parent = shelf.folder / "aliases" / alias
        with self._changing(shelf) as change:
            if version == current:
                self._disk.sync(parent)
                return
            if version is not None:
                self._disk.sync(shelf.versions_folder)  # the alias may not outlive what it names
            self._disk.write(change.built / "alias.json", canonical({"version": version, "at": now()}))
            change.append(parent, following(numbers(parent)))

    def aliases(self, name: str) -> dict[str, int]:
        """Every alias of a name with the version it names."""
        return Shelf(self.root, name).aliases()

    def alias_history(self, name: str, alias: str) -> list[dict[str, Any]]:
        """Every setting of an alias, oldest first: number, version (None where it was removed) and at."""
        check_alias(alias)
        return Shelf(self.root, name).alias_history(alias)

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

    def add_event(self, reference: AnyReference, kind: str, body: Mapping[str, Any] | None = None) -> int:
        """Record what happened to a version (see `events.KINDS`), and give the event's number."""
        checked = check_event(kind, body or {})
        version = self.resolve(reference)
        parent = version.folder / "events"
        with self._changing(Shelf(self.root, version.name)) as change:
            event = {**checked, "kind": kind, "at": now(), "by": author()}
            self._disk.write(change.built / "event.json", canonical(event))
            return change.append(parent, following(numbers(parent)))

    def check_writable(self) -> None:
        """Raise ReadOnly or WriteFailed where nothing could be stored: for work that takes long before it writes."""
        with changing(self._disk, self.root, self.root):
            pass  # the workshop of a change is made, and removed again

    def events(self, reference: AnyReference) -> list[dict[str, Any]]:
        """What happened to a version, oldest first: number, kind, at and by, with the body's keys beside."""
        return self.resolve(reference).events

    def delete(self, reference: AnyReference, *, reason: str = "") -> Version:
        """Remove a version for good, leaving a tombstone: its number is never used again.

        Only an exact version can be deleted, by number or digest, and none that an alias names.
        """
        wanted = parse_reference(reference) if isinstance(reference, str) else reference
        if isinstance(wanted, Reference) and wanted.version is None and wanted.digest is None:
            raise BadReference(f"{wanted} doesn't name one version for good: delete by number or by digest")
        version = self.resolve(wanted)
        shelf = Shelf(self.root, version.name)
        aliases = [alias for alias, number in shelf.aliases().items() if number == version.number]
        if aliases:
            raise Refused(
                f"{version.reference} is named by {', '.join(aliases)}: set the alias to another version first"
            )
        tombstone = {"digest": version.digest, "reason": reason, "at": now(), "by": author()}
        with self._changing(shelf) as change:
            change.bury(version.folder, canonical(tombstone))
        return version

    def gc(self, *, dry_run: bool = False, grace: timedelta = GRACE) -> list[Leftover]:
        """Remove what dead work and half-finished deletions left, once nothing was written there for the grace."""
        return collect(self._disk, self.root, grace=grace, dry_run=dry_run)

    def doctor(self, *, repair: bool = False, grace: timedelta = GRACE) -> list[Finding]:
        """What is wrong but for the files' bytes, which `verify` reads, each repaired where that is asked and safe."""
        from adapterhub_fin_registry.doctor import examine

        return examine(self, self._disk, repair=repair, grace=grace)

    def _attach(self, version: Version, signature: Signature) -> Signature:
        with self._changing(Shelf(self.root, version.name)) as change:
            change.place(signature_folder(version), signature.file_name, signature.data)
        return signature

    def _find(self, wanted: Reference | DigestReference | HubReference, before: datetime | None, tier: Tier) -> Version:
        if isinstance(wanted, HubReference):
            raise BadReference(
                f"{wanted} is on a Hub and not in this registry: pull it first, and ask for its name here"
            )
        if isinstance(wanted, DigestReference):
            version = self._by_digest(wanted.digest)
        else:
            shelf = Shelf(self.root, wanted.full_name)
            if wanted.is_bare and before is not None:
                return resolution.newest_as_of(shelf, self.names, before, tier)
            version = resolution.exact(shelf, self.names, wanted)
        if before is not None:
            resolution.check_as_of(version, before, tier)
        return version

    def _held(self, exact: str, digest: str, before: datetime | None, tier: Tier) -> Version:
        """The version that a lock file holds a reference to."""
        return self._find(parse_reference(exact), before, tier)

    def _lasting(self, wanted: Reference | DigestReference | HubReference, version: Version) -> str:
        """How a lock file names a version."""
        return version.reference

    def _changing(self, shelf: Shelf) -> AbstractContextManager[Change]:
        return changing(self._disk, self.root, shelf.folder)

    def _shelves(self, name: str | None) -> list[Shelf]:
        return shelves(self.root) if name is None else [Shelf(self.root, name)]

    def _read_identity(self) -> dict[str, Any] | None:
        try:
            return read_object(self._identity)
        except FileNotFoundError:
            return None

    def _by_digest(self, digest: str) -> Version:
        for shelf in shelves(self.root):
            if version := shelf.by_digest(digest):
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
