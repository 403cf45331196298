"""What a request's headers ask of a file beside the file itself: whether it changed, and which part (RFC 9110)."""

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
    """Whether the client has the file already, by `If-None-Match`, so that 304 answers it.

    Raises HubError 412 where `If-Match` asks for another file.
    """
    wanted = _joined(headers, "if-match")
    if wanted is not None and not _matches(wanted, etag, weak=False):
        raise HubError(412, "the file isn't the one that If-Match names: ask for it without")
    known = _joined(headers, "if-none-match")
    return known is not None and _matches(known, etag, weak=True)


def part(headers: Headers, etag: str, size: int) -> tuple[int, int] | None:
    """Where the asked part begins and how many bytes it has; None for the whole file.

    That is also the answer to several ranges, to what isn't a range, and where `If-Range` names another file. Raises
    HubError 416 where the range holds none of the file's bytes.
    """
    found = _RANGE.fullmatch(headers.get("range", "").strip())
    only_of = headers.get("if-range")
    if found is None or (only_of is not None and only_of.strip() != f'"{etag}"'):  # a date, or a weak tag, isn't enough
        return None
    if found[3] is not None:
        length = min(int(found[3]), size)
        if size == 0 and int(found[3]):
            return None
        start, end = size - length, size
    else:
        start, last = int(found[1]), int(found[2]) if found[2] else size
        if last < start and found[2]:
            return None
        end = min(last + 1, size)
    if start >= end:
        told = {"Content-Range": f"bytes */{size}"}
        raise HubError(416, f"the file has {size} bytes, and the range asked for holds none of them", headers=told)
    return start, end - start


def _joined(headers: Headers, name: str) -> str | None:
    """A list that may come in several lines."""
    return ", ".join(headers.getlist(name)) if name in headers else None


def _matches(tags: str, etag: str, *, weak: bool) -> bool:
    if tags.strip() == "*":
        return True
    if not _LIST.fullmatch(tags):
        return False
    return any(tag == etag and (weak or not is_weak) for is_weak, tag in _TAG.findall(tags))
