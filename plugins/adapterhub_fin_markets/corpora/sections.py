"""Cut the items of a filing out of its text, such as 1A (risk factors) and 7 (management's discussion)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

_NUMBER = r"(?:\d\.\d{2}|\d{1,2}[ \t]?[A-C]?)(?!\w|\.\d)"
_HEADING = re.compile(
    r"^[ \t|]*(?:PART[ \t]+(?P<with>I{1,3}|IV)[ \t]*[,.:|–—-]*[ \t]*)?"
    rf"(?:ITEM[ \t|]+(?P<number>{_NUMBER})(?!\s*(?:of|to|and|in|above|below)\b)"
    rf"|ITEMS[ \t|]+(?P<first>{_NUMBER})[ \t.,]*(?:AND|&)[ \t]*(?:ITEM[ \t]+)?(?P<second>{_NUMBER}))",
    re.IGNORECASE | re.MULTILINE,
)
_PART = re.compile(
    r"^[ \t|]*PART[ \t]+(I{1,3}|IV)\b(?=[^a-z]*$|[ \t.,:|–—-]+(?:FINANCIAL|OTHER)\b)", re.I | re.MULTILINE
)
_SIGNATURES = re.compile(r"^[ \t]*SIGNATURES?[ \t]*:?[ \t]*$", re.IGNORECASE | re.MULTILINE)
_PAGES = r"(?:F-?)?\d{1,3}(?:[ \t]*[-–,][ \t]*(?:F-?)?\d{1,3})*"
_LISTED = re.compile(
    rf"(?:[^|]*|[ \t|]*ITEMS?[ \t|][^|]*\|[^|]*)(?:\||\.[ .]+\.|[ \t]{{3,}})[ \t]*{_PAGES}[ \t|]*", re.I
)
_NO_BODY = re.compile(rf"[ \t|]*(?:{_PAGES}|page|table of contents|signatures?)?[ \t|]*", re.IGNORECASE)
_LEADS_IN = re.compile(
    r"(?:[,(“]|\b(?:also|and|by|from|in|including|of|or|our|see|the|this|to|under|with|within))[ \t“\"]*\n\s*\Z", re.I
)
_SAID = re.compile(r"\b(?:none|reserved|omitted|not (?:applicable|required))\b[\])]?\.?[ \t|]*\Z", re.IGNORECASE)
_SAYS_NONE = re.compile(r"[ \t|]*(?:none|not (?:applicable|required))\.?[ \t|]*", re.IGNORECASE)
_RUN = 3  # headings without a body after each other are a table of contents


@dataclass(frozen=True)
class Heading:
    """Hold where an item, or two under one heading, begins, its part if one is known, and the numbers."""

    start: int
    end: int  # of the number
    part: str | None
    numbers: tuple[str, ...]
    body: int = 0  # characters to the next heading, 0 without a body

    def names(self, by_part: bool) -> tuple[str, ...]:
        """Return the names of its items, such as 1A, or II.1A by part."""
        return tuple(f"{self.part}.{each}" if by_part and self.part else each for each in self.numbers)

    def order(self) -> tuple[int, int, str]:
        """Return what orders the headings of a form."""
        digits = self.numbers[0].rstrip("ABC")
        part = ("I", "II", "III", "IV").index(self.part) if self.part else -1
        return part, int(float(digits)), self.numbers[0][len(digits) :]


def items_in(text: str, form: str) -> dict[str, str]:
    """Return the text of each item by its name, `1A`, or `II.1A` in a 10-Q, with its heading; empty without a body.

    Tables of contents, running heads and references name items too. So an item begins at a heading that has a body, and
    where the order of the items isn't broken, except in an 8-K, which may have any.
    """
    headings = _headings(text)
    if not form.upper().startswith("8-K"):
        headings = _in_order(headings)
    by_part = form.upper().startswith("10-Q")
    texts: dict[str, str] = {}
    for number, (same, end) in enumerate(groups := _stretches(headings, len(text))):
        first = next((heading.start for heading in same if heading.body), None)
        item = "" if first is None else _trimmed(text[first:end])
        lines = item.split("\n", 2)
        if number + 1 == len(groups) and len(lines) > 2 and _SAYS_NONE.fullmatch(lines[1]):
            item = "\n".join(lines[:2])  # the pages after the last item are no part of it
        for name in same[0].names(by_part):
            texts[name] = max(texts.get(name, ""), item, key=len)
    return texts


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
        if not _LEADS_IN.search(text, max(0, match.start() - 40), match.start()):  # else a sentence names the item
            numbers = [match["number"]] if match["number"] else [match["first"], match["second"]]
            numbers = [re.sub(r"\s", "", number).upper() for number in numbers]
            headings.append(Heading(match.start(), match.end(), part, tuple(numbers)))
    return _with_bodies(text, headings)


def _with_bodies(text: str, headings: Sequence[Heading]) -> list[Heading]:
    """Return the headings with the length of their bodies: those of a table of contents have none.

    A text may follow the last heading of a table of contents, which is known by the headings before it.
    """
    result: list[Heading] = []
    for heading, following in zip(headings, [*headings[1:], None], strict=True):
        stretch = text[heading.start : following.start if following else len(text)]
        before = result[-_RUN:]
        listed = len(before) == _RUN and not any(each.body for each in before) and before[-1].order() < heading.order()
        has_body = not listed and _has_body(stretch, heading.end - heading.start)
        result.append(replace(heading, body=len(stretch) if has_body else 0))
    return result


def _has_body(stretch: str, number_end: int) -> bool:
    line, *rest = stretch.split("\n")
    if _LISTED.fullmatch(line):
        return False
    titled = re.search(r"[A-Za-z]", line[number_end:]) is not None
    body = [each for each in rest if not (_NO_BODY.fullmatch(each) or _LISTED.fullmatch(each) or _PART.match(each))]
    return bool(body[0 if titled else 1 :]) or _SAID.search(line) is not None


def _in_order(headings: Sequence[Heading]) -> list[Heading]:
    """Return the headings, in order, of the most items with a body; of several such rows those with the most text."""
    best: list[tuple[int, int]] = []  # items and characters of the best row of headings that ends here
    before: list[int] = []
    for number, heading in enumerate(headings):
        own = len(heading.numbers) if heading.body else 0
        gain, last = (own, heading.body), -1
        for other, earlier in enumerate(headings[:number]):
            again = (earlier.part, earlier.numbers) == (heading.part, heading.numbers)
            if again or earlier.order() < heading.order():
                items, characters = best[other]
                reached = (items + (0 if again and earlier.body else own), characters + heading.body)
                if reached >= gain:
                    gain, last = reached, other
        best.append(gain)
        before.append(last)
    row = []
    number = max(range(len(headings)), key=lambda at: (best[at], at), default=-1)
    while number >= 0:
        row.append(headings[number])
        number = before[number]
    return row[::-1]


def _stretches(headings: Sequence[Heading], end: int) -> list[tuple[list[Heading], int]]:
    """Return the headings of each item that follow each other, with where the next item begins."""
    groups = [list(group) for _, group in groupby(headings, lambda heading: (heading.part, heading.numbers))]
    return [(group, after[0].start if after else end) for group, after in zip(groups, [*groups[1:], None], strict=True)]


def _trimmed(text: str) -> str:
    """Return an item without the signatures and without the heading of the next part after it."""
    signatures = _SIGNATURES.search(text)
    text = (text[: signatures.start()] if signatures else text).strip()
    body, _, last = text.rpartition("\n")
    return body.strip() if body and _PART.match(last) else text
