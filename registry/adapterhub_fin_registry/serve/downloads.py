"""Files on their way out: verified, then sent in pieces from the very descriptor that was verified."""

from __future__ import annotations

import re
from typing import BinaryIO, Final

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from adapterhub_fin_registry.memory import remembered
from adapterhub_fin_registry.serve.errors import HubError
from adapterhub_fin_registry.serve.tree import Blob

_PIECE: Final = 2**20
_STALLED: Final = 300.0  # seconds that a client may take for one piece
_RANGE: Final = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


class FileResponse(Response):
    """A file, or a part of it, in constant memory."""

    def __init__(self, file: BinaryIO, start: int, size: int, status: int, headers: dict[str, str]) -> None:
        super().__init__(None, status, headers)
        self._file = file
        self._start, self._size = start, size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            left, request = self._size, Request(scope, receive)
            await run_in_threadpool(self._file.seek, self._start)
            while left and not await request.is_disconnected():  # what is sent then is dropped, and read for nobody
                piece = await run_in_threadpool(self._file.read, min(_PIECE, left))
                if not piece:
                    raise OSError("a file became shorter while it was sent")
                left -= len(piece)
                with anyio.fail_after(_STALLED):
                    await send({"type": "http.response.body", "body": piece, "more_body": left > 0})
            if self._size == 0:
                await send({"type": "http.response.body", "body": b""})
        finally:
            self._file.close()


def answer(request: Request, blob: Blob, commit: str, name: str, registry: str | None) -> Response:
    """A file's bytes, or its headers alone for HEAD."""
    headers = {
        "ETag": f'"{blob.sha256}"',
        "X-Repo-Commit": commit,
        "X-Linked-Size": str(blob.size),
        "X-Linked-Etag": f'"{blob.sha256}"',
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream",  # nothing of a stranger's is ever shown as a page
        "X-Content-Type-Options": "nosniff",
        "Content-Disposition": f'attachment; filename="{_plain(name)}"',
        "Cache-Control": "private, no-cache",
    }
    start, size = _asked(request.headers.get("range"), blob.size)
    is_part = size != blob.size
    headers["Content-Length"] = str(size)
    if is_part:
        headers["Content-Range"] = f"bytes {start}-{start + size - 1}/{blob.size}"
    status = 206 if is_part else 200
    if request.method == "HEAD":
        return Response(None, status, headers)
    if blob.data is not None:
        return Response(blob.data[start : start + size], status, headers)
    with remembered(registry) as memory:
        file = blob.open(memory)
    return FileResponse(file, start, size, status, headers)


def _asked(header: str | None, size: int) -> tuple[int, int]:
    """Where to begin, and how many bytes; the whole where no single range is asked for."""
    found = _RANGE.fullmatch(header.strip()) if header else None
    if found is None or not (found[1] or found[2]):
        return 0, size
    if not found[1]:
        length = min(int(found[2]), size)
        start, end = size - length, size
    else:
        start, end = int(found[1]), min(int(found[2]) + 1, size) if found[2] else size
    if start >= end:
        told = {"Content-Range": f"bytes */{size}"}
        raise HubError(416, f"the file has {size} bytes, and the range asked for holds none of them", headers=told)
    return start, end - start


def _plain(name: str) -> str:
    return "".join(letter if (letter.isalnum() and letter.isascii()) or letter in "._-" else "_" for letter in name)
