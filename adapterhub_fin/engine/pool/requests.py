"""Read what a call asks of a pool: rows, and for each the version that answers it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.inference.dated_versions import instants_of, versions_as_of
from adapterhub_fin.engine.pool.recent import Recent
from adapterhub_fin.errors import BadRecipe, BadText, LookAhead
from adapterhub_fin.plugin.memory import listed_rows, table_library
from adapterhub_fin.registries import RegistryChain
from adapterhub_fin_registry import Registry
from adapterhub_fin_registry.model.knowledge import format_instant
from adapterhub_fin_registry.model.reference import Reference
from adapterhub_fin_registry.model.version import Version, parsed_reference
from adapterhub_fin_registry.storage.marks import is_unknown

if TYPE_CHECKING:
    from adapterhub_fin_registry.model.version import AnyReference

SHOWN = 3  # rows that one error names
REMEMBERED = 1024  # references whose versions are remembered, each with the bytes of its manifest, some 50 KB


@dataclass(frozen=True, slots=True)
class Ask:
    """Hold one row of a call: its number, its content and the version that answers it; None where none may."""

    number: int
    row: Any
    version: Version | None


@dataclass(frozen=True, slots=True)
class _Remembered:
    """Hold what a reference meant, when that was looked up, and the change marks of its name then."""

    at: float
    marks: tuple[str, ...] | None
    version: Version


class Resolver:
    """Find versions by reference, and remember for a while what a reference means now."""

    def __init__(self, registries: RegistryChain | None, registry: Registry | None, refresh: float) -> None:
        self._registries, self._registry, self.refresh = registries, registry, refresh
        self._lock = Lock()
        self._remembered: Recent[str, _Remembered] = Recent(REMEMBERED)
        self._homes: dict[Path, Registry] = {}  # by root

    def home(self, version: Version) -> Registry:
        """Return the registry that holds a version which this resolver returned."""
        return next(self._homes[root] for root in version.folder.parents if root in self._homes)

    def version(self, reference: AnyReference) -> Version:
        """Return what a reference means, as of at most `refresh` seconds ago. Raises as `Registry.resolve`.

        Within that time nothing is read; after it the change marks of the name tell whether anything must be.
        """
        key, now = _key(reference), monotonic()
        with self._lock:
            former = self._remembered.get(key)
        if former is not None and now - former.at < self.refresh:
            return former.version
        marks = self._marks(reference)  # before the version is read, so that no change between the two is missed
        if former is not None and marks is not None and marks == former.marks:
            registry, version = self.home(former.version), former.version
        elif self._registry is not None:
            registry, version = self._registry, self._registry.resolve(reference)
        else:
            assert self._registries is not None
            registry, version = self._registries.locate(reference)
        version.forget()  # resolving has read its manifest
        with self._lock:
            self._homes[registry.root] = registry
            self._remembered.put(key, _Remembered(now, marks, version))
        return version

    def _marks(self, reference: AnyReference) -> tuple[str, ...] | None:
        """Return the change marks of a reference's name in each registry; None where they can't tell of a change."""
        parsed = parsed_reference(reference)
        if not isinstance(parsed, Reference):
            return None
        registries = [self._registry] if self._registry is not None else []
        registries += [member.registry for member in self._registries.members] if self._registries is not None else []
        if any(registry.is_remote for registry in registries):
            return None
        marks = tuple(registry.mark(parsed.full_name) for registry in registries)
        return None if all(map(is_unknown, marks)) else marks

    def versions_as_of(
        self, reference: AnyReference, instants: Any, include_base: bool
    ) -> tuple[Sequence[Version | None], Mapping[int, str]]:
        """Return for each instant the version that it allows, and why there is none where there is none."""
        dated = versions_as_of(reference, instants, include_base, registry=self._registry)
        with self._lock:
            self._homes[dated.registry.root] = dated.registry
        return dated, dated.reasons


def read_asks(
    rows: Any, reference: AnyReference | None, as_of: Any, include_base: bool, skip_refused: bool, resolver: Resolver
) -> list[Ask]:
    """Return the rows of a call with their versions, in the order given.

    `rows` are pairs of a row and a reference, or with `reference` rows alone; `as_of` is one instant for all, or one
    for each. Asks, which `Pool.asks` has read before, keep their versions and are numbered as they stand here. Raises
    LookAhead for rows that no version may answer, unless `skip_refused`; BadText, BadRecipe and what resolving raises.
    """
    if isinstance(rows, str | bytes | Mapping):
        raise BadText("give a list of rows, and not one row: [text]")
    listed = listed_rows(rows) if table_library(rows) else list(rows)
    if listed and all(isinstance(row, Ask) for row in listed):
        if reference is not None or as_of is not None:
            raise BadRecipe("rows that `asks` returned have their versions: give them without a reference and as_of")
        return [Ask(number, ask.row, ask.version) for number, ask in enumerate(listed)]
    if reference is None:
        if as_of is not None:
            raise BadRecipe("as_of needs the reference of its rows: predict(texts, 'acme/tone', as_of=dates)")
        return _paired(listed, resolver)
    if as_of is None:
        version = resolver.version(reference) if listed else None
        return [Ask(number, row, version) for number, row in enumerate(listed)]
    shown = _one_each(as_of, len(listed))
    instants = instants_of(shown)
    versions, reasons = resolver.versions_as_of(reference, instants, include_base) if listed else ((), {})
    if reasons and not skip_refused:
        raise LookAhead(_refused(reasons, shown))
    return [Ask(number, row, versions[number]) for number, row in enumerate(listed)]


def _key(reference: AnyReference) -> str:
    return f"{reference.name}@{reference.digest}" if isinstance(reference, Version) else str(reference)


def _paired(listed: Sequence[Any], resolver: Resolver) -> list[Ask]:
    asks = []
    for number, pair in enumerate(listed):
        if not (isinstance(pair, tuple | list) and len(pair) == 2):
            raise BadText(
                f"row {number} is no pair of a text and a reference: give [(text, 'acme/tone'), ...], or one reference "
                "for all rows"
            )
        asks.append(Ask(number, pair[0], resolver.version(pair[1])))
    return asks


def _one_each(as_of: Any, count: int) -> Sequence[Any]:
    """Return one instant for each row, as the caller wrote it. Raises BadRecipe for more or fewer than rows."""
    if isinstance(as_of, str) or getattr(as_of, "ndim", 1) == 0 or not hasattr(as_of, "__len__"):
        return instants_of([as_of]) * count
    if len(as_of) != count:
        raise BadRecipe(f"as_of has {len(as_of)} instants for {count} rows: give one for each, or one for all")
    return instants_of(as_of) if hasattr(as_of, "dtype") or hasattr(as_of, "type") else list(as_of)


def _refused(reasons: Mapping[int, str], instants: Sequence[Any]) -> str:
    shown = [f"row {number} ({_shown(instants[number])}): {reasons[number]}" for number in sorted(reasons)[:SHOWN]]
    more = f"; and {len(reasons) - SHOWN} more rows" if len(reasons) > SHOWN else ""
    return f"{'; '.join(shown)}{more}: leave these rows out, or give skip_refused=True for None in their place"


def _shown(instant: Any) -> str:
    return format_instant(instant) if getattr(instant, "tzinfo", None) is not None else str(instant)


def by_version(asks: Sequence[Ask]) -> dict[str, list[Ask]]:
    """Return the asks that have a version by its digest, in the order of their first row."""
    groups: dict[str, list[Ask]] = {}
    for ask in asks:
        if ask.version is not None:
            groups.setdefault(ask.version.digest, []).append(ask)
    return groups
