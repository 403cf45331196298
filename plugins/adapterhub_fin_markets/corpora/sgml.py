"""Read EDGAR's raw submissions: an SGML header with the time of acceptance, then the documents."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

_TAGGED = re.compile(r"^<([A-Z-]+)>(.*)$", re.MULTILINE)
_DOCUMENT = re.compile(r"<DOCUMENT>(.*?)(?:</DOCUMENT>|\Z)", re.DOTALL)
_TEXT = re.compile(r"<TEXT>(.*?)(?:</TEXT>|\Z)", re.DOTALL)
_ENCODED = re.compile(r"\s*(?:<[A-Z]+>\s*)?begin [0-7]{3,4} \S")
_WRAPPER = re.compile(r"^\s*<(?:XBRL|XML)>|</(?:XBRL|XML)>\s*$")


@dataclass(frozen=True)
class SubmittedDocument:
    """Hold one document of a submission: its type, such as 10-K or EX-99.1, its file name and its content."""

    type: str
    file: str
    content: str


@dataclass(frozen=True)
class Submission:
    """Hold a submission: what its header says, as it is written, and its documents."""

    form: str | None
    company: str | None
    cik: str | None
    accession: str | None
    accepted: datetime | None  # as written: New York time without a zone
    filed: date | None
    documents: Sequence[SubmittedDocument]


def is_submission(text: str) -> bool:
    """Return whether a text begins as a raw submission does."""
    start = text[:500].lstrip()
    return start.startswith(("<SEC-DOCUMENT>", "<SEC-HEADER>", "<DOCUMENT>", "<IMS-", "-----BEGIN PRIVACY"))


def is_encoded(content: str) -> bool:
    """Return whether a document holds a file as uuencoded lines, such as a PDF or a picture."""
    return _ENCODED.match(content) is not None


def read_submission(text: str) -> Submission:
    """Return a submission; what its header lacks is None. Raises ValueError for a time or date that is none."""
    first = text.find("<DOCUMENT>")
    header = text[: first if first >= 0 else len(text)]
    documents = []
    for match in _DOCUMENT.finditer(text):
        body = match[1]
        head = body[: body.find("<TEXT>")] if "<TEXT>" in body else body
        tags = {tag: value.strip() for tag, value in _TAGGED.findall(head)}
        content = _TEXT.search(body)
        inner = _WRAPPER.sub("", content[1].strip()) if content else ""
        documents.append(SubmittedDocument(tags.get("TYPE", ""), tags.get("FILENAME", ""), inner.strip()))
    accepted = re.search(r"^<ACCEPTANCE-DATETIME>\s*(\d{14})\s*$", header, re.MULTILINE)
    filed = _field(header, "FILED AS OF DATE")
    return Submission(
        form=_field(header, "CONFORMED SUBMISSION TYPE") or (documents[0].type or None if documents else None),
        company=_field(header, "COMPANY CONFORMED NAME"),
        cik=_field(header, "CENTRAL INDEX KEY"),
        accession=_field(header, "ACCESSION NUMBER"),
        accepted=datetime.strptime(accepted[1], "%Y%m%d%H%M%S") if accepted else None,
        filed=datetime.strptime(filed, "%Y%m%d").date() if filed else None,
        documents=documents,
    )


def _field(header: str, name: str) -> str | None:
    match = re.search(rf"^\s*{name}:[ \t]*(\S.*?)\s*$", header, re.MULTILINE)
    return match[1] if match else None
