"""Read minutes and statements of the Federal Open Market Committee, dated by their release and not by their meeting."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from adapterhub_fin.plugin import (
    BadCorpus,
    CorpusImplementation,
    Faults,
    Rows,
    decoded,
    end_of_day,
    instant,
    table_rows,
)
from adapterhub_fin_markets.corpora.documents import Document, DocumentSource, Unit, folder_units
from adapterhub_fin_markets.corpora.markup import page_text
from adapterhub_fin_markets.corpora.options import FomcOptions
from adapterhub_fin_markets.corpora.rows import document_rows

NEW_YORK = "America/New_York"
SUFFIXES = (".txt", ".md", ".htm", ".html")
_DAY = re.compile(r"(?<!\d)(\d{4})-?(\d{2})-?(\d{2})(?!\d)")
_FORMATS = ("%Y-%m-%d", "%B/%d/%Y", "%b/%d/%Y", "%m/%d/%Y", "%Y%m%d")


@dataclass(frozen=True)
class Release:
    """Hold a meeting's days and the day on which its minutes came out."""

    start: date
    end: date
    released: date


class Fomc(CorpusImplementation, DocumentSource):
    """Read documents in the order of their names; `group` is the last day of the meeting."""

    name, version = "fomc", 1
    slices = ("kind",)

    def __init__(self, options: FomcOptions) -> None:
        self.options = options
        self.key: Mapping[str, Any] = {}
        self._releases: Sequence[Release] = ()
        self._notes: dict[str, int] = {}

    def load(self) -> Rows:
        """Return the rows. Raises BadCorpus for a document without a meeting's day or without a release."""
        options = self.options
        if options.releases is not None:
            self._releases = read_releases(options.releases)
        released = [[str(each.start), str(each.end), str(each.released)] for each in self._releases]
        self.key = {"kind": options.kind, "releases": released, "release_time": options.release_time}
        rows = document_rows(self, options)
        return Rows(rows.table, notes={**self._notes, **rows.notes})

    def units(self) -> Sequence[Unit]:
        """Return the documents of the folder. Raises BadCorpus where there is none."""
        units = folder_units(self.options.path, self.options.glob, SUFFIXES, self._notes)
        named = [unit for unit in units if _DAY.search(Path(unit.name).stem)]
        if not named:
            raise BadCorpus(f"{self.options.path} has no file that is named by a day: name them as 20240131.txt")
        self._notes["other files"] += len(units) - len(named)
        return named

    def read(self, unit: Unit, notes: dict[str, int]) -> Iterator[Document]:
        """Yield the document of a file. Raises BadCorpus for one whose release isn't known."""
        day = _named_day(unit.name)
        released = self._released(day, unit.name) if self.options.kind == "minutes" else day
        content = decoded(unit.path)
        text = page_text(content, unit.name) if unit.path.suffix.lower() in (".htm", ".html") else content
        at = release_instant(released, self.options.release_time)
        yield Document(text, at, day.isoformat(), unit.name, {"kind": self.options.kind})

    def _released(self, day: date, name: str) -> date:
        meetings = [each for each in self._releases if each.start <= day <= each.end]
        table = self.options.releases.name if self.options.releases else ""
        if len(meetings) != 1:
            raise BadCorpus(
                f"{name}: {table} has {len(meetings)} meetings on {day}: give it one, or exclude the document by glob"
            )
        return meetings[0].released


def release_instant(day: date, clock: str | None) -> datetime:
    """Return the instant in UTC of a release in New York: at that time, or at the day's end where none is given."""
    if clock is None:
        return end_of_day(day, NEW_YORK)
    return instant(datetime.combine(day, time.fromisoformat(clock)), NEW_YORK)


def read_releases(path: Path) -> list[Release]:
    """Return the meetings of a table with the columns StartDate, EndDate and ReleaseDate.

    Raises BadCorpus, which names the row, for a date that can't be read and for a release before its meeting's end.
    """
    faults = Faults()
    releases = []
    for row in table_rows(path.expanduser()):
        source = f"{path.name}, {row.unit} {row.number}"
        try:
            if row.fault is not None:
                raise BadCorpus(f"{source} {row.fault}")
            days = [_day(row.cells, column, source) for column in ("StartDate", "EndDate", "ReleaseDate")]
            if not days[0] <= days[1] <= days[2]:
                raise BadCorpus(
                    f"{source}: {', '.join(map(str, days))} aren't a start, an end and a later release: fix it"
                )
            releases.append(Release(*days))
        except BadCorpus as error:
            faults.add((row.number,), error)
    faults.check("corpus fomc")
    return releases


def _day(cells: Mapping[str, Any], column: str, source: str) -> date:
    if column not in cells:
        raise BadCorpus(f"{source} has no column {column}; it has {', '.join(cells)}")
    cell = cells[column]
    if isinstance(cell, date):
        return cell.date() if isinstance(cell, datetime) else cell
    written = str(cell).strip()
    if (months := re.fullmatch(r"(\w+)/(\w+)/(\d+/\d+)", written)) is not None:  # April/May/30/2013
        written = f"{months[1 if column == 'StartDate' else 2]}/{months[3]}"
    for pattern in _FORMATS:
        try:
            return datetime.strptime(written, pattern).date()
        except ValueError:
            continue
    raise BadCorpus(f"{source}: {column} is {cell!r} and no date: write 2024-01-31")


def _named_day(name: str) -> date:
    match = _DAY.search(Path(name).stem)
    try:
        return date(*map(int, match.groups())) if match else date.fromisoformat(name)
    except ValueError as error:
        raise BadCorpus(f"{name} isn't named by a day: name it as 20240131.txt") from error
