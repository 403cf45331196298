"""Cut the items of a filing out of its text, such as 1A (risk factors) and 7 (management's discussion)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_HEADING = re.compile(
    r"^[ \t|]*(?:PART[ \t]+(?P<with>I{1,3}|IV)[ \t]*[,.:|–—-]*[ \t]*)?"
    r"ITEM[ \t|]+(?P<number>\d\.\d{2}|\d{1,2}[ \t]?[A-C]?)(?!\w|\.\d)(?!\s*(?:of|to|and|in|above|below)\b)",
    re.IGNORECASE | re.MULTILINE,
)
_PART = re.compile(
    r"^[ \t|]*PART[ \t]+(I{1,3}|IV)\b(?=[^a-z]*$|[ \t.,:|–—-]+(?:FINANCIAL|OTHER)\b)", re.I | re.MULTILINE
)
_SIGNATURES = re.compile(r"^[ \t]*SIGNATURES?[ \t]*:?[ \t]*$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Heading:
    """Hold where an item begins, its part if one is known, and its number."""

    start: int
    part: str | None
    number: str


def items_in(text: str, form: str) -> dict[str, str]:
    """Return the text of each item by its name, `1A`, or `II.1A` in a 10-Q, with its heading.

    A table of contents, running heads and references name items too: of several candidates for one item the longest
    stretch to another item's heading is taken.
    """
    by_part = form.upper().startswith("10-Q")
    longest: dict[str, tuple[int, int]] = {}
    for name, start, end in _stretches(_headings(text), len(text), by_part):
        if end - start > longest.get(name, (0, 0))[1] - longest.get(name, (0, 0))[0]:
            longest[name] = (start, end)
    return {name: _trimmed(text[start:end]) for name, (start, end) in longest.items()}


def _headings(text: str) -> list[Heading]:
    parts = [(match.start(), match[1].upper()) for match in _PART.finditer(text)]
    headings = []
    part, next_part = None, 0
    for match in _HEADING.finditer(text):
        while next_part < len(parts) and parts[next_part][0] <= match.start():
            part = parts[next_part][1]
            next_part += 1
        if match["with"]:
            part = match["with"].upper()
        headings.append(Heading(match.start(), part, re.sub(r"\s", "", match["number"]).upper()))
    return headings


def _stretches(headings: Sequence[Heading], end: int, by_part: bool) -> Iterator[tuple[str, int, int]]:
    """Yield each item's name with a stretch of text from its heading to the next one of another item."""
    names = [f"{h.part}.{h.number}" if by_part and h.part else h.number for h in headings]
    first = 0
    for number, (name, heading) in enumerate(zip(names, headings, strict=True)):
        if not number or names[number - 1] != name:
            first = heading.start
        if number + 1 == len(names) or names[number + 1] != name:
            yield name, first, headings[number + 1].start if number + 1 < len(names) else end


def _trimmed(text: str) -> str:
    """Return an item without the signatures and without the heading of the next part after it."""
    signatures = _SIGNATURES.search(text)
    text = (text[: signatures.start()] if signatures else text).strip()
    body, _, last = text.rpartition("\n")
    return body.strip() if body and _PART.match(last) else text
