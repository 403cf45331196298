"""Read your own documents, one row each: plain text, Markdown, and HTML such as filings in inline XBRL."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

from datasets import Dataset

from adapterhub_fin.plugin import BadCorpus, CorpusImplementation, Faults, Rows, collected, decoded, problem
from adapterhub_fin_plugins.corpora.cells import Instants, Source
from adapterhub_fin_plugins.corpora.options import Cells, TextOptions
from adapterhub_fin_plugins.corpora.records import read_records

MARKUP = (".html", ".htm")
SUFFIXES = (".txt", ".md", *MARKUP)
# ix:header repeats a filing's facts for machines: contexts, units, hidden values.
HIDDEN = frozenset(["script", "style", "title", "ix:header"])
RAW = frozenset(["script", "style", "title"])  # their content has no tags
CELLS = frozenset(["td", "th"])
BLOCK = re.compile(
    "address|article|aside|blockquote|body|br|caption|center|d[dlt]|div|fieldset|figcaption|figure|footer|form|h[1-6]|header"
    "|hr|li|main|nav|ol|p|pre|section|table|tbody|tfoot|thead|tr|ul"
)
# Possessive quantifiers avoid backtracking. A `>` in quotes is part of a value; a quote elsewhere is a character.
_TAG = re.compile(r"<(/?)([a-zA-Z][^\s/>]*+)(?:=\s*+(?:\"[^\"]*+\"|'[^']*+')?+|[^>=])*+>")
_COMMENT_END = re.compile(r"--!?>")
_ENDS = {"script": re.compile(r"</script(?=[\s/>])", re.I), "style": re.compile(r"</style(?=[\s/>])", re.I)}
_ENDS["title"] = re.compile(r"</title(?=[\s/>])", re.I)


class Text(CorpusImplementation):
    """Read documents in the order of their names, repeated texts once; `group` is the name of the document."""

    def __init__(self, options: TextOptions) -> None:
        self.options = options

    def load(self) -> Rows:
        """Return the rows. Raises BadCorpus for a document without text or, with `dates`, without a date."""
        notes: dict[str, int] = {}
        with collected("corpus text") as faults:
            documents, other_files = self._documents()
            rows: list[dict[str, Any]] = [
                {"text": faults.caught((n,), _text_of, path, name), "group": name, "origin": name}
                for n, (name, path) in enumerate(documents.items())
            ]
            if self.options.dates is not None:
                dates = self._dates(self.options.dates, list(documents), faults)
                rows = [{**row, "available_at": moment} for row, moment in zip(rows, dates.moments, strict=False)]
                notes |= dates.notes("available_at")
            unique = [] if faults.count else _without_repeats(rows)
        return Rows(
            Dataset.from_list(unique),
            known=self.options.known,
            notes={"repeated": len(rows) - len(unique), "other files": other_files, **notes},
        )

    def _documents(self) -> tuple[dict[str, Path], int]:
        """Return the documents by name, sorted, and the number of other files."""
        root = self.options.path.expanduser()
        if not root.exists():
            raise BadCorpus(f"{root} does not exist: give a file or a folder of {', '.join(SUFFIXES)} files")
        if root.is_file():
            root, files = root.parent, [root]
        else:
            files = [path for path in root.glob(self.options.glob) if path.is_file()]
        documents = {path.relative_to(root).as_posix(): path for path in files if path.suffix.lower() in SUFFIXES}
        if not documents:
            raise BadCorpus(f"{self.options.path} has no {', '.join(SUFFIXES)} file that matches {self.options.glob}")
        return dict(sorted(documents.items())), len(files) - len(documents)

    def _dates(self, table: Path, documents: list[str], faults: Faults) -> Instants:
        records = read_records(table, faults)
        source = Source(records, Cells(timezone=self.options.timezone), faults)
        positions: dict[str, int] = {}
        for position, (record, name) in enumerate(zip(records, source.names("file"), strict=True)):
            if name is None:
                continue  # a fault
            if name in positions:
                raise BadCorpus(f"{record.place} dates {name} twice: keep one row")
            positions[name] = position
        dates = source.instants("available_at")
        if faults.count:
            return Instants([], [])  # the faults are raised when all are collected
        if undated := [name for name in documents if name not in positions]:
            raise BadCorpus(
                f"{table.name} gives no date for {undated[0]} ({len(undated)} of {len(documents)} documents): "
                "add dates, or exclude the documents with glob"
            )
        order = [positions[name] for name in documents]
        return Instants([dates.moments[position] for position in order], [dates.days[position] for position in order])


def _text_of(path: Path, name: str) -> str:
    text = decoded(path)
    text = plain_text(text, name) if path.suffix.lower() in MARKUP else text.strip()
    if problem(text):
        raise BadCorpus(f"{name} has no text: fill it, remove it, or exclude it with glob")
    return text


def _without_repeats(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each text once, as first available: a copy under another name could be in both train and test."""
    first: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: row.get("available_at", 0)):
        first.setdefault(row["text"], row)
    return [row for row in rows if first[row["text"]] is row]


