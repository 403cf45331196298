"""Read transcripts of earnings calls, each known some hours after its call; one without a date is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

from adapterhub_fin.plugin import (
    BadCorpus,
    BadInstant,
    CorpusImplementation,
    DayEnd,
    Offset,
    Rows,
    day_end,
    decoded,
    instant,
    moment,
    table_rows,
)
from adapterhub_fin_markets.corpora.documents import Document, DocumentSource, Unit, folder_units
from adapterhub_fin_markets.corpora.options import CallOptions
from adapterhub_fin_markets.corpora.rows import document_rows

SUFFIXES = (".txt", ".md", ".json")
FIRST_LINES = 10
_COMPANY = re.compile(r"[A-Za-z][A-Za-z0-9.-]*")


class EarningsCalls(CorpusImplementation, DocumentSource):
    """Read transcripts in the order of their names; `group` is the company."""

    name, version = "earnings-calls", 2
    slices = ("company",)

    def __init__(self, options: CallOptions) -> None:
        self.options = options
        self.key: Mapping[str, Any] = {}
        self._dates: Mapping[str, date | datetime] = {}
        self._ends: DayEnd | None = None  # for the midnights with a zone of that table
        self._notes: dict[str, int] = {}

    def load(self) -> Rows:
        """Return the rows. Raises BadCorpus for a transcript without a date, and for one that can't be read."""
        options = self.options
        if options.dates is not None:
            self._dates = _table_of_dates(options.dates)
            self._ends = day_end(self._dates.values(), options.timezone)
        own = {"date", "text", "company", "timezone", "delay"}
        self.key = {
            **options.model_dump(mode="json", include=own),
            "dates": {name: str(at) for name, at in self._dates.items()},
        }
        rows = document_rows(self, options)
        return Rows(rows.table, notes={**self._notes, **rows.notes})

    def units(self) -> Sequence[Unit]:
        """Return the transcripts of the folder. Raises BadCorpus where there is none."""
        return folder_units(self.options.path, self.options.glob, SUFFIXES, self._notes)

    def read(self, unit: Unit, notes: dict[str, int]) -> Iterator[Document]:
        """Yield the transcript of a file. Raises BadCorpus for one without a date or text."""
        content = decoded(unit.path).strip()
        if content.startswith(("{", "[")):
            text, written, company = self._of_json(unit, content)
        else:
            text, written, company = content, self._first_lines(content), None
        named = _COMPANY.match(Path(unit.name).stem)
        company = company or (named[0].upper() if named else Path(unit.name).stem)
        listed = self._dates.get(unit.name, self._dates.get(Path(unit.name).name))
        try:
            at = self._own(unit, written) if listed is None else self._known(listed, self._ends)
        except BadInstant as error:
            raise BadCorpus(f"{unit.name}: {error}") from error
        yield Document(text, at, company, unit.name, {"company": company})

    def _of_json(self, unit: Unit, content: str) -> tuple[str, Any, str | None]:
        try:
            call = json.loads(content)
        except json.JSONDecodeError as error:
            raise BadCorpus(f"{unit.name}, line {error.lineno} is not JSON: {error.msg}") from error
        call = call[0] if isinstance(call, list) and len(call) == 1 else call
        if not isinstance(call, dict):
            raise BadCorpus(f"{unit.name} holds several calls: write one a file")
        if not (text := _spoken(call.get(self.options.text))):
            raise BadCorpus(
                f"{unit.name} has no text under {self.options.text!r}; it has {', '.join(call)}: name it as text"
            )
        company = call.get(self.options.company)
        return text, call.get(self.options.date), str(company).strip().upper() if company else None

    def _first_lines(self, content: str) -> str | None:
        """Return the date of a text whose first lines have one, such as `Date: 2024-01-31 17:00`."""
        pattern = re.compile(rf"\s*{re.escape(self.options.date)}\s*:\s*(\S.*)", re.IGNORECASE)
        lines = content.split("\n")[:FIRST_LINES]
        return next((match[1].strip() for line in lines if (match := pattern.fullmatch(line))), None)

    def _own(self, unit: Unit, written: Any) -> datetime:
        """Return when a transcript is known by its own date, which alone is a column of dates."""
        if written is None or written == "":
            raise BadCorpus(
                f"{unit.name} has no date (a fiscal quarter is none): write a line '{self.options.date}: 2024-01-31' "
                f"first, give the key {self.options.date!r}, or list the file in the table that the option dates names"
            )
        value = moment(written)
        return self._known(value, day_end([value], self.options.timezone))

    def _known(self, value: date | datetime, ends: DayEnd | None) -> datetime:
        """Return when a call at that time or on that day is known; a midnight with a zone may be a day."""
        zone = self.options.timezone
        at = instant(value, zone, ends)
        if not isinstance(value, datetime):
            return at
        if value.tzinfo is not None and ends is not None:  # UTC's day ends in New York before a call of the evening
            return max(at, instant(value.date(), zone)) if zone is not None else at
        later: datetime = Offset(self.options.delay).after([at])[0]
        return later


def _spoken(text: Any) -> str:
    """Return a text, or the turns of a list as lines with their speakers."""
    if isinstance(text, str):
        return text.strip()
    if not isinstance(text, list):
        return ""
    lines = []
    for turn in text:
        if isinstance(turn, dict):
            speaker = next((turn[key] for key in ("speaker", "name", "session") if turn.get(key)), "")
            said = next((turn[key] for key in ("text", "speech", "content") if turn.get(key)), "")
            turn = f"{speaker}: {said}" if speaker and said else said
        lines.append(str(turn).strip())
    return "\n".join(filter(None, lines))


def _table_of_dates(path: Path) -> dict[str, date | datetime]:
    dates: dict[str, date | datetime] = {}
    for row in table_rows(path.expanduser()):
        source = f"{path.name}, {row.unit} {row.number}"
        if row.fault is not None:
            raise BadCorpus(f"{source} {row.fault}")
        if lacking := [name for name in ("file", "available_at") if not row.cells.get(name)]:
            raise BadCorpus(f"{source} has no {lacking[0]}: give every row a file and available_at")
        name = str(row.cells["file"]).strip()
        if name in dates:
            raise BadCorpus(f"{source} dates {name} twice: keep one row")
        try:
            dates[name] = moment(row.cells["available_at"])
        except BadInstant as error:
            raise BadCorpus(f"{source}: {error}") from error
    return dates
