"""Send files: each is verified, and then sent in pieces from the descriptor that was verified."""

from __future__ import annotations

from typing import BinaryIO, Final

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from adapterhub_fin_registry.hub_server.http import conditions
from adapterhub_fin_registry.hub_server.repo.tree import Blob
from adapterhub_fin_registry.io.hash_cache import remembered

_PIECE: Final = 2**20  # bytes
_STALLED: Final = 300.0  # seconds that a client may take for a piece


class FileResponse(Response):
    """Send `size` bytes of a file from `start`, in constant memory."""

    def __init__(self, file: BinaryIO, start: int, size: int, status: int, headers: dict[str, str]) -> None:
        super().__init__(None, status, headers)
        self._file = file
        self._start, self._size = start, size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            left, request = self._size, Request(scope, receive)
            await run_in_threadpool(self._file.seek, self._start)
            while left and not await request.is_disconnected():  # else it would read on for nobody
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
    """Return the answer with a file or a part of it: only headers for HEAD, and 304 for a client that has it.

    Raises Corrupted for a damaged file, and HubError 412 or 416 for its conditions.
    """
    headers = {
        "ETag": f'"{blob.sha256}"',
        "X-Repo-Commit": commit,
        "X-Linked-Size": str(blob.size),
        "X-Linked-Etag": f'"{blob.sha256}"',
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream",  # so that no browser shows uploaded content as a page
        "X-Content-Type-Options": "nosniff",
        "Content-Disposition": f'attachment; filename="{_plain(name)}"',
        "Cache-Control": "private, no-cache",
    }
    if conditions.is_known(request.headers, blob.sha256):
        remaining = {key: value for key, value in headers.items() if not key.startswith("Content-")}
        return Response(None, 304, remaining)
    # A HEAD request ignores ranges: its headers describe the whole file.
    requested = conditions.part(request.headers, blob.sha256, blob.size) if request.method == "GET" else None
    start, size = requested or (0, blob.size)
    status = 200 if requested is None else 206
    headers["Content-Length"] = str(size)
    if requested is not None:
        headers["Content-Range"] = f"bytes {start}-{start + size - 1}/{blob.size}"
    if request.method == "HEAD":
        return Response(None, status, headers)
    if blob.data is not None:
        return Response(blob.data[start : start + size], status, headers)
    with remembered(registry) as memory:
        file = blob.open(memory)
    return FileResponse(file, start, size, status, headers)


def _plain(name: str) -> str:
    return "".join(letter if (letter.isalnum() and letter.isascii()) or letter in "._-" else "_" for letter in name)
