"""Choose for each row of a table the version that its own time allows, and refuse the rows that none does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.inference.dated_versions import versions_as_of
from adapterhub_fin.engine.inference.row_instants import TimeColumn, row_at, row_instants
from adapterhub_fin.engine.inference.yanked_versions import YankedVersion, yanked_versions
from adapterhub_fin.errors import LookAhead
from adapterhub_fin.plugin.reading import TableReading
from adapterhub_fin_registry.model.knowledge import format_instant

if TYPE_CHECKING:
    import numpy as np

    from adapterhub_fin_registry import Registry, Version
    from adapterhub_fin_registry.model.version import AnyReference
    from adapterhub_fin_registry.storage.standing import Yanked
else:
    np = Lazy("numpy")


@dataclass(frozen=True, eq=False)
class DatedRows:
    """Hold for each row of a file its instant, and its version as an index into `versions`, -1 where it is left out."""

    source: Path
    reading: TableReading
    instants: np.ndarray  # (rows,) datetime64[us]
    numbers: np.ndarray  # (rows,) int32
    versions: tuple[Version, ...]  # distinct, in the order of their first row
    registry: Registry
    include_base: bool
    passed_over: Mapping[int, Version] = field(default_factory=dict)  # by row: would answer, had it not been yanked

    def yanked(self) -> list[YankedVersion]:
        """Return which versions that were yanked since answer rows, or are left out of them."""
        if not self.passed_over and not any(version.yanked for version in self.versions):
            return []
        versions = [None if number < 0 else self.versions[number] for number in self.numbers.tolist()]
        moments = [moment.replace(tzinfo=UTC) for moment in self.instants.astype("datetime64[us]").tolist()]
        return yanked_versions(versions, self.passed_over, moments, range(len(versions)))

    def ends(self) -> np.ndarray:
        """Return the knowledge end of each version, (versions,) datetime64[us]."""
        return np.array([numpy_instant(version.knows_until(self.include_base)) for version in self.versions])

    def without(self, rows: np.ndarray, reason: Callable[[int], str], *, skip: bool) -> DatedRows:
        """Return the rows less some, (rows,) bool, and less the versions that then answer none.

        Raises LookAhead unless `skip`, and where none is left: it names the first row, with the `reason` for its index,
        and how many there are.
        """
        if not rows.any():
            return self
        numbers = np.where(rows, -1, self.numbers)
        if skip and (numbers >= 0).any():
            used = [number for number in range(len(self.versions)) if (numbers == number).any()]
            renumbered = np.full(len(self.versions) + 1, -1, np.int32)  # the last is that of -1
            renumbered[used] = np.arange(len(used))
            versions = tuple(self.versions[number] for number in used)
            return replace(self, numbers=renumbered[numbers], versions=versions)
        first, count = int(np.flatnonzero(rows)[0]), int(rows.sum())
        more = f"; of {len(rows):,} rows {count:,} are refused"
        mend = "" if skip else ": leave them out (--skip-refused), or name another version"
        where = row_at(self.source, self.reading, first)
        raise LookAhead(f"{where} of {instant_text(self.instants[first])} is refused: {reason(first)}{more}{mend}")


def dated_rows(
    reference: AnyReference,
    source: Path,
    reading: TableReading,
    column: TimeColumn,
    *,
    include_base: bool = True,
    skip: bool = False,
    registry: Registry | None = None,
    yanked: Yanked = "as_then",
) -> DatedRows:
    """Return the rows of a file, each with the version that its own time allows; the registry is read once.

    `skip` leaves out the rows that none allows; `yanked` is that of `versions_as_of`. Raises LookAhead for them else,
    BadCorpus for times that can't be read, and what `versions_as_of` raises.
    """
    instants = row_instants(source, reading, column)
    distinct, of = np.unique(instants, return_inverse=True)
    moments = [*map(utc_instant, distinct)]
    dated = versions_as_of(reference, moments, include_base, registry=registry, yanked=yanked)
    groups = dated.groups()
    number = np.full(len(distinct), -1, np.int32)
    for index, positions in enumerate(groups.values()):
        number[positions] = index
    over = np.flatnonzero(np.isin(of, [*dated.passed_over])).tolist()
    passed_over = {row: dated.passed_over[int(of[row])] for row in over}
    rows = DatedRows(source, reading, instants, number[of], tuple(groups), dated.registry, include_base, passed_over)
    return rows.without(number[of] < 0, lambda row: dated.reasons[int(of[row])], skip=skip)


def numpy_instant(moment: datetime) -> np.datetime64:
    """Return an aware datetime as numpy's, in UTC."""
    return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "us")


def utc_instant(moment: np.datetime64) -> datetime:
    """Return numpy's instant as an aware datetime."""
    result: datetime = moment.astype("datetime64[us]").item().replace(tzinfo=UTC)
    return result


def instant_text(moment: np.datetime64) -> str:
    """Return numpy's instant as the registry writes it."""
    return format_instant(utc_instant(moment))
