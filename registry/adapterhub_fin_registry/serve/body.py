"""Bodies of requests: never held whole beyond a limit, and never waited for without end."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from adapterhub_fin_registry.serve.errors import HubError, bad_request

SMALL: Final = 4 * 2**20
_BATCH: Final = 2**20
PATIENCE: Final = 60.0  # seconds without a byte
SLOWEST: Final = 2**14  # bytes a second, over the whole of a body


async def stream(request: Request, take: Callable[[bytes], object], limit: int) -> None:
    """Give a body to a function in pieces of about a megabyte, in a thread of their own; 413 beyond the limit."""
    said = request.headers.get("content-length", "")
    if said.isdigit() and int(said[:20]) > limit:
        raise _too_large(limit)
    pieces = request.stream().__aiter__()
    batch, size = bytearray(), 0
    started = anyio.current_time()
    while True:
        try:
            with anyio.fail_after(PATIENCE):
                piece = await anext(pieces, b"")
        except TimeoutError as error:
            raise _too_slow() from error
        except ClientDisconnect as error:
            raise bad_request("the body broke off: send it again") from error
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        if anyio.current_time() - started > PATIENCE + size / SLOWEST:
            raise _too_slow()
        batch += piece
        # The stream's end is an empty piece, which none of its others is but the last.
        if len(batch) >= _BATCH or (not piece and batch):
            await run_in_threadpool(take, bytes(batch))
            batch.clear()
        if not piece:
            return


async def read(request: Request, limit: int = SMALL) -> bytes:
    """A body that is small."""
    found: list[bytes] = []
    await stream(request, found.append, limit)
    return b"".join(found)


async def read_object(request: Request) -> dict[str, Any]:
    """The JSON object of a small body."""
    data = await read(request)
    try:
        value = await run_in_threadpool(parsed, data or b"{}")
    except (ValueError, RecursionError) as error:
        why = str(error)[:200]
        raise bad_request(f"the body can't be read as JSON ({why}): send it as the Hub's client does") from error
    if not isinstance(value, dict):
        raise bad_request("the body isn't a JSON object: send it as the Hub's client does")
    return value


def parsed(data: bytes, **options: Any) -> Any:
    """The value of some JSON; a ValueError where it isn't JSON, or holds halves of surrogates, which no text can."""
    value = json.loads(data, **options)
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("a text in it isn't Unicode") from error
    return value


def text(value: Any, what: str, limit: int = 512) -> str:
    """A text that a client sent; a HubError where it is none, or too long."""
    if not isinstance(value, str) or len(value) > limit:
        raise bad_request(f"{what} must be a text of at most {limit} characters")
    return value


def _too_large(limit: int) -> HubError:
    return HubError(413, f"the body has more than the {limit} bytes that this server takes: send less")


def _too_slow() -> HubError:
    return HubError(408, "the body comes too slowly: send it again")
