"""Read when filings were accepted from a table, or from EDGAR's own JSON of a company's submissions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from adapterhub_fin.plugin import BadCorpus, BadInstant, decoded, moment, table_rows


@dataclass(frozen=True)
class Acceptance:
    """Hold when a filing was accepted, as it is written, and its filing date."""

    accepted: datetime | None
    filed: date | None


def acceptances(path: Path) -> Mapping[str, Acceptance]:
    """Return the acceptances by file, document and accession number, without documents of several filings.

    Raises BadCorpus for a table without one of the columns accepted and filed, and for a cell that is no date.
    """
    path = path.expanduser()
    by_name: dict[str, Acceptance] = {}
    by_document: dict[str, set[Acceptance]] = {}  # companies name many of their documents form8-k.htm
    for source, cells in _rows(path):
        names = [str(cells[key]) for key in ("file", "accessionNumber") if cells.get(key)]
        document = str(cells.get("primaryDocument") or "")
        accepted = _moment(cells.get("accepted") or cells.get("acceptanceDateTime"), source)
        filed = _moment(cells.get("filed") or cells.get("filingDate"), source)
        if not (names or document):
            raise BadCorpus(f"{source} has no file: name a column file, or accessionNumber")
        if accepted is None and filed is None:
            raise BadCorpus(f"{source} has neither accepted nor filed: give the row one of them")
        if accepted is not None and not isinstance(accepted, datetime):
            accepted, filed = None, max(filter(None, (accepted, filed and _date(filed))))
        acceptance = Acceptance(accepted, _date(filed) if filed is not None else None)
        for name in names:
            if by_name.setdefault(name, acceptance) != acceptance:
                raise BadCorpus(f"{source} dates {name} twice: keep one row")
        if document:
            by_document.setdefault(document, set()).add(acceptance)
    return {name: next(iter(each)) for name, each in by_document.items() if len(each) == 1} | by_name


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if path.suffix.lower() == ".json":
        try:
            content = json.loads(decoded(path))
        except json.JSONDecodeError as error:
            raise BadCorpus(f"{path.name}, line {error.lineno} is not JSON: {error.msg}") from error
        columns = content.get("filings", {}).get("recent", content) if isinstance(content, dict) else None
        if isinstance(columns, dict) and isinstance(columns.get("accessionNumber"), list):  # EDGAR's, or its older ones
            if len(lengths := {len(column) for column in columns.values()}) > 1:
                raise BadCorpus(f"{path.name} has lists of {min(lengths)} to {max(lengths)} filings: fetch it again")
            for number, values in enumerate(zip(*columns.values(), strict=True), start=1):
                yield f"{path.name}, filing {number}", dict(zip(columns, values, strict=True))
            return
    for row in table_rows(path):
        if row.fault is not None:
            raise BadCorpus(f"{path.name}, {row.unit} {row.number} {row.fault}")
        yield f"{path.name}, {row.unit} {row.number}", row.cells


def _moment(cell: Any, source: str) -> date | datetime | None:
    if cell is None or cell == "" or cell != cell:
        return None
    try:
        return moment(cell)
    except BadInstant as error:
        raise BadCorpus(f"{source}: {error}") from error


def _date(value: date | datetime) -> date:
    return value.date() if isinstance(value, datetime) else value
