"""Choose for each of many rows the version that its own time allows, and load each version once."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.base.check import expected_base
from adapterhub_fin.engine.base.load_base import fingerprint_key
from adapterhub_fin.engine.inference.load import load
from adapterhub_fin.engine.inference.yanked_versions import YankedVersion, yanked_versions
from adapterhub_fin.errors import BadInstant, Corrupted, LookAhead, NotFound, WrongBase
from adapterhub_fin.plugin.model_parts import backbone
from adapterhub_fin.registries import configured_registries
from adapterhub_fin_registry import Registry
from adapterhub_fin_registry.model.knowledge import as_of_instant, format_instant, parse_instant
from adapterhub_fin_registry.model.reference import HubReference, Reference
from adapterhub_fin_registry.model.version import Version, parsed_reference
from adapterhub_fin_registry.storage.standing import check_yanked

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from adapterhub_fin.engine.inference.adapter import Adapter
    from adapterhub_fin_registry.model.version import AnyReference
    from adapterhub_fin_registry.storage.standing import Yanked

Setting = tuple[datetime, int, int | None]  # of an alias: when, its number, and the version that it names


class DatedVersions(list[Version | None]):
    """List for each instant the version that it allows, None where there is none, with the registry that holds them.

    `reasons` maps the index of each None to a sentence that says why; indices with one cause have equal sentences.
    `passed_over` has by index the version that would answer, had it not been yanked.
    """

    def __init__(
        self,
        versions: Iterable[Version | None],
        reasons: Mapping[int, str],
        registry: Registry,
        instants: Sequence[datetime] = (),
        passed_over: Mapping[int, Version] | None = None,
    ) -> None:
        super().__init__(versions)
        self.reasons, self.registry = dict(reasons), registry
        self.instants, self.passed_over = instants, dict(passed_over or {})

    def groups(self) -> dict[Version, list[int]]:
        """Return each distinct version with the indices that it answers, in the order of their first index."""
        rows: dict[str, tuple[Version, list[int]]] = {}
        for index, version in enumerate(self):
            if version is not None:
                rows.setdefault(version.digest, (version, []))[1].append(index)
        return dict(rows.values())

    def yanked(self, indices: Sequence[int] | range | None = None) -> list[YankedVersion]:
        """Return which versions that were yanked since answer, or are left out, and how many of the indices.

        Raises Corrupted for events that can't be read.
        """
        rows = range(len(self)) if indices is None else indices
        return yanked_versions(self, self.passed_over, self.instants, rows)


def versions_as_of(
    reference: AnyReference,
    instants: Sequence[Any] | np.ndarray,
    include_base: bool = True,
    *,
    registry: Registry | None = None,
    yanked: Yanked = "as_then",
) -> DatedVersions:
    """Return for each instant the version that it allows: one that had learned nothing from that instant on.

    `instants` are dates, aware datetimes or texts as `as_of` takes them, or a column (rows,) of them of numpy, pandas,
    polars or pyarrow; a datetime64, which has no time zone, is in UTC. A bare name means the version that knew most by
    then. An alias means the version that it named then: its setting must be strictly earlier, and so must that
    version's knowledge end. A number or a digest is only checked. The registry is read once, however many instants
    there are.

    A version that was yanked since counts by `yanked`. `as_then`: from when the registry added it until it was yanked,
    as it would have been chosen then; `before_yank`: for every instant before it was yanked; `left_out`: for none. An
    alias that named it still means it, but for `left_out`; a number or a digest always does.

    Raises NotFound if there is no such version, BadInstant for what is no instant, LookAhead for a branch of a Hub,
    whose past isn't recorded, and Refused for `before_yank` of a Hub, which doesn't date yanks.

    Example:
        >>> [version and version.number for version in ahf.versions_as_of("acme/tone", ["2020-01-01", "2022-01-01"])]
        [None, 3]
    """
    parsed, moments = parsed_reference(reference), instants_of(instants)
    if isinstance(parsed, HubReference) and not (parsed.revision is None or parsed.is_commit or _is_tag(parsed)):
        raise LookAhead(
            f"{parsed} is a branch, and what it meant in the past isn't recorded: name a version, such as @v3, or the "
            "name alone"
        )
    home = configured_registries().answering(parsed) if registry is None else registry
    if isinstance(parsed, Reference) and parsed.alias is not None:
        return _of_alias(home, parsed, moments, include_base, check_yanked(yanked))
    choice = home.choose_each(parsed, moments, include_base=include_base, yanked=yanked)
    missing = [index for index, version in enumerate(choice.versions) if version is None]
    reasons = dict.fromkeys(missing, _knows_later(home, parsed, include_base, missing))
    withdrawn = {version: _why_yanked(version) for version in {*choice.passed_over.values()}}
    reasons |= {index: withdrawn[version] for index, version in choice.passed_over.items() if index in reasons}
    return DatedVersions(choice.versions, reasons, home, moments, choice.passed_over)


def load_versions(
    versions: Sequence[Version | None],
    *,
    base: str | Path | nn.Module | None = None,
    registry: Registry | None = None,
    device: str | torch.device | None = None,
    download: bool = False,
    trust_remote_code: bool = False,
) -> Iterator[tuple[Adapter, list[int]]]:
    """Load each distinct version once, and yield its adapter with the indices that it answers.

    Versions of one base share it in memory where their methods allow that, and come one after the other: while an
    adapter is used and the next one loaded, two bases are in memory at most. `base` and the rest are as in `load`. None
    stands for an index that nothing answers. The registry is that of `versions_as_of`, unless one is given. Raises what
    `load` raises.

    Example:
        >>> for adapter, rows in ahf.load_versions(ahf.versions_as_of("acme/tone", dates)):
        ...     vectors[rows] = adapter.embed([texts[row] for row in rows])
    """
    if registry is None:
        registry = versions.registry if isinstance(versions, DatedVersions) else configured_registries().writable()
    options: dict[str, Any] = {"registry": registry, "download": download, "trust_remote_code": trust_remote_code}
    groups = DatedVersions(versions, {}, registry).groups()
    if base is not None and not isinstance(base, str | Path):
        for version, rows in groups.items():
            yield load(version, base=base, **options), rows
        return
    for of_one_base in _by_base(groups, registry):
        shared: nn.Module | None = None  # dropped with its last version: there may be a vintage for each of many years
        for version in of_one_base:
            adapter = None
            if shared is not None:
                with suppress(WrongBase):  # not what it shares, then: a base of its own answers as well
                    adapter = load(version, base=shared, **options)
            if adapter is None:
                adapter = load(version, base=base, device=device, **options)
                if shared is None:
                    shared = adapter.model if _writes(adapter) else backbone(adapter.model)
            yield adapter, groups[version]


def _by_base(versions: Iterable[Version], registry: Registry) -> Iterable[list[Version]]:
    """Return the versions of each base, in the order of the first of each."""
    by_base: dict[str, list[Version]] = {}
    for version in versions:
        by_base.setdefault(fingerprint_key(expected_base(registry, version)), []).append(version)
    return by_base.values()


def _writes(adapter: Adapter) -> bool:
    """Return whether an adapter needs the base's output layer, which a bare backbone lacks."""
    return adapter.head is None or adapter.head.task == "CAUSAL_LM"


