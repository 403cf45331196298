"""Evaluate the conditional and range headers of a request (RFC 9110)."""

from __future__ import annotations

import re
from typing import Final

from starlette.datastructures import Headers

from adapterhub_fin_registry.hub_server.errors import HubError

_TAG: Final = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_LIST: Final = re.compile(rf"[\s,]*{_TAG.pattern}(?:[\s,]+{_TAG.pattern})*[\s,]*")
_RANGE: Final = re.compile(
    r"bytes\s*=[\s,]*(?:([0-9]{1,40})\s*-\s*([0-9]{0,40})|-\s*([0-9]{1,40}))[\s,]*", re.IGNORECASE
)


def is_known(headers: Headers, etag: str) -> bool:
    """Return whether the client has the file already, by `If-None-Match`: the answer is then 304.

    Raises HubError 412 where `If-Match` names another file.
    """
    if_match = _joined(headers, "if-match")
    if if_match is not None and not _matches(if_match, etag, weak=False):
        raise HubError(412, "the file isn't the one that If-Match names: ask for it without")
    if_none_match = _joined(headers, "if-none-match")
    return if_none_match is not None and _matches(if_none_match, etag, weak=True)


def part(headers: Headers, etag: str, size: int) -> tuple[int, int] | None:
    """Return the start and the length in bytes of the requested range; None for the whole file.

    Several ranges, an invalid range, and an `If-Range` with another file also mean the whole file. Raises HubError 416
    where the range has none of the file's bytes.
    """
    match = _RANGE.fullmatch(headers.get("range", "").strip())
    only_of = headers.get("if-range")
    if match is None or (only_of is not None and only_of.strip() != f'"{etag}"'):  # only a strong tag counts
        return None
    if match[3] is not None:
        length = min(int(match[3]), size)
        if size == 0 and int(match[3]):
            return None
        start, end = size - length, size
    else:
        start, last = int(match[1]), int(match[2]) if match[2] else size
        if last < start and match[2]:
            return None
        end = min(last + 1, size)
    if start >= end:
        raise HubError(
            416,
            f"the file has {size} bytes, and the range asked for holds none of them",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return start, end - start


def _joined(headers: Headers, name: str) -> str | None:
    """Return a list header, which may come in several lines, as one line; None without it."""
    return ", ".join(headers.getlist(name)) if name in headers else None


def _matches(tags: str, etag: str, *, weak: bool) -> bool:
    if tags.strip() == "*":
        return True
    if not _LIST.fullmatch(tags):
        return False
    return any(tag == etag and (weak or not is_weak) for is_weak, tag in _TAG.findall(tags))
