"""Read the body of a commit as it arrives: one JSON object a line, with files in base64 that go straight to the disk.

A file of any size is one line, so a line can't be read into memory. The text of the key `content` is decoded while it
arrives; the rest of the line is small, and goes through the JSON parser.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from adapterhub_fin_registry.hub_server.blob_writer import BlobWriter
from adapterhub_fin_registry.hub_server.body import parse_json
from adapterhub_fin_registry.hub_server.errors import HubError, bad_request

LINE: Final = 2**17  # bytes of a line without its content
LINES: Final = 4 * 2**20  # bytes of all lines without their contents, which are in memory together
OPERATIONS: Final = 2000
_FIELDS: Final = 16  # of an operation; the Hub's client writes five
# Valid JSON has these bytes only as a key: inside a string the quotes would be escaped.
_CONTENT: Final = re.compile(rb'"content"[ \t]*:[ \t]*"')
_TAIL: Final = 128  # bytes that may contain the beginning of that pattern


@dataclass
class Line:
    """Represent a line: its key, its value, and the file with its content."""

    key: str
    value: dict[str, Any]
    file: BlobWriter | None = None


class CommitReader:
    """Parse a commit from pieces of any size; `lines` has the lines that are complete.

    `new_file` opens a file for a content; `limit` is the most bytes that a content may have.
    """

    def __init__(self, new_file: Callable[[], BlobWriter], limit: int) -> None:
        self._new_file = new_file
        self._limit = limit
        self._rest = bytearray()  # the line so far, without its content
        self._after = 0  # the position from which to search for a content
        self._file: BlobWriter | None = None
        self._content: _Base64 | None = None
        self._line_count = 0  # with the empty lines
        self._size = 0  # bytes of the lines without their contents
        self.lines: list[Line] = []

    def feed(self, data: bytes) -> None:
        """Parse the next piece of the body. Raises HubError 400 where it isn't a commit, and 413 for a large file."""
        view = memoryview(data)
        while view:
            view = self._content_of(view) if self._content is not None else self._line_of(view)

    def finish(self) -> list[Line]:
        """Return every line, once the body has ended. Raises HubError 400 for an incomplete commit."""
        if self._content is not None:
            raise bad_request("the commit ends in the middle of a file: send it again")
        self._end()
        return self.lines

    def close(self) -> None:
        """Close the files."""
        for file in [self._file, *(line.file for line in self.lines)]:
            if file is not None:
                file.close()

    def _line_of(self, view: memoryview) -> memoryview:
        """Read the line up to its end or to the beginning of its content, and return the rest of the piece."""
        piece = bytes(view[: LINE + 1])
        end = piece.find(b"\n")
        start = len(self._rest)
        self._rest += piece if end < 0 else piece[:end]
        match = _CONTENT.search(self._rest, max(self._after, start - _TAIL))
        if match is not None:
            consumed = match.end() - start
            if self._file is not None:
                raise bad_request("a line of the commit has its content twice: send one")
            del self._rest[match.end() :]
            self._file = self._new_file()
            self._content = _Base64(self._file, self._limit)
            return view[consumed:]
        if len(self._rest) > LINE:
            raise bad_request(f"a line of the commit has more than {LINE} bytes without its content: make it shorter")
        if end < 0:
            return view[len(piece) :]
        self._end()
        return view[end + 1 :]

    def _content_of(self, view: memoryview) -> memoryview:
        assert self._content is not None
        piece = bytes(view)
        end = piece.find(b'"')
        self._content.feed(piece if end < 0 else piece[:end])
        if end < 0:
            return view[len(piece) :]
        self._content.finish()
        self._content = None
        self._rest += b'"'
        self._after = len(self._rest)
        return view[end + 1 :]

    def _end(self) -> None:
        line, file = bytes(self._rest).strip(), self._file
        self._rest.clear()
        self._after, self._file = 0, None
        self._line_count += 1
        if self._line_count > OPERATIONS + 2:  # with the header, and the end after the last line
            raise bad_request(f"a commit has {OPERATIONS} operations at most: push what belongs to one adapter")
        if not line:
            return
        self._size += len(line)
        if self._size > LINES:
            raise bad_request(f"a commit has more than {LINES} bytes without its files: push fewer of them at once")
        if file is not None:
            file.finish()  # closed, since a commit may have many files
        try:
            document = parse_json(line, object_pairs_hook=_unique)
            key, value = document["key"], document["value"]
            if not (isinstance(key, str) and isinstance(value, dict) and document.keys() == {"key", "value"}):
                raise ValueError("it isn't a key and a value")
            if len(value) > _FIELDS or any(isinstance(item, (list, dict)) for item in value.values()):
                raise ValueError("it has more than an operation needs")  # all lines are in memory together
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise bad_request(f"line {len(self.lines) + 1} of the commit can't be read: {str(error)[:200]}") from error
        if file is not None and (key != "file" or value.get("content") != ""):
            raise bad_request("only a file has a content, in its value: send the commit as the Hub's client does")
        self.lines.append(Line(key, value, file))


class _Base64:
    """Decode base64 from pieces, strictly."""

    def __init__(self, file: BlobWriter, limit: int) -> None:
        self._file = file
        self._limit = limit
        self._left = b""
        self._ended = False

    def feed(self, text: bytes) -> None:
        """Decode the next piece. Raises HubError 400 for invalid base64, and 413 for a file that is too large."""
        text = self._left + text
        is_open = text.endswith(b"\\")  # the first half of an escaped slash
        text = (text[:-1] if is_open else text).replace(b"\\/", b"/")  # JSON may escape a slash
        complete = len(text) // 4 * 4
        self._decode(text[:complete])
        self._left = text[complete:] + (b"\\" if is_open else b"")

    def finish(self) -> None:
        """Check that the base64 is complete. Raises HubError 400 where it isn't."""
        if self._left:
            raise bad_request("a file's base64 is cut short: send it again")

    def _decode(self, text: bytes) -> None:
        if not text:
            return
        if self._ended:
            raise bad_request("a file's base64 goes on after its end: send it again")
        try:
            data = binascii.a2b_base64(text, strict_mode=True)
        except binascii.Error as error:
            raise bad_request(f"a file's base64 can't be decoded: {error}") from error
        self._ended = text.endswith(b"=")
        if self._file.size + len(data) > self._limit:
            raise HubError(413, f"a file has more than the {self._limit} bytes that this server takes")
        self._file.write(data)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):  # two readers of the same JSON may use different ones
        raise ValueError("a key stands there twice")
    return result
