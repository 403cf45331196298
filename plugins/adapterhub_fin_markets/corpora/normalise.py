"""Normalise text without touching what it counts: digits, signs, percentages, currencies and dates stay as they are."""

from __future__ import annotations

import re
import unicodedata

# Characters that take no room, or that only say where a line may break; none of them is read.
_INVISIBLE = re.compile("[\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u202a-\u202e\u2066-\u2069]")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
_LINE_END = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_SPACES = re.compile(r"[^\S\n]+")  # no-break and thin spaces too
_BLANK_LINES = re.compile(r"\n{3,}")


def normalise(text: str) -> str:
    """Return a text with one kind of space, of line end and of minus, and without invisible characters.

    Canonical composition (NFC) is applied, never compatibility (NFKC), by which 10² becomes 102.

    Example:
        >>> normalise("up\\u00a05.2\\u202f% to $1,234.50 on 2024-01-31 \\n\\n\\n\\n")
        'up 5.2 % to $1,234.50 on 2024-01-31'
    """
    text = _CONTROL.sub(" ", _LINE_END.sub("\n", _INVISIBLE.sub("", text)).replace("\u2212", "-"))
    text = unicodedata.normalize("NFC", text)
    text = "\n".join(line.strip() for line in _SPACES.sub(" ", text).split("\n"))
    return _BLANK_LINES.sub("\n\n", text).strip()
