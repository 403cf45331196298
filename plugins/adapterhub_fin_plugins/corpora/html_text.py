"""The text of an HTML page without its markup, one block a line; made for filings in inline XBRL."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from adapterhub_fin.errors import BadCorpus

# ix:header holds a filing's facts a second time, for machines: contexts, units, hidden values.
UNSEEN = frozenset(["script", "style", "title", "ix:header"])
CELLS = frozenset(["td", "th"])
BLOCK = re.compile(
    "address|article|aside|blockquote|body|br|caption|center|d[dlt]|div|fieldset|figcaption|figure|footer|form|h[1-6]|header"
    "|hr|li|main|nav|ol|p|pre|section|table|tbody|tfoot|thead|tr|ul"
)


def plain_text(html: str, name: str) -> str:
    """The text of a page, its blank space collapsed; BadCorpus where what is never shown is never closed."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    if reader.unseen:
        raise BadCorpus(f"{name} never closes its <{reader.unseen[-1]}>: the rest of it would be lost")
    lines = (" ".join(line.split()) for line in "".join(reader.pieces).split("\n"))
    return "\n".join(filter(None, lines))


class _Reader(HTMLParser):
    """Collects the text; a word that spans cut in two stays whole, cells and blocks stay apart."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.unseen: list[str] = []  # the tags now open whose content is not shown

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in UNSEEN:
            self.unseen.append(tag)
        self._break_at(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.unseen and self.unseen[-1] == tag:
            self.unseen.pop()
        self._break_at(tag)

    def handle_data(self, data: str) -> None:
        if not self.unseen:
            self.pieces.append(re.sub(r"\s+", " ", data))

    def _break_at(self, tag: str) -> None:
        if BLOCK.fullmatch(tag):
            self.pieces.append("\n")
        elif tag in CELLS:
            self.pieces.append(" ")
