"""Read filings of EDGAR: raw submissions and main documents, dated by their acceptance in New York time.

EDGAR's JSON writes times of acceptance with a Z for UTC, and part of them are New York time (edgartools 557). So a time
that isn't the header's is read as New York time too: never too early, and late by five hours or until EDGAR opens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

from adapterhub_fin.plugin import BadCorpus, CorpusImplementation, Rows, decoded
from adapterhub_fin_markets.corpora.acceptance import Acceptance, acceptances
from adapterhub_fin_markets.corpora.dissemination import available_at
from adapterhub_fin_markets.corpora.documents import Document, DocumentSource, Unit, folder_units
from adapterhub_fin_markets.corpora.items import is_item_of
from adapterhub_fin_markets.corpora.markup import is_page, page_text, plain_text
from adapterhub_fin_markets.corpora.options import EdgarOptions
from adapterhub_fin_markets.corpora.rows import document_rows
from adapterhub_fin_markets.corpora.sections import items_in
from adapterhub_fin_markets.corpora.sgml import is_encoded, is_submission, read_submission

SUFFIXES = (".txt", ".htm", ".html")
_NAME = re.compile(
    r"(?P<company>[A-Za-z0-9.]+(?:-[A-Za-z]{1,2})?)[-_](?P<form>\d+-[a-z](?:-a)?)[-_](?P<day>\d{4}-\d{2}-\d{2})$", re.I
)
_FORM = re.compile(r'name="dei:DocumentType"[^>]*>\s*(?:<[^>]+>)*\s*([^<\s][^<]*)')
_ACCESSION = re.compile(r"(?<!\d)(\d{10})-?(\d{2})-?(\d{6})(?!\d)")


class Edgar(CorpusImplementation, DocumentSource):
    """Read filings in the order of their files' names; `group` is the company, by its CIK where that is known."""

    name, version = "edgar", 3
    slices = ("form", "item", "company")

    def __init__(self, options: EdgarOptions) -> None:
        self.options = options
        self.key: Mapping[str, Any] = {}
        self._accepted: Mapping[str, Acceptance] = {}
        self._notes: dict[str, int] = {}

    def load(self) -> Rows:
        """Return the rows. Raises BadCorpus for a filing without a date, and for files that can't be read."""
        options = self.options
        if options.dates is not None:
            self._accepted = acceptances(options.dates)
        self.key = {
            "forms": sorted(options.forms),
            "items": options.items,
            "exhibits": options.exhibits,
            "dates": {name: [str(each.accepted), str(each.filed)] for name, each in sorted(self._accepted.items())},
        }
        rows = document_rows(self, options)
        return Rows(rows.table, notes={**self._notes, **rows.notes})

    def units(self) -> Sequence[Unit]:
        """Return the files of the folder, or of the downloads. Raises BadCorpus where there is none."""
        if self.options.path is not None:
            return folder_units(self.options.path, self.options.glob, SUFFIXES, self._notes)
        from adapterhub_fin_markets.corpora.edgar_download import download

        return folder_units(download(self.options), "**/*", SUFFIXES)

    def read(self, unit: Unit, notes: dict[str, int]) -> Iterator[Document]:
        """Yield the documents of one file: whole ones, or their items. Raises BadCorpus for one without a date."""
        content = decoded(unit.path)
        if is_submission(content):
            yield from self._of_submission(unit, content, notes)
        elif unit.path.suffix.lower() == ".txt":
            raise BadCorpus(f"{unit.name} is no submission of EDGAR: exclude it by glob, such as 10-K/*")
        else:
            yield from self._of_page(unit, content, notes)

    def _of_submission(self, unit: Unit, content: str, notes: dict[str, int]) -> Iterator[Document]:
        try:
            submission = read_submission(content)
        except ValueError as error:
            raise BadCorpus(f"{unit.name} has a header that can't be read ({error}): download it again") from error
        form = submission.form or ""
        if not self._is_read(form, notes):
            return
        at = self._available(unit.name, submission.accession, submission.accepted, submission.filed)
        company = submission.cik or submission.company or unit.name
        for number, document in enumerate(submission.documents):
            exhibit = document.type.startswith(self.options.exhibits) if self.options.exhibits else False
            if number and not exhibit:
                continue
            name = f"{unit.name}#{document.file or document.type}" if number else unit.name
            if is_encoded(document.content):
                notes["documents without text"] = notes.get("documents without text", 0) + 1
                continue
            text = page_text(document.content, name) if is_page(document.content) else plain_text(document.content)
            yield from self._rows(text, document.type if number else form, company, at, name, notes, whole=exhibit)

    def _of_page(self, unit: Unit, content: str, notes: dict[str, int]) -> Iterator[Document]:
        named = _NAME.search(unit.path.stem)
        stated = _FORM.search(content)
        form = stated[1].strip() if stated else named["form"].upper() if named else ""
        if not form:
            raise BadCorpus(
                f"{unit.name} doesn't say its form: name it as aapl-10-k-2024-11-01.html, or exclude it by glob"
            )
        if not self._is_read(form, notes):
            return
        filed = _day(named["day"]) if named else None
        at = self._available(unit.name, None, None, filed)
        company = named["company"].upper() if named else unit.path.stem
        yield from self._rows(page_text(content, unit.name), form, company, at, unit.name, notes)

    def _is_read(self, form: str, notes: dict[str, int]) -> bool:
        if form.upper() in {each.upper() for each in self.options.forms}:
            return True
        notes["other forms"] = notes.get("other forms", 0) + 1
        return False

    def _rows(
        self,
        text: str,
        form: str,
        company: str,
        at: datetime,
        name: str,
        notes: dict[str, int],
        *,
        whole: bool = False,
    ) -> Iterator[Document]:
        if whole or not self.options.items:
            yield Document(text, at, company, name, {"form": form, "item": None, "company": company})
            return
        wanted = [item for item in self.options.items if is_item_of(item, form)]
        if not wanted:
            notes["without such items"] = notes.get("without such items", 0) + 1
        sections = items_in(text, form) if wanted else {}
        for number, item in enumerate(wanted):
            fault = ""
            if not sections.get(item):
                fault = f"without a body, item {item}" if item in sections else f"without item {item}"
            elif sections[item] in [sections.get(other) for other in wanted[:number]]:
                fault = f"in the row of another item, item {item}"  # Items 1 and 2 have one text
            if fault:
                notes[fault] = notes.get(fault, 0) + 1
            else:
                yield Document(sections[item], at, company, name, {"form": form, "item": item, "company": company})

    def _available(self, name: str, accession: str | None, accepted: datetime | None, filed: date | None) -> datetime:
        """Return when a filing could be read. Raises BadCorpus where nothing says it.

        The header's time wins. The table of dates fills what it lacks.
        """
        listed = next((self._accepted[key] for key in _keys(name, accession) if key in self._accepted), None)
        if listed is not None:
            accepted, filed = accepted or listed.accepted, filed or listed.filed
        if accepted is None and filed is None:
            raise BadCorpus(
                f"{name} has neither a time of acceptance nor a filing date in its header or its name: add it to the "
                "table that the option dates names, or exclude it by glob"
            )
        return available_at(accepted, filed)


def _keys(name: str, accession: str | None) -> list[str]:
    path = Path(name)
    in_path = (
        "-".join(numbers[-1]) if (numbers := _ACCESSION.findall(name)) else None
    )  # a folder of EDGAR's, or the file
    return [key for key in (name, accession, in_path, path.name, path.stem) if key]


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
