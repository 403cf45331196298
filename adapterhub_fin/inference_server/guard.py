"""Authenticate requests, bound their bodies, and stop computing for clients that have left."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adapterhub_fin.inference_server.errors import ApiError
from adapterhub_fin.inference_server.settings import InferenceSettings
from adapterhub_fin.inference_server.tokens import TokenFile
from adapterhub_fin_registry.hub_server import body
from adapterhub_fin_registry.hub_server.errors import HubError

PATIENCE: Final = 60.0  # seconds that a client may take to receive a part of an answer
Result = TypeVar("Result")


class Guard:
    """Check a request's token, then read its body."""

    def __init__(self, settings: InferenceSettings) -> None:
        self._settings = settings
        self._tokens = TokenFile(settings.token_file) if settings.token_file is not None else None

    async def check(self, request: Request) -> None:
        """Raise ApiError 401 without a token that the file holds; without a file everybody may ask."""
        if self._tokens is None:
            return
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        name = await run_in_threadpool(self._tokens.find, secret.strip()) if scheme.lower() == "bearer" else None
        if name is None:
            missing = "no bearer token was sent" if not secret else "the token isn't one of this server's"
            raise ApiError(401, f"{missing}: ask whoever runs it for one", code="invalid_api_key")
        request.scope["state"]["token"] = name

    async def document(self, request: Request) -> dict[str, Any]:
        """Return the JSON object in a request's body. Raises ApiError 401, and 400, 408 or 413 for the body."""
        await self.check(request)
        try:
            return await body.read_object(request, self._settings.max_body)
        except HubError as error:
            raise ApiError(error.status, error.message) from error


async def while_connected(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Return the result of work, which is cancelled once the client has left. Raises ApiError 499 then."""
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ApiError(499, "the client has left")
        return working.result()
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.wait((working, watching))


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class Patience:
    """Close the connection of a client that doesn't receive its answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_soon(message: Message) -> None:
            async with asyncio.timeout(PATIENCE):
                await send(message)

        await self._app(scope, receive, send_soon if scope["type"] == "http" else send)
