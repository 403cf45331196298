"""Read the text of HTML filings with lxml: blocks become lines, and a table's row is one line of readable cells."""

from __future__ import annotations

import re
from html import escape
from typing import Any

from lxml import etree, html

from adapterhub_fin.plugin import BadCorpus

_BLOCKS = frozenset(
    (
        *("address", "article", "aside", "blockquote", "body", "br", "caption", "center", "dd", "div", "dl", "dt"),
        *("fieldset", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main"),
        *("nav", "ol", "p", "pre", "section", "table", "tbody", "tfoot", "thead", "title", "tr", "ul"),
    )
)
_CELLS = frozenset(["td", "th"])
_UNSEEN = frozenset(["head", "script", "style", "title", "ix:header", "noscript"])
_HIDDEN = re.compile(r"display\s*:\s*none", re.IGNORECASE)
_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
_CDATA = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.DOTALL)
_INLINE = ("span", "font", "b", "i", "u", "strong", "em", "a", "sup", "sub", "ix:nonfraction", "ix:nonnumeric")
_PAGE = re.compile(r"<(?:html|body|div|p)\b|<table\b(?=.*?<t[rd]\b)", re.IGNORECASE | re.DOTALL)
_TAGS = re.compile(r"</?(?:TABLE|CAPTION|S|C|FN)>", re.IGNORECASE)
_PAGE_END = re.compile(r"[ \t]*<PAGE>[ \t]*(?:[A-Z]{0,2}-?\d+|[ivxl]+)?[ \t]*", re.IGNORECASE)
LAYOUT = 400  # characters: a longer cell is no figure but a part of the page, whose lines stay apart
_BLANK = re.compile("[\u200b\ufeff]")
_CELL, _LINE = "\x1f", "\n"
_BEFORE = re.compile(r"(?:[$€£¥(]|US\$|\(\$|\$\s*\()+")  # a cell that belongs to the number after it
_AFTER = re.compile(r"[)%]+|\)\s*%")  # a cell that belongs to the number before it


def page_text(page: str, name: str) -> str:
    """Return the text of a page as it is shown: no hidden element, no inline-XBRL header, CDATA as text.

    A table's row is one line: its cells are separated by ` | `, with `$`, `(`, `)` and `%` at their numbers, which
    filings put into cells of their own. Raises BadCorpus, naming the page, where nothing can be parsed.
    """
    page = _CDATA.sub(lambda match: escape(match[1]), _DECLARATION.sub("", page).replace("\x00", ""))
    parser = html.HTMLParser(huge_tree=True, remove_comments=True, remove_pis=True)
    try:
        root = html.document_fromstring(page, parser=parser) if page.strip() else None
    except etree.ParserError:
        root = None
    if root is None:
        raise BadCorpus(f"{name} has no text: fill it, remove it, or exclude it with glob")
    for element in [*root.iter(*_UNSEEN), *root.xpath("//*[contains(@style, 'display')]")]:
        hidden = element.tag in _UNSEEN or _HIDDEN.search(element.get("style", ""))
        if hidden and element.getparent() is not None:
            element.drop_tree()  # the text after it stays
    for raised in root.xpath("//sup|//sub|//*[contains(@style, 'vertical-align')]"):
        if raised.tag not in _CELLS and (raised.text or "").lstrip()[:1].isdigit():
            raised.text = f" {raised.text}"  # a footnote's number is no digit of the number before it
    etree.strip_tags(root, *_INLINE)
    pieces: list[str] = []
    _collect(root, pieces)
    lines = (_row(line) if _CELL in line else line.strip() for line in "".join(pieces).split(_LINE))
    return "\n".join(" ".join(line.split()) for line in lines if line.strip())


def is_page(content: str) -> bool:
    """Return whether a document is HTML; plain filings have a `<TABLE>` too, which has neither rows nor cells."""
    return _PAGE.search(content[:20_000]) is not None


def plain_text(content: str) -> str:
    """Return a plain filing without the marks of its pages and tables, such as `<PAGE>` and `<S>`, line by line."""
    lines = []
    for line in content.split("\n"):
        bare = "" if _PAGE_END.fullmatch(line) else _TAGS.sub("", line)
        if bare.strip() or not line.strip():
            lines.append(bare)
    return "\n".join(lines)


def _collect(root: Any, pieces: list[str]) -> None:
    """Collect text with a mark at the end of each cell, and a line end at each block outside a cell."""
    short_cells = 0  # open cells that are short, in which a block is a space
    is_short: list[bool] = []
    for event, element in etree.iterwalk(root, events=("start", "end")):
        tag = element.tag
        cell = tag in _CELLS
        block = tag in _BLOCKS
        if event == "start":
            if cell:
                is_short.append(_is_short(element))
                short_cells += is_short[-1]
            elif block:
                pieces.append(" " if short_cells else _LINE)
            if element.text:
                pieces.append(_one_space(element.text))
            continue
        if cell:
            short_cells -= is_short.pop()
            pieces.append(_CELL if not short_cells else " ")
        elif block and tag != "br":
            pieces.append(" " if short_cells else _LINE)
        if element.tail:
            pieces.append(_one_space(element.tail))


def _is_short(cell: Any) -> bool:
    length = 0
    for text in cell.itertext():
        length += len(text)
        if length > LAYOUT:
            return False
    return True


def _one_space(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def _row(line: str) -> str:
    """Return a table's row: cells that aren't blank, signs at their numbers."""
    cells: list[str] = []
    sign = ""
    for cell in (" ".join(part.split()) for part in _BLANK.sub("", line).split(_CELL)):
        if not cell:
            continue
        if _BEFORE.fullmatch(cell):
            sign += cell
        elif _AFTER.fullmatch(cell) and cells and not sign:
            cells[-1] += cell
        else:
            cells.append(sign + cell)
            sign = ""
    return " | ".join([*cells, *([sign] if sign else [])])
