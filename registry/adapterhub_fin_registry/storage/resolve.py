"""Resolve a reference, with a date or without, to one version."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from datetime import datetime
from difflib import get_close_matches

from adapterhub_fin_registry.errors import Corrupted, LookAhead, NotFound
from adapterhub_fin_registry.model.knowledge import choose, format_instant
from adapterhub_fin_registry.model.reference import Reference
from adapterhub_fin_registry.model.version import Version
from adapterhub_fin_registry.storage.name_folder import NameFolder
from adapterhub_fin_registry.storage.standing import DatedChoice, Standing, Yanked

Names = Callable[[], Sequence[str]]


def newest(name_folder: NameFolder, names: Names) -> Version:
    """Return the highest version that is neither yanked nor deleted.

    `names` gives the registry's names, for hints. Raises NotFound if there is none.
    """
    for version in name_folder.choosable():
        return version
    raise missing(name_folder, names)


def newest_as_of(name_folder: NameFolder, names: Names, as_of: datetime, include_base: bool) -> Version:
    """Return the version that knows most of those that knew nothing from as_of on; yanked ones don't count.

    Raises NotFound if the name has no version to choose, and LookAhead if all of them knew too much.
    """
    candidates = _candidates(name_folder, names)
    chosen = choose(candidates, as_of, include_base)
    if chosen is None:
        first = min(version.knows_until(include_base) for version in candidates)
        raise LookAhead(
            f"no version of {name_folder.name} ended its knowledge before {format_instant(as_of)}: the earliest ends "
            f"at {format_instant(first)}; {_way_out(candidates, as_of, include_base)}"
        )
    return chosen


def newest_as_of_each(
    name_folder: NameFolder, names: Names, instants: Sequence[datetime], include_base: bool, yanked: Yanked
) -> DatedChoice:
    """Return for each instant the version that knows most of those that ended before it, None where there is none.

    `yanked` says what versions count for that were yanked since: with `left_out`, an instant has what `newest_as_of`
    chooses. The name's versions are read once, however many instants there are. Raises NotFound for no version, and
    with `left_out` for none that may be chosen.
    """
    ordered = sorted(_standings(name_folder, include_base), key=lambda standing: standing.rank)
    if not ordered or (yanked == "left_out" and all(standing.is_yanked for standing in ordered)):
        raise missing(name_folder, names)
    ends = [standing.end for standing in ordered]
    versions: list[Version | None] = []
    passed_over: dict[int, Version] = {}
    for index, instant in enumerate(instants):
        count = bisect_left(ends, instant)  # of the versions that ended before, strictly
        while count and not ordered[count - 1].counts(instant, yanked):
            count -= 1
            passed_over.setdefault(index, ordered[count].version)
        versions.append(ordered[count - 1].version if count else None)
    return DatedChoice(versions, passed_over)


def exact(name_folder: NameFolder, names: Names, reference: Reference) -> Version:
    """Return the version of a number, an alias or a digest, yanked or not; of a bare name, the newest.

    Raises NotFound if there is none, and Corrupted if it can't be read.
    """
    if reference.digest is not None:
        version = name_folder.by_digest(reference.digest)
    elif reference.alias is not None:
        version = _aliased(name_folder, names, reference.alias)
    elif reference.version is not None:
        version = name_folder.version(reference.version)
    else:
        version = newest(name_folder, names)
    if version is None:
        raise missing(name_folder, names, reference)
    version.knows_until()  # raises Corrupted here, and not later where the manifest is used
    return version


def check_as_of(version: Version, as_of: datetime, include_base: bool) -> None:
    """Raise LookAhead if a version that was asked for by number, alias or digest knew something from as_of on."""
    end = version.knows_until(include_base)
    if end >= as_of:
        raise LookAhead(
            f"{version.reference} knows until {format_instant(end)}, which isn't before {format_instant(as_of)}; "
            f"{_way_out([version], as_of, include_base)}"
        )


def missing(name_folder: NameFolder, names: Names, reference: Reference | None = None) -> NotFound:
    """Return the error for a name or a version that doesn't exist, with near names or the existing versions."""
    existing = [str(version.number) for version in name_folder.newest_first()]
    if not existing:
        near = get_close_matches(name_folder.name, names(), n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "run `ahf list` to see the names"
        return NotFound(f"there is no adapter named {name_folder.name}: {hint}")
    if reference is None:
        return NotFound(
            f"every version of {name_folder.name} is yanked or damaged: ask by number for {' or '.join(existing)}"
        )
    aliases = sorted(name_folder.aliases())
    choices = f"versions {', '.join(existing)}" + (f" and aliases {', '.join(aliases)}" if aliases else "")
    return NotFound(f"there is no {reference}: {name_folder.name} has {choices}")


def _standings(name_folder: NameFolder, include_base: bool) -> list[Standing]:
    """Return those of the versions whose events can be read: any other may be yanked."""
    standings = []
    for version in name_folder.newest_first():
        try:
            standings.append(Standing.of(version, include_base))
        except Corrupted:
            continue  # reported when it is asked for by number, and by `damaged`
    return standings


def _candidates(name_folder: NameFolder, names: Names) -> list[Version]:
    candidates = list(name_folder.choosable())
    if not candidates:
        raise missing(name_folder, names)
    return candidates


def _aliased(name_folder: NameFolder, names: Names, alias: str) -> Version | None:
    number = name_folder.alias(alias)
    if number is None:
        return None
    version = name_folder.version(number)
    if version is None:
        raise NotFound(
            f"the alias {name_folder.name}@{alias} names version {number}, which isn't there: set it to another"
        )
    return version


def _way_out(candidates: Sequence[Version], as_of: datetime, include_base: bool) -> str:
    if include_base and choose(candidates, as_of, include_base=False) is not None:
        return "the base alone knows more, and include_base=False (--ignore-base) leaves it out"
    return "ask for a later as_of, or train one on earlier data"
