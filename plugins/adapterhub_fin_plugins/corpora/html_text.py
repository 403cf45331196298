"""The text of an HTML page without its markup, one block a line; made for filings in inline XBRL.

The page is cut into tokens as the HTML standard cuts it, and no tree is built: nothing here needs one, and closing tags
against a deep tree costs their product. Filings are XHTML, so that `<![CDATA[...]]>` is text, which parsers of HTML
drop, and `<script/>` is closed. Of nine filings and ten pages of SGML submissions lxml, selectolax and
html.parser give the same text. Each character is looked at a fixed number of times, whatever the page holds.
"""

from __future__ import annotations

import re
from html import unescape

from adapterhub_fin.errors import BadCorpus

# ix:header holds a filing's facts a second time, for machines: contexts, units, hidden values.
UNSEEN = frozenset(["script", "style", "title", "ix:header"])
RAW = frozenset(["script", "style", "title"])  # whose content holds no tags
CELLS = frozenset(["td", "th"])
BLOCK = re.compile(
    "address|article|aside|blockquote|body|br|caption|center|d[dlt]|div|fieldset|figcaption|figure|footer|form|h[1-6]|header"
    "|hr|li|main|nav|ol|p|pre|section|table|tbody|tfoot|thead|tr|ul"
)
# Possessive throughout: nothing is tried twice. A `>` between quotes is part of a value; a quote elsewhere is a letter.
_TAG = re.compile(r"<(/?)([a-zA-Z][^\s/>]*+)(?:=\s*+(?:\"[^\"]*+\"|'[^']*+')?+|[^>=])*+>")
_COMMENT_END = re.compile(r"--!?>")
_ENDS = {"script": re.compile(r"</script(?=[\s/>])", re.I), "style": re.compile(r"</style(?=[\s/>])", re.I)}
_ENDS["title"] = re.compile(r"</title(?=[\s/>])", re.I)


def plain_text(html: str, name: str) -> str:
    """Return the text of a page, its blank space collapsed.

    Raises BadCorpus where a comment, a tag or what is never shown is never closed: the rest would be lost.
    """
    reader = _Reader(html, name)
    while reader.place < len(html):
        reader.read_next()
    if reader.unseen:
        raise reader.unclosed(f"<{reader.unseen[-1]}>")
    lines = (" ".join(line.split()) for line in "".join(reader.pieces).split("\n"))
    return "\n".join(filter(None, lines))


class _Reader:
    """Collects the text; a word that spans cut in two stays whole, cells and blocks stay apart."""

    def __init__(self, html: str, name: str) -> None:
        self.html = html
        self.name = name
        self.place = 0
        self.pieces: list[str] = []
        self.unseen: list[str] = []  # the tags now open whose content is not shown

    def unclosed(self, what: str) -> BadCorpus:
        return BadCorpus(f"{self.name} never closes its {what}: the rest of it would be lost")

    def read_next(self) -> None:
        """Read the text up to the next token, and the token."""
        html, start = self.html, self.html.find("<", self.place)
        if start < 0:
            start = len(html)
        self._text(unescape(html[self.place : start]))
        self.place = start
        after = html[start + 1 : start + 2]
        if html.startswith("<!--", start):
            short = next((end for end in ("<!-->", "<!--->") if html.startswith(end, start)), None)
            end = _COMMENT_END.search(html, start + 4)
            self.place = self._end("comment <!--", start + len(short) if short else end.end() if end else -1)
        elif html.startswith("<![CDATA[", start):
            end_of_data = html.find("]]>", start)
            self.place = self._end("<![CDATA[", end_of_data) + 3
            self._text(html[start + 9 : end_of_data])
        elif html.startswith(("<!", "<?", "</"), start) and not re.match("</[a-zA-Z]", html[start : start + 3]):
            self.place = self._end(html[start : start + 2], html.find(">", start)) + 1
        elif after.isascii() and (after.isalpha() or after == "/"):
            self._tag(start)
        elif start < len(html):
            self._text("<")
            self.place += 1

    def _end(self, what: str, place: int) -> int:
        if place < 0:
            raise self.unclosed(what)
        return place

    def _tag(self, start: int) -> None:
        found = _TAG.match(self.html, start)
        if found is None:
            raise self.unclosed(f"tag {self.html[start : start + 20].split()[0]}")
        tag, closing, alone = found[2].lower(), bool(found[1]), found[0].endswith("/>")
        self.place = found.end()
        self._break_at(tag)
        if alone or tag not in UNSEEN:
            return
        if closing:
            if self.unseen and self.unseen[-1] == tag:
                self.unseen.pop()
        elif tag in RAW:
            end = _ENDS[tag].search(self.html, self.place)
            self.place = self._end(f"<{tag}>", end.start() if end else -1)
        else:
            self.unseen.append(tag)

    def _text(self, text: str) -> None:
        if text and not self.unseen:
            self.pieces.append(re.sub(r"\s+", " ", text))

    def _break_at(self, tag: str) -> None:
        if BLOCK.fullmatch(tag):
            self.pieces.append("\n")
        elif tag in CELLS:
            self.pieces.append(" ")
