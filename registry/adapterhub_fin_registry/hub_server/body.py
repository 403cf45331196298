"""Read bodies of requests with a limit on their size, their memory and their time."""

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

SMALL: Final = 4 * 2**20  # bytes of a body that is read into memory
ANONYMOUS: Final = 2**20  # bytes of a body without a token
VALUES: Final = 50_000  # strings and delimiters of a JSON body, of which a byte can become a hundred in memory
_BATCH: Final = 2**20  # bytes that are passed on at once
PATIENCE: Final = 60.0  # seconds without a byte
ANONYMOUS_PATIENCE: Final = 15.0  # seconds to read and answer a body without a token
AT_ONCE: Final = 8  # bodies without a token that are in memory at once; further ones wait, unread
SLOWEST: Final = 2**14  # bytes a second, averaged over a body


async def stream(request: Request, take: Callable[[bytes], object], limit: int) -> None:
    """Pass a body to `take` in pieces of about a megabyte, in a worker thread.

    Raises HubError 413 for more than `limit` bytes, 408 for a body that is too slow, and 400 for one that breaks off.
    """
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length[:20]) > limit:
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
        # Only the last piece of a stream is empty.
        if len(batch) >= _BATCH or (not piece and batch):
            await run_in_threadpool(take, bytes(batch))
            batch.clear()
        if not piece:
            return


async def read(request: Request, limit: int = SMALL) -> bytes:
    """Return a body of at most `limit` bytes. Raises HubError as `stream` does."""
    pieces: list[bytes] = []
    await stream(request, pieces.append, limit)
    return b"".join(pieces)


async def read_object(request: Request, limit: int = SMALL) -> dict[str, Any]:
    """Return the JSON object in a body of at most `limit` bytes.

    Raises HubError 400 for a body that isn't a JSON object, and as `stream` does.
    """
    data = await read(request, limit)
    try:
        value = await run_in_threadpool(parse_json, data or b"{}")
    except (ValueError, RecursionError) as error:
        why = str(error)[:200]
        raise bad_request(f"the body can't be read as JSON ({why}): send a JSON object") from error
    if not isinstance(value, dict):
        raise bad_request("the body isn't a JSON object: send one")
    return value


class Bodies:
    """Limit the bodies of requests without a token: their number at once, their size and their time."""

    @cached_property
    def _room(self) -> anyio.CapacityLimiter:
        return anyio.CapacityLimiter(AT_ONCE)

    @asynccontextmanager
    async def room(self, *, has_token: bool) -> AsyncIterator[int]:
        """Wait until a body may be read and answered, and yield the bytes that it may have.

        Raises HubError 408 where a body without a token takes longer than ANONYMOUS_PATIENCE.
        """
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


def parse_json(data: bytes, **options: Any) -> Any:
    """Return the value of JSON in UTF-8; `options` go to `json.loads`.

    Raises ValueError for anything else, for unpaired surrogates, and for more than VALUES strings and delimiters.
    """
    text = data.decode("utf-8-sig")
    for count, _ in enumerate(_TOKENS.finditer(text), 1):  # before Python makes objects of them
        if count > VALUES:
            raise ValueError(f"it holds more than {VALUES} names and values")
    value = json.loads(text, **options)
    if _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise ValueError("a text in it isn't Unicode") from error
    return value


def text(value: Any, what: str, limit: int = 512) -> str:
    """Return a string that a client sent. Raises HubError 400 for another type or more than `limit` characters."""
    if not isinstance(value, str) or len(value) > limit:
        raise bad_request(f"{what} must be a text of at most {limit} characters")
    return value


def _too_large(limit: int) -> HubError:
    return HubError(413, f"the body has more than the {limit} bytes that this server takes: send less")


def _too_slow() -> HubError:
    return HubError(408, "the body comes too slowly: send it again")
