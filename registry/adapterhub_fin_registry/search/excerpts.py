"""What a search can ask about of a manifest, without parsing again what it shares with hundreds of others."""

from __future__ import annotations

import json
import sqlite3
from functools import cached_property
from typing import Any, Final

_PROBE: Final = b',"weight_probe":'
_TENSORS: Final = b',"tensors":'
_AFTER: Final = b'},"corpus":'
_STRIDE: Final = 61  # of a part's bytes, these tell it from others of its kind
_MOST: Final = 1024  # parts that are remembered: of tens of kilobytes, and as many as there are bases and settings
_decode: Final = json.JSONDecoder().raw_decode


class Excerpts:
    """Parses manifests, leaving out the two parts that are nine tenths of one: the base's probe and the tensors.

    No search asks about these, and they are the same text in every version of one base, and of one setting. So each
    text is checked once, and cut out before the rest is parsed. A manifest that can't be cut is parsed whole.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {}

    def of(self, data: bytes) -> Any:
        """What `json.loads` finds in UTF-8, which may lack `base.weight_probe` and `tensors`; its errors likewise."""
        try:
            return self._cut(data)
        except (ValueError, RecursionError):  # perhaps for the cutting alone
            return _parsed(data)

    def _cut(self, data: bytes) -> Any:
        # Canonical JSON is sorted: the probe is the last of the base, which comes first, and the tensors are the last
        # of all. Text that only looks so, in a description or an option, is no danger: what lies between the cuts is
        # parsed as members of `base` and of the manifest, which it is only where the cuts are at these very places.
        probe, tensors = data.find(_PROBE), data.rfind(_TENSORS)
        after = data.rfind(_AFTER, probe, tensors)
        if not 0 <= probe < after < tensors or not data.endswith(b"}"):
            return _parsed(data)
        self._check(data, probe + len(_PROBE), after)
        self._check(data, tensors + len(_TENSORS), len(data) - 1)
        text = (b"[%b}},{%b}]" % (data[:probe], data[after + 2 : tensors])).decode()
        (first, rest), end = _decode(text)
        if end != len(text) or "\\u" in text or not _is_base(first) or not rest:
            return _parsed(data)
        return first | rest

    def _check(self, data: bytes, start: int, end: int) -> None:
        """Raise a ValueError unless a part is JSON; a known one is found by a few of its bytes, and then compared."""
        known = self._known.get(few := data[start:end:_STRIDE])
        if known is None or len(known) != end - start or not data.startswith(known, start):
            part = data[start:end]
            if b"\\u" in part or b"\0" in part or not self._is_json(part.decode()):
                raise ValueError("this needs more than a look")
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[few] = part

    def _is_json(self, text: str) -> bool:
        # In C, and without an object for each of a thousand numbers.
        [(is_json,)] = self._sqlite.execute("SELECT json_valid(?)", (text,))
        return bool(is_json)

    @cached_property
    def _sqlite(self) -> sqlite3.Connection:
        return sqlite3.connect(":memory:")


def _is_base(first: Any) -> bool:
    # Of members that aren't there the text was not JSON: a comma follows where the cut is.
    return list(first) == ["base"] and isinstance(first["base"], dict) and bool(first["base"])


def _parsed(data: bytes) -> Any:
    value = json.loads(text := data.decode())
    if "\\u" in text:  # perhaps an escaped half of a pair, which isn't Unicode and which SQLite can't hold
        json.dumps(value, ensure_ascii=False).encode()
    return value
