"""The body of a commit, read as it comes: one JSON object a line, with files in base64 that go straight to the disk.

A file of any size is one line, so that no line may be held. The text after the key `content` is decoded as it passes;
what is left of the line is small, and parsed as JSON, which alone decides what the line says.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from adapterhub_fin_registry.hub_server.blob_writer import BlobWriter
from adapterhub_fin_registry.hub_server.body import parsed
from adapterhub_fin_registry.hub_server.errors import HubError, bad_request

LINE: Final = 2**17  # bytes of a line beside its content
LINES: Final = 4 * 2**20  # of all lines: they are held at once
OPERATIONS: Final = 2000
_FIELDS: Final = 16  # of an operation, where the Hub's client writes five
# No valid JSON has these bytes inside a string, where a quote is escaped, or begins a string's end.
_CONTENT: Final = re.compile(rb'"content"[ \t]*:[ \t]*"')
_TAIL: Final = 128  # bytes that may hold the beginning of that pattern


@dataclass
class Line:
    """One line: its key, its value, and the file that its content became."""

    key: str
    value: dict[str, Any]
    file: BlobWriter | None = None


class CommitReader:
    """Takes a body in pieces of any size; `lines` has what was read so far."""

    def __init__(self, new_file: Callable[[], BlobWriter], limit: int) -> None:
        self._new_file = new_file
        self._limit = limit
        self._rest = bytearray()  # of the line, without its content
        self._after = 0  # where the search for a content goes on
        self._file: BlobWriter | None = None
        self._content: _Base64 | None = None
        self._ended = 0  # lines, the empty ones too
        self._held = 0  # bytes of lines beside their contents
        self.lines: list[Line] = []

    def feed(self, data: bytes) -> None:
        """Read on; a HubError where the body isn't a commit."""
        view = memoryview(data)
        while view:
            view = self._content_of(view) if self._content is not None else self._line_of(view)

    def finish(self) -> list[Line]:
        """Every line, once the body has ended."""
        if self._content is not None:
            raise bad_request("the commit ends in the middle of a file: send it again")
        self._end()
        return self.lines

    def close(self) -> None:
        """Let go of the files."""
        for file in [self._file, *(line.file for line in self.lines)]:
            if file is not None:
                file.close()

    def _line_of(self, view: memoryview) -> memoryview:
        """Take what belongs to the line, up to its end or to the beginning of its content."""
        piece = bytes(view[: LINE + 1])
        end = piece.find(b"\n")
        start = len(self._rest)
        self._rest += piece if end < 0 else piece[:end]
        found = _CONTENT.search(self._rest, max(self._after, start - _TAIL))
        if found is not None:
            taken = found.end() - start
            if self._file is not None:
                raise bad_request("a line of the commit has its content twice: send one")
            del self._rest[found.end() :]
            self._file = self._new_file()
            self._content = _Base64(self._file, self._limit)
            return view[taken:]
        if len(self._rest) > LINE:
            raise bad_request(f"a line of the commit has more than {LINE} bytes beside its content: make it shorter")
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
        self._ended += 1
        if self._ended > OPERATIONS + 2:  # the header, and what is after the last line's end
            raise bad_request(f"a commit has {OPERATIONS} operations at most: push what belongs to one adapter")
        if not line:
            return
        self._held += len(line)
        if self._held > LINES:
            raise bad_request(f"a commit has more than {LINES} bytes beside its files: push fewer of them at once")
        if file is not None:
            file.finish()  # and closed: a commit of many files doesn't hold them all open
        try:
            said = parsed(line, object_pairs_hook=_unique)
            key, value = said["key"], said["value"]
            if not (isinstance(key, str) and isinstance(value, dict) and said.keys() == {"key", "value"}):
                raise ValueError("it isn't a key and a value")
            if len(value) > _FIELDS or any(isinstance(each, (list, dict)) for each in value.values()):
                raise ValueError("no operation says so much")  # and all are held at once
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise bad_request(f"line {len(self.lines) + 1} of the commit can't be read: {str(error)[:200]}") from error
        if file is not None and (key != "file" or value.get("content") != ""):
            raise bad_request("only a file has a content, in its value: send the commit as the Hub's client does")
        self.lines.append(Line(key, value, file))


class _Base64:
    """Decodes base64 in pieces, strictly."""

    def __init__(self, file: BlobWriter, limit: int) -> None:
        self._file = file
        self._limit = limit
        self._left = b""
        self._ended = False

    def feed(self, text: bytes) -> None:
        text = self._left + text
        is_open = text.endswith(b"\\")  # half of an escaped slash, whose other half comes with the next piece
        text = (text[:-1] if is_open else text).replace(b"\\/", b"/")  # as JSON may write a slash
        whole = len(text) // 4 * 4
        self._decode(text[:whole])
        self._left = text[whole:] + (b"\\" if is_open else b"")

    def finish(self) -> None:
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
    found = dict(pairs)
    if len(found) != len(pairs):  # of which two readers may take one each
        raise ValueError("a key stands there twice")
    return found
