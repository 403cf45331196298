"""Read one stored version, and the row that a list shows of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from adapterhub_fin_registry.errors import BadInstant, BadManifest, Corrupted
from adapterhub_fin_registry.io.canonical_json import digest_of
from adapterhub_fin_registry.io.safe_read import ABSENT, is_there, parse_object, read_object, read_small
from adapterhub_fin_registry.model.events import Yank, is_yanked, measured_rows, read_events, tags_after, yanks
from adapterhub_fin_registry.model.format import known_format
from adapterhub_fin_registry.model.knowledge import knowledge_end, parse_instant
from adapterhub_fin_registry.model.reference import DigestReference, HubReference, Reference, parse_reference

if TYPE_CHECKING:
    from adapterhub_fin_registry.model.manifest import Manifest

Value = TypeVar("Value")


@dataclass(frozen=True)
class Version:
    """Represent an immutable version of a name, identified by the digest of its manifest's bytes."""

    name: str
    number: int
    digest: str
    folder: Path
    manifest_bytes: bytes = field(repr=False, compare=False)

    @classmethod
    def read(cls, name: str, number: int, folder: Path) -> Version | None:
        """Return the version in a folder; None if there is none, because it was deleted or never completed.

        Raises Corrupted if there may be one, but it can't be read.
        """
        if is_there(folder / "deleted.json"):
            return None
        if folder.is_symlink():
            raise Corrupted(f"{folder} is a link: replace it by the version itself")
        try:
            data = read_small(folder / "manifest.json")
        except ABSENT:
            return None
        return cls(name, number, digest_of(data), folder, data)

    def __repr__(self) -> str:
        return f"Version({self.reference}, {self.digest[:19]})"

    def _repr_html_(self) -> str:
        from adapterhub_fin_registry.io.html_table import html_table

        where = [("digest", self.digest), ("folder", self.folder)]
        return html_table(
            self.reference, [*where, *self.manifest.facts(), ("tags", self.tags), ("yanked", self.yanked)]
        )

    @property
    def reference(self) -> str:
        """Return `NAMESPACE/NAME@NUMBER`."""
        return f"{self.name}@{self.number}"

    @property
    def exact(self) -> Reference:
        """Return the reference to this version, by name and number, without parsing a text."""
        namespace, _, name = self.name.partition("/")
        return Reference(namespace, name, version=self.number)

    @property
    def files(self) -> Path:
        """Return the folder of the adapter's files, unverified: `Registry.path` verifies it."""
        return self.folder / "files"

    @cached_property
    def manifest(self) -> Manifest:
        """Return the parsed manifest. Raises Corrupted if it isn't valid."""
        from adapterhub_fin_registry.model.manifest import Manifest

        try:
            return Manifest.parse(self.manifest_bytes, self.__dict__.get("data"))
        except BadManifest as error:
            raise Corrupted(f"{self.folder / 'manifest.json'} can't be used: {error}") from error

    @cached_property
    def data(self) -> dict[str, Any]:
        """Return the manifest as plain JSON, read without pydantic and not validated.

        Raises Corrupted if it isn't JSON of a known format.
        """
        path = self.folder / "manifest.json"
        return known_format(parse_object(self.manifest_bytes, path), path)

    def forget(self) -> None:
        """Free the memory of what was parsed of the manifest; it is parsed again when it is used."""
        for parsed in ("manifest", "data"):
            self.__dict__.pop(parsed, None)

    @cached_property
    def corpus_options(self) -> dict[str, Any]:
        """Return the options of the corpus that trained the version; empty if it names none.

        They stay in memory when the rest is forgotten. Raises Corrupted if the manifest can't be read.
        """
        parsed = self if "data" in self.__dict__ else replace(self)  # a copy, so that the rest isn't kept in memory
        return parsed.plain(lambda data: dict((data["corpus"] or {}).get("options") or {}))

    @cached_property
    def is_readable(self) -> bool:
        """Return whether the manifest has what every use of it needs."""
        try:
            return bool(replace(self).knowledge_end)  # on a copy, so that the parsed manifest isn't kept in memory
        except Corrupted:
            return False

    @cached_property
    def record(self) -> dict[str, Any]:
        """Return the record of where the version is stored: name, version, added_at, added_by, origin.

        Raises Corrupted if it is missing or can't be read.
        """
        try:
            return read_object(self.folder / "record.json")
        except ABSENT as error:
            raise Corrupted(f"{self.folder / 'record.json'} is missing: restore it from a copy") from error

    @property
    def events(self) -> list[dict[str, Any]]:
        """Return the events of the version, oldest first. Raises Corrupted if one can't be read."""
        return read_events(self.folder)

    @property
    def yanked(self) -> bool:
        """Return whether the version was withdrawn from being chosen; it can still be asked for by number.

        Raises Corrupted if an event can't be read.
        """
        return is_yanked(self.events)

    @property
    def yank(self) -> Yank | None:
        """Return when and why the version was withdrawn; None if it wasn't, or if that was undone.

        Raises Corrupted if an event can't be read.
        """
        changes = yanks(self.events)
        return changes[-1][1] if changes else None

    @property
    def tags(self) -> list[str]:
        """Return the manifest's tags, as changed by events. Raises Corrupted if they can't be read."""
        return tags_after(self.plain(lambda data: [str(tag) for tag in data["tags"]]), self.events)

    @cached_property
    def knowledge_end(self) -> datetime:
        """Return the last instant that could have influenced the version's weights, its base included.

        Raises Corrupted if the manifest can't be read.
        """
        return self.knows_until()

    def knows_until(self, include_base: bool = True) -> datetime:
        """Return the knowledge end, with or without the base's.

        Raises Corrupted if the manifest can't be read, and BadInstant if `include_base` isn't a bool.
        """
        return knowledge_end(self._inputs, include_base)

    @cached_property
    def _inputs(self) -> list[tuple[str, datetime]]:
        # Cached, since a choice by date needs them more than once for every version.
        inputs = self.plain(
            lambda data: [(entry["input"], parse_instant(entry["at"])) for entry in data["knowledge"]["inputs"]]
        )
        if not inputs:
            raise Corrupted(f"{self.folder / 'manifest.json'} dates nothing: restore it from a copy")
        return inputs

    def plain(self, read: Callable[[dict[str, Any]], Value]) -> Value:
        """Apply a function to the plain manifest and return its result.

        Raises Corrupted if the manifest lacks what the function needs.
        """
        try:
            return read(self.data)
        except (KeyError, TypeError, AttributeError, BadInstant) as error:
            raise Corrupted(f"{self.folder / 'manifest.json'} isn't a manifest: restore it from a copy") from error