def _of_alias(
    registry: Registry, reference: Reference, moments: Sequence[datetime], include_base: bool, yanked: Yanked
) -> DatedVersions:
    """Return for each moment the version that an alias named strictly before it, if that had ended its knowledge.

    With `left_out` none that is yanked answers.
    """
    name = reference.full_name
    settings = _settings(registry, name, str(reference.alias))
    latest = list(accumulate(settings, _later_numbered))
    instants = [at for at, _, _ in settings]
    ends: dict[int, tuple[Version, datetime]] = {}
    versions: list[Version | None] = []
    reasons: dict[int, str] = {}
    passed_over: dict[int, Version] = {}
    withdrawn: dict[int, str] = {}  # by number, why one that was yanked does not answer
    for index, moment in enumerate(moments):
        count = bisect_left(instants, moment)
        number = latest[count - 1][2] if count else None
        if number is None:
            reasons[index] = f"the alias {reference} named no version then"
        elif number not in ends:
            version = registry.resolve(f"{name}@{number}")
            ends[number] = version, version.knows_until(include_base)
            if yanked == "left_out" and version.yanked:
                withdrawn[number] = _why_yanked(version)
        if number is not None and number in withdrawn and ends[number][1] < moment:
            passed_over[index], reasons[index] = ends[number][0], withdrawn[number]
        elif number is not None and ends[number][1] >= moment:
            version, end = ends[number]
            reasons[index] = f"{version.reference}, which {reference} named then, knows until {format_instant(end)}"
        versions.append(None if index in reasons or number is None else ends[number][0])
    return DatedVersions(versions, reasons, registry, moments, passed_over)


