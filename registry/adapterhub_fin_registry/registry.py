"""Keep a registry on a local disk: a folder of versions, found by name, without a database or a server."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin_registry.errors import BadEvent, BadReference, NotFound, Refused
from adapterhub_fin_registry.io.canonical_json import canonical, json_object
from adapterhub_fin_registry.io.safe_read import following, numbers
from adapterhub_fin_registry.model.event_files import HISTORY, OUTCOMES, entry
from adapterhub_fin_registry.model.events import check_event
from adapterhub_fin_registry.model.history import KIND, History, encode_history, number_of
from adapterhub_fin_registry.model.reference import DigestReference, HubReference, Reference, check_alias
from adapterhub_fin_registry.model.version import AnyReference, Version, parsed_reference
from adapterhub_fin_registry.registry_reader import RegistryReader
from adapterhub_fin_registry.storage import resolve as resolution
from adapterhub_fin_registry.storage.garbage import GRACE, Leftover, collect
from adapterhub_fin_registry.storage.name_folder import NameFolder
from adapterhub_fin_registry.storage.training_hashes import NAME as TRAINING_HASHES
from adapterhub_fin_registry.storage.training_hashes import encode_hashes, has_hashes
from adapterhub_fin_registry.storage.transaction import Transaction, author, changing, now
from adapterhub_fin_registry.trust import admission
from adapterhub_fin_registry.trust.signatures import Signature, signature_folder

if TYPE_CHECKING:
    from adapterhub_fin_registry.doctor import Finding
    from adapterhub_fin_registry.model.manifest import Manifest
    from adapterhub_fin_registry.trust.keys import PrivateKey

_NAMED: Final = 3  # versions that a refusal names


class Registry(RegistryReader):
    """Store versions of adapters under one folder: `root`, else AHF_HOME, else the platform's folder for user data.

    Opening writes nothing, so that a root may be mounted read-only; the first write creates what is missing. Every
    write raises ReadOnly if the folder may not be written, and WriteFailed if the disk refuses.

    Example:
        registry = Registry("registry")
        version = registry.add("out/adapter", manifest, name="acme/tone")
        registry.set_alias("acme/tone", "champion", version.number)
    """

    def standing_checks(self) -> Iterable[Callable[[Manifest, Path], object]]:
        """Return the checks that every add runs, in addition to its own `checks`: none here.

        Subclasses override it.
        """
        return ()

    def identify(self) -> str:
        """Return the registry's id, and create it if nothing was ever written.

        Raises ReadOnly or WriteFailed if it can't be written.
        """
        if self.id is None:
            with changing(self._disk, self.root, self.root) as change:
                change.identify()
        return str(self.id)

    def sign(self, reference: AnyReference, key: PrivateKey | str | os.PathLike[str]) -> Signature:
        """Verify a version, sign it with a key or a key's file, and store the signature with it.

        Raises BadKey if the key can't be used, NotFound if there is no such version, and Corrupted if it is damaged.
        """
        from adapterhub_fin_registry.trust.keys import PrivateKey

        key = key if isinstance(key, PrivateKey) else PrivateKey.read(key)
        version = self.verify(reference)
        return self._attach(version, Signature.make(version.manifest, key))

    def add_signature(self, reference: AnyReference, data: bytes) -> Signature:
        """Store a signature from elsewhere with a version.

        Its signer isn't checked: that is up to whoever relies on the signature. Raises BadSignature if the bytes aren't
        a signature over this version, and NotFound if there is no such version.
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
        training_texts: Iterable[str] | None = None,
        history: History | None = None,
    ) -> Version:
        """Store a folder as the next version of a name, or return the version if it is stored already.

        The manifest is completed with the folder's files and tensors; those that it names must match. Each of the
        registry's `standing_checks` and of `checks` is called once with the completed manifest and the copied files; it
        stops the add by raising Refused, or any other error.

        `number` is for versions from elsewhere: it is used if it is free and at most 499999999. `signatures` are stored
        with the version; without them it is signed by the configuration's `sign_with` key. Of `training_texts`,
        which the version was trained on, keyed hashes are stored with it (see `storage/training_hashes.py`). `history`
        is that of the training run, stored as an event (see `add_history`) in the same step.

        Raises NotAnAdapter if the folder can't be stored, Corrupted if it differs from the manifest, PolicyViolation if
        the client's policy or a check rejects the version, BadReference if `name` isn't a name, BadEvent if `history`
        isn't one, and ReadOnly or WriteFailed.
        """
        from adapterhub_fin_registry.storage.ingest import run_checks, store, take_in

        name_folder = NameFolder(self.root, name)
        if number is not None:
            Reference.parse(f"{name}@{number}")
        record = {
            "name": name,
            "added_at": now(),
            "added_by": author(),
            "origin": None if origin is None else json_object(origin),
        }
        course = None if history is None else encode_history(history)
        checks = {id(check): check for check in (*self.standing_checks(), *checks)}.values()
        policy, key = admission.terms(self.root)
        with self._changing(name_folder) as change:
            files = change.built / "files"
            self._disk.make(files, change.built)
            complete = take_in(self._disk, Path(folder), files, manifest)
            signed = admission.signatures_for(complete, signatures, key)
            policy.check(f"this version of {name}", complete, signed)
            run_checks(checks, complete, files)
            hashes = None if training_texts is None else encode_hashes(change.identify(), training_texts)
            if hashes is not None:
                change.write(change.built / TRAINING_HASHES, hashes)
            if course is not None:
                event = change.built / "events" / "1"
                self._disk.make(event, change.built)
                _write_history(change, event, course)
            version, is_new = store(change, name_folder, complete, signed, record, number)
            if not is_new:
                self._disk.sync(name_folder.versions_folder)  # the process that stored it may not have synced it yet
                for signature in signed:
                    self._attach(version, signature)
                if hashes is not None and not has_hashes(version.folder, hashes):
                    with change.marked():
                        change.rewrite(version.folder / TRAINING_HASHES, hashes)
                if course is not None:
                    self._append_history(version, course)
        return version

    def set_alias(self, name: str, alias: str, version: int | None) -> None:
        """Let an alias name a version from now on, or none if `version` is None; its history remains.

        Raises NotFound if there is no such version or no alias to remove, and BadReference if `alias` isn't a valid
        alias.
        """
        name_folder = NameFolder(self.root, name)
        check_alias(alias)
        current = name_folder.alias(alias)
        if version is None and current is None:
            raise NotFound(f"{name} has no alias {alias}: it has {', '.join(name_folder.aliases()) or 'none'}")
        if version is not None:
            resolution.exact(name_folder, self.names, Reference.parse(f"{name}@{version}"))
        parent = name_folder.folder / "aliases" / alias
        with self._changing(name_folder) as change:
            if version == current:
                self._disk.sync(parent)
                return
            if version is not None:
                self._disk.sync(name_folder.versions_folder)  # the version must be durable before its alias is
            change.write(change.built / "alias.json", canonical({"version": version, "at": now()}))
            change.append(parent, following(numbers(parent)))
        if version is not None and name_folder.version(version) is None:  # deleted while its alias was being set
            if name_folder.alias(alias) == version:
                self.set_alias(name, alias, None)
            raise resolution.missing(name_folder, self.names, Reference.parse(f"{name}@{version}"))

    def add_event(
        self,
        reference: AnyReference,
        kind: str,
        body: Mapping[str, Any] | None = None,
        *,
        outcomes: bytes | None = None,
    ) -> int:
        """Record an event of a version (see `events.KINDS`), and return the event's number.

        `outcomes` is a parquet file of what each row of an evaluation got. It stands beside the event, which records
        its hash; it is stored in the same step. Raises BadEvent if the kind or the body isn't valid, and NotFound if
        there is no such version.
        """
        if outcomes is not None:
            if kind != "evaluation":
                raise BadEvent(f"a {kind} event has no outcomes by row: an evaluation has")
            body = {**(body or {}), "outcomes": entry(outcomes)}
        elif kind == "evaluation" and (body or {}).get("outcomes") is not None:
            raise BadEvent("the body of the evaluation event holds 'outcomes', which the registry sets: leave it out")
        checked = check_event(kind, body or {})
        version = self.resolve(reference)
        parent = version.folder / "events"
        with self._changing(NameFolder(self.root, version.name)) as change:
            event = {**checked, "kind": kind, "at": now(), "by": author()}
            if outcomes is not None:
                change.write(change.built / OUTCOMES, outcomes)
            change.write(change.built / "event.json", canonical(event))
            return change.append(parent, following(numbers(parent)))

    def add_history(self, reference: AnyReference, history: History) -> int:
        """Store the history of a version's training as an event, and return the event's number.

        A history holds the tables `training` and `validation`, each a mapping of a column's name to its numbers, with a
        column `step`. If this very history is stored already, its number is returned. Raises BadEvent if it isn't
        valid, and NotFound if there is no such version.
        """
        return self._append_history(self.resolve(reference), encode_history(history))

    def check_remote_code(self, name: str) -> None:
        """Raise PolicyViolation where the client's policy or the registry's forbids to run a base's own code.

        Raises BadConfiguration if the policy can't be used.
        """
        admission.terms(self.root)[0].check_remote_code(f"this version of {name}")

    def check_writable(self) -> None:
        """Raise ReadOnly or WriteFailed if nothing can be stored, before long work whose result would be."""
        with changing(self._disk, self.root, self.root):
            pass  # this creates the work folder of a change and removes it

    def delete(self, reference: AnyReference, *, reason: str = "", allow_orphans: bool = False) -> Version:
        """Delete a version and leave a tombstone, so that its number is never used again.

        `allow_orphans` lets a base go that versions of this registry were trained on, which lack it then. Raises
        BadReference if the reference isn't exact (a number or a digest), NotFound if there is no such version, and
        Refused if an alias names it or, without `allow_orphans`, if it is such a base.
        """
        version = self.resolve(to_delete(reference))
        name_folder = NameFolder(self.root, version.name)

        def check() -> None:
            _must_be_unnamed(name_folder, version)
            if not allow_orphans:
                check_no_orphans(version, self.orphans(version))

        check()
        tombstone = {"digest": version.digest, "reason": reason, "at": now(), "by": author()}
        with self._changing(name_folder) as change:
            change.bury(version.folder, canonical(tombstone), check)
        return version

    def gc(self, *, dry_run: bool = False, grace: timedelta = GRACE) -> list[Leftover]:
        """Remove leftovers of interrupted work and deletions, and return them.

        Work counts as interrupted if nothing was written there for `grace`. With `dry_run` nothing is removed. Raises
        Corrupted if the folder of unfinished work can't be listed.
        """
        return collect(self._disk, self.root, grace=grace, dry_run=dry_run)

    def doctor(self, *, repair: bool = False, grace: timedelta = GRACE) -> list[Finding]:
        """Check the registry's structure (not file contents: see `verify`) and return what is wrong.

        With `repair`, fix what is safe to fix.
        """
        from adapterhub_fin_registry.doctor import examine

        return examine(self, self._disk, repair=repair, grace=grace)

    def _attach(self, version: Version, signature: Signature) -> Signature:
        with self._changing(NameFolder(self.root, version.name)) as change:
            change.place(signature_folder(version), signature.file_name, signature.data)
        return signature

    def _append_history(self, version: Version, data: bytes) -> int:
        parent = version.folder / "events"
        with self._changing(NameFolder(self.root, version.name)) as change:
            if (number := number_of(version.folder, data)) is not None:
                self._disk.sync(parent)  # the process that stored it may not have synced it yet
                return number
            _write_history(change, change.built, data)
            return change.append(parent, following(numbers(parent)))

    def _changing(self, name_folder: NameFolder) -> AbstractContextManager[Transaction]:
        return changing(self._disk, self.root, name_folder.folder)