def row(
    name: str,
    number: int,
    digest: str,
    manifest: Mapping[str, Any],
    record: Mapping[str, Any],
    events: Sequence[Mapping[str, Any]],
    aliases: Iterable[str],
) -> dict[str, Any]:
    """Return what a list shows of a version, in plain JSON values.

    Raises KeyError or TypeError if the manifest isn't shaped like one.
    """
    if not isinstance(manifest["tags"], list):  # a text would otherwise pass for a list of its letters
        raise TypeError("tags isn't a list")
    return {
        "name": name,
        "version": number,
        "digest": digest,
        "kind": manifest.get("kind", "adapter"),
        "method": manifest["method"]["name"],
        "head": manifest["head"]["name"] if manifest["head"] is not None else None,
        "base": manifest["base"]["repository"] or (manifest["base"].get("version") or {}).get("name"),
        "corpus": manifest["corpus"]["name"] if manifest["corpus"] is not None else None,
        "metrics": manifest["metrics"],
        "eval": evaluated(events),
        "knowledge_end": manifest["knowledge"]["end"],
        "aliases": sorted(aliases),
        "tags": tags_after(manifest["tags"], events),
        "added_at": record["added_at"],
        "yanked": is_yanked(events),
    }


def evaluated(events: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return the latest value of each metric, from the evaluation events, by ROWS.SPLIT.METRIC."""
    values = {}
    for event in events:
        if event["kind"] == "evaluation":
            for metric, value in event["metrics"].items():
                values[f"{measured_rows(event)}.{event['split']}.{metric}"] = value
    return values


AnyReference = str | Reference | DigestReference | HubReference | Version


def parsed_reference(reference: AnyReference) -> Reference | DigestReference | HubReference:
    """Return a reference in its parts: a text is parsed, and a version stands for its name and number.

    Raises BadReference for a text that isn't a reference.
    """
    if isinstance(reference, Version):
        return reference.exact
    return parse_reference(reference) if isinstance(reference, str) else reference
