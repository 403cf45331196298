"""Bodies of requests: never held whole beyond a limit, and never waited for without end."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Any, Final

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from adapterhub_fin_registry.hub_server.errors import HubError, bad_request

SMALL: Final = 4 * 2**20
ANONYMOUS: Final = 2**20  # bytes of a body that comes without a token
VALUES: Final = 50_000  # names, values and signs of a JSON body: a byte of it can become a hundred in memory
_BATCH: Final = 2**20
PATIENCE: Final = 60.0  # seconds without a byte
ANONYMOUS_PATIENCE: Final = 15.0  # seconds for all of a body that comes without a token
AT_ONCE: Final = 8  # bodies without a token that are held in memory at once; others wait for their turn, unread
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


async def read_object(request: Request, limit: int = SMALL) -> dict[str, Any]:
    """The JSON object of a small body."""
    data = await read(request, limit)
    try:
        value = await run_in_threadpool(parsed, data or b"{}")
    except (ValueError, RecursionError) as error:
        why = str(error)[:200]
        raise bad_request(f"the body can't be read as JSON ({why}): send it as the Hub's client does") from error
    if not isinstance(value, dict):
        raise bad_request("the body isn't a JSON object: send it as the Hub's client does")
    return value


class Bodies:
    """Room for the bodies of requests that come without a token: few at once, small, and not for long."""

    @cached_property
    def _room(self) -> anyio.CapacityLimiter:
        return anyio.CapacityLimiter(AT_ONCE)

    @asynccontextmanager
    async def room(self, *, has_token: bool) -> AsyncIterator[int]:
        """Wait for room to read a body and answer it; gives the most bytes that it may have."""
        if has_token:
            yield SMALL
            return
        async with self._room:
            try:
                with anyio.fail_after(ANONYMOUS_PATIENCE):
                    yield ANONYMOUS
            except TimeoutError as error:
                raise _too_slow() from error


_TOKENS: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[,:\[{]', re.DOTALL)
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


def parsed(data: bytes, **options: Any) -> Any:
    """The value of some JSON in UTF-8; a ValueError where it isn't that, or holds halves of surrogates or too much."""
    said = data.decode("utf-8-sig")
    for count, _ in enumerate(_TOKENS.finditer(said), 1):  # before any of them is made
        if count > VALUES:
            raise ValueError(f"it holds more than {VALUES} names and values")
    value = json.loads(said, **options)
    if _SURROGATE.search(said):
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