def _why_yanked(version: Version) -> str:
    """Return why a version that was yanked does not answer."""
    yank = version.yank
    when = "" if yank is None else f" at {format_instant(yank.at)}{f' ({yank.reason})' if yank.reason else ''}"
    return f"{version.reference}, which had ended its knowledge by then, was yanked{when}"


def _later_numbered(former: Setting, setting: Setting) -> Setting:
    """Return the setting that was made later: the numbers tell, since each is dated by its writer's clock."""
    return max(former, setting, key=lambda each: each[1])


def _settings(registry: Registry, name: str, alias: str) -> list[Setting]:
    """Return every setting of an alias in the order of their instants. Raises NotFound for none."""
    history = registry.alias_history(name, alias)
    if not history:
        raise NotFound(f"{name} never had an alias {alias}: it has {', '.join(registry.aliases(name)) or 'none'}")
    try:
        return sorted((parse_instant(each["at"]), each["number"], each["version"]) for each in history)
    except BadInstant as error:
        raise Corrupted(f"a setting of {name}@{alias} has no date ({error}): restore it from a copy") from error


def _knows_later(registry: Registry, reference: Any, include_base: bool, missing: Sequence[int]) -> str:
    """Return why no version answers, of a reference that is no alias; nothing is read where each is answered."""
    if not missing:
        return ""
    if (isinstance(reference, Reference) and reference.is_bare) or getattr(reference, "revision", "") is None:
        return f"no version of {reference} had ended its knowledge by then"
    version = registry.resolve(reference)
    return f"{version.reference} knows until {format_instant(version.knows_until(include_base))}"


def _is_tag(reference: HubReference) -> bool:
    """Return whether a revision is a version's tag, such as v3."""
    revision = reference.revision or ""
    return revision[:1] == "v" and revision[1:].isdecimal()


def instants_of(given: Any) -> list[datetime]:
    """Return instants as aware datetimes, of a sequence or a column of numpy, pandas, polars or pyarrow.

    A datetime64 is in UTC. Raises BadInstant, which numbers it, for one that is missing or none.
    """
    if not isinstance(given, list | tuple):
        import numpy as np

        column = np.asarray(given)  # by position: pandas counts by its own index, and pyarrow has types of its own
        if column.dtype.kind == "M":
            column = column.astype("datetime64[us]")  # a fraction of a microsecond is cut, never rounded up
            given = [each.replace(tzinfo=UTC) if isinstance(each, datetime) else each for each in column.tolist()]
        else:
            given = list(column)
    return [_instant(each, number) for number, each in enumerate(given)]


def _instant(given: Any, number: int) -> datetime:
    if getattr(getattr(given, "dtype", None), "kind", "") == "M":
        [given] = instants_of(given.reshape(1))
    if given is None or given != given:  # NaT and NaN are not even equal to themselves
        raise BadInstant(f"instant {number} is missing (NaT): leave out the row")
    if not isinstance(given, str | date):
        raise BadInstant(f"instant {number} is {given!r}: give a date, an aware datetime or a text such as 2020-01-31")
    return as_of_instant(given)