def _write_history(change: Transaction, folder: Path, data: bytes) -> None:
    """Write a history and its event into a folder that is being built."""
    event = {**entry(data), "kind": KIND, "at": now(), "by": author()}
    change.write(folder / HISTORY, data)
    change.write(folder / "event.json", canonical(event))


def to_delete(reference: AnyReference) -> Reference | DigestReference | HubReference:
    """Return a parsed reference of a version to delete. Raises BadReference if it isn't exact."""
    parsed = parsed_reference(reference)
    if isinstance(parsed, Reference) and parsed.version is None and parsed.digest is None:
        raise BadReference(f"{parsed} doesn't name one version for good: delete by number or by digest")
    return parsed


def check_no_orphans(version: Version, orphans: Sequence[str]) -> None:
    """Raise Refused for a base that versions would lack."""
    if orphans:
        more = f" and {len(orphans) - _NAMED:,} more" if len(orphans) > _NAMED else ""
        raise Refused(
            f"{version.reference} is the base of {', '.join(orphans[:_NAMED])}{more}, and no other version here has "
            "its weights: delete those first, yank it instead, or say --allow-orphans (allow_orphans=True)"
        )


def _must_be_unnamed(name_folder: NameFolder, version: Version) -> None:
    """Raise Refused if an alias names a version, and Corrupted if an alias can't be read."""
    aliases = [alias for alias in name_folder.alias_names() if name_folder.alias(alias) == version.number]
    if aliases:
        raise Refused(f"{version.reference} is named by {', '.join(aliases)}: set the alias to another version first")
