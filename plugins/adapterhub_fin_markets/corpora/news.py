"""Read tables of news: a text is known at the latest of when it was published, updated and received."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from adapterhub_fin.plugin import (
    BadCorpus,
    BadInstant,
    CorpusImplementation,
    DayEnd,
    Rows,
    day_end,
    decoded,
    emptied,
    files_by_part,
    instant,
    joined_tokens,
    moment,
    problem,
    read_by,
    table_rows,
)
from adapterhub_fin_markets.corpora.documents import Document, DocumentSource, Unit
from adapterhub_fin_markets.corpora.options import NewsOptions
from adapterhub_fin_markets.corpora.rows import document_rows

OWN = {"license", "normalise", "min_words", "max_words", "min_terms", "near_duplicates", "sharded", "path"}


@dataclass(frozen=True)
class _Row:
    """Hold one row of a file: its cells, where it stands, and the fault that keeps it from being read."""

    cells: Mapping[str, Any]
    place: str
    origin: str
    fault: str | None = None


class News(CorpusImplementation, DocumentSource):
    """Read the rows of the tables in their order."""

    name, version = "news", 2

    def __init__(self, options: NewsOptions) -> None:
        self.options = options
        self.slices = (*options.slices, *([options.end_label] if options.end_label else []))
        self.grouped = options.group is not None
        self.key: Mapping[str, Any] = options.model_dump(mode="json", exclude=OWN)
        self._dated = "day" if options.by_day is not None else str(options.published)
        self._columns = [self._dated, *(name for name in (options.updated, options.received) if name)]
        self._end = re.compile(
            rf"\s*\(\s*{re.escape(options.end_label or '')}\s*:\s*([^()]*?)\s*\)\s*\Z", re.IGNORECASE
        )
        self._parse = read_by(options.date_format)

    def load(self) -> Rows:
        """Return the rows. Raises BadCorpus, naming the line and the column, for what can't be used."""
        self._written_at = self._literal(self.options.written_at)
        return document_rows(self, self.options)

    def _literal(self, written: str | None) -> datetime | None:
        try:
            if written is None:
                return None
            at, zone = moment(written), self.options.timezone
            return instant(at, zone, day_end([at], zone))
        except BadInstant as error:
            raise BadCorpus(f"corpus news: written_at: {error}") from error

    def units(self) -> Sequence[Unit]:
        """Return the files in the order of the option. Raises BadCorpus where there is none."""
        files = [file for file, _ in files_by_part(self.options.path)]
        units = []
        for file in files:
            try:
                units.append(Unit.of(file.name, file))
            except OSError as error:
                raise BadCorpus(f"{file} can't be read ({error.strerror}): give the path of a file") from error
        return units

    def read(self, unit: Unit, notes: dict[str, int]) -> Iterator[Document | BadCorpus]:
        """Yield the texts of one table, and a fault for each row that can't be used. Raises BadCorpus for the file."""
        ends = {column: self._day_end(unit, column) for column in self._columns}
        for row in self._rows(unit):
            try:
                if row.fault is not None:
                    raise BadCorpus(f"{row.place} {row.fault}")
                text = self._text(row)
                dates = {column: self._date(row, column, ends[column]) for column in self._columns}
                if dates[self._dated] is None:
                    raise _Missing(f"{row.place}: {self._dated} is missing")
                yield self._document(row, text, [each for each in dates.values() if each is not None], notes)
            except _Missing as error:
                if self.options.drop_missing:
                    notes["dropped, text or date missing"] = notes.get("dropped, text or date missing", 0) + 1
                else:
                    yield BadCorpus(f"{error}; fill it, or set drop_missing: true to drop such rows")
            except BadCorpus as error:
                yield error

    def _document(self, row: _Row, text: str, dates: list[datetime], notes: dict[str, int]) -> Document:
        slices: dict[str, str | None] = {name: _slice(row.cells.get(name)) for name in self.options.slices}
        if (name := self.options.end_label) is not None:
            match = self._end.search(text)
            slices[name] = match[1] if match else None
            text = text[: match.start()] if match else text
            notes[f"cut off, {name}"] = notes.get(f"cut off, {name}", 0) + bool(match)
        if self._written_at is not None:
            notes["written later than dated"] = notes.get("written later than dated", 0) + (
                self._written_at > max(dates)
            )
            dates = [*dates, self._written_at]
        group = None
        if self.options.group is not None:
            group = _slice(self._cell(row, self.options.group))
            if group is None:
                raise BadCorpus(f"{row.place}: {self.options.group} is missing; fill it or drop the row")
        return Document(text, max(dates), group, row.origin, slices)

    def _text(self, row: _Row) -> str:
        columns = (self.options.text,) if isinstance(self.options.text, str) else self.options.text
        columns = ("text",) if self.options.by_day is not None else columns
        parts = []
        for column in columns:
            cell = joined_tokens(self._cell(row, column))
            if not _is_missing(cell):
                if not isinstance(cell, str):
                    raise BadCorpus(f"{row.place}: {column} is {cell!r} and not text; drop the row or fix it")
                if wrong := problem(cell):
                    raise BadCorpus(f"{row.place}: {column} {wrong}; drop the row or fix it")
                parts.append(cell.strip())
        if not parts:
            raise _Missing(f"{row.place}: {' and '.join(columns)} {'holds' if len(columns) == 1 else 'hold'} no text")
        return "\n".join(parts)

    def _date(self, row: _Row, column: str, ends: DayEnd | None) -> datetime | None:
        cell = self._cell(row, column)
        if self.options.by_day is not None and self.options.timezone is None:
            raise BadCorpus(f"{row.place} is dated by a day: set timezone, such as UTC, where the day ends")
        try:
            return None if _is_missing(cell) else instant(self._parse(cell), self.options.timezone, ends)
        except BadInstant as error:
            raise BadCorpus(f"{row.place}: {column}: {error}") from error

    def _cell(self, row: _Row, column: str) -> Any:
        if column not in row.cells:
            raise BadCorpus(f"{row.place} has no column {column!r}; it has {', '.join(map(str, row.cells))}")
        return row.cells[column]

    def _day_end(self, unit: Unit, column: str) -> DayEnd | None:
        """Return the rule for midnights with a zone in one column of a file; it needs the whole column."""
        midnights: set[date | datetime] = set()
        for row in self._rows(unit):
            cell = row.cells.get(column)
            try:
                value = None if _is_missing(cell) else self._parse(cell)
            except BadInstant:
                continue  # named when the row is read
            if isinstance(value, datetime) and value.tzinfo is not None:
                if day_end([value], self.options.timezone) is None:
                    return None
                midnights.add(value)
        return day_end(midnights, self.options.timezone)

    def _rows(self, unit: Unit) -> Iterator[_Row]:
        if self.options.by_day is not None:
            yield from _rows_by_day(unit, self.options.by_day)
            return
        for row in table_rows(unit.path, self.options.form):
            cells = emptied(row.cells, self.options.missing)
            yield _Row(cells, f"{unit.name}, {row.unit} {row.number}", f"{unit.name}:{row.number}", row.fault)


class _Missing(BadCorpus):
    """Report a cell that is missing, for which a row may be dropped."""


def _rows_by_day(unit: Unit, key: str) -> Iterator[_Row]:
    try:
        days = json.loads(decoded(unit.path))
    except json.JSONDecodeError as error:
        raise BadCorpus(f"{unit.name}, line {error.lineno} is not JSON: {error.msg}") from error
    if not isinstance(days, dict):
        raise BadCorpus(f"{unit.name} is no object of days: leave by_day out, and name its columns")
    for day, entry in days.items():
        texts = entry.get(key) if isinstance(entry, dict) else None
        if not isinstance(texts, list):
            raise BadCorpus(f"{unit.name}, {day} has no list {key!r}: name the key of a day's texts as by_day")
        for number, text in enumerate(texts, 1):
            yield _Row({"day": day, "text": text}, f"{unit.name}, {day}, text {number}", f"{unit.name}:{day}:{number}")


def _is_missing(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip()) or cell != cell


def _slice(cell: Any) -> str | None:
    return None if _is_missing(cell) else str(cell).strip()