def plain_text(html: str, name: str) -> str:
    """Return the text of an HTML page without its markup, one block a line, with whitespace collapsed.

    Raises BadCorpus, naming the page `name`, for a comment, a tag or a hidden element that is never closed: the rest of
    the page would be lost.
    """
    reader = _Reader(html, name)
    while reader.position < len(html):
        reader.read_next()
    if reader.hidden:
        raise reader.unclosed(f"<{reader.hidden[-1]}>")
    lines = (" ".join(line.split()) for line in "".join(reader.pieces).split("\n"))
    return "\n".join(filter(None, lines))


class _Reader:
    """Tokenize a page and collect its text: spans don't split words, but cells and blocks do.

    It splits the page into tokens as the HTML standard does and builds no tree: none is needed, and matching closing
    tags to a deep tree takes quadratic time. Here the time is linear in the length of the page. Filings are XHTML, so
    `<![CDATA[...]]>` is text, which HTML parsers drop, and `<script/>` is closed. On nine filings and ten SGML
    submissions lxml, selectolax and html.parser give the same text.
    """

    def __init__(self, html: str, name: str) -> None:
        self.html = html
        self.name = name
        self.position = 0
        self.pieces: list[str] = []
        self.hidden: list[str] = []  # the open tags whose content is not shown

    def unclosed(self, what: str) -> BadCorpus:
        return BadCorpus(f"{self.name} never closes its {what}: the rest would be lost")

    def read_next(self) -> None:
        """Read the text up to the next token, and that token."""
        html, start = self.html, self.html.find("<", self.position)
        if start < 0:
            start = len(html)
        self._text(unescape(html[self.position : start]))
        self.position = start
        after = html[start + 1 : start + 2]
        if html.startswith("<!--", start):
            short = next((end for end in ("<!-->", "<!--->") if html.startswith(end, start)), None)
            end = _COMMENT_END.search(html, start + 4)
            self.position = self._end("comment <!--", start + len(short) if short else end.end() if end else -1)
        elif html.startswith("<![CDATA[", start):
            end_of_data = html.find("]]>", start)
            self.position = self._end("<![CDATA[", end_of_data) + 3
            self._text(html[start + 9 : end_of_data])
        elif html.startswith(("<!", "<?", "</"), start) and not re.match("</[a-zA-Z]", html[start : start + 3]):
            self.position = self._end(html[start : start + 2], html.find(">", start)) + 1
        elif after.isascii() and (after.isalpha() or after == "/"):
            self._tag(start)
        elif start < len(html):
            self._text("<")
            self.position += 1

    def _end(self, what: str, position: int) -> int:
        if position < 0:
            raise self.unclosed(what)
        return position

    def _tag(self, start: int) -> None:
        match = _TAG.match(self.html, start)
        if match is None:
            raise self.unclosed(f"tag {self.html[start : start + 20].split()[0]}")
        tag, closing, alone = match[2].lower(), bool(match[1]), match[0].endswith("/>")
        self.position = match.end()
        self._break_at(tag)
        if alone or tag not in HIDDEN:
            return
        if closing:
            if self.hidden and self.hidden[-1] == tag:
                self.hidden.pop()
        elif tag in RAW:
            end = _ENDS[tag].search(self.html, self.position)
            self.position = self._end(f"<{tag}>", end.start() if end else -1)
        else:
            self.hidden.append(tag)

    def _text(self, text: str) -> None:
        if text and not self.hidden:
            self.pieces.append(re.sub(r"\s+", " ", text))

    def _break_at(self, tag: str) -> None:
        if BLOCK.fullmatch(tag):
            self.pieces.append("\n")
        elif tag in CELLS:
            self.pieces.append(" ")
