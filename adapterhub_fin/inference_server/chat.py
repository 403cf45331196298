"""Answer chat completions, whole or as server-sent events."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from adapterhub_fin.engine.pool.answers import PoolText
from adapterhub_fin.engine.pool.serving import Serving
from adapterhub_fin.engine.pool.streams import ServedStream
from adapterhub_fin.errors import AdapterHubError
from adapterhub_fin.inference_server.errors import server_error, to_api_error, wrong_field
from adapterhub_fin.inference_server.fields import (
    WHEN,
    check_fields,
    flag,
    messages_of,
    model_of,
    options_of,
    timeout_of,
    when_of,
)
from adapterhub_fin.inference_server.guard import Guard, while_connected
from adapterhub_fin.inference_server.stops import Stops
from adapterhub_fin_registry.hub_server.http.access import log

# The options of generation, by the names of the fields; the newer name of two goes first.
_OPTIONS: Final = {
    "max_tokens": "max_new_tokens",
    "max_completion_tokens": "max_new_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "repetition_penalty": "repetition_penalty",
    "seed": "seed",
}
_FIELDS: Final = WHEN | {"model", "messages", "timeout", "stream", "stream_options", "stop", *_OPTIONS}


class ChatRoutes:
    """Answer `POST /v1/chat/completions`."""

    def __init__(self, guard: Guard, serving: Serving, timeout: float) -> None:
        self._guard, self._serving, self._timeout = guard, serving, timeout

    async def complete(self, request: Request) -> Response:
        """Answer a conversation with what the version writes after it."""
        document = await self._guard.document(request)
        check_fields(document, _FIELDS)
        model, messages, stops = model_of(document), messages_of(document), Stops.read(document.get("stop"))
        when = when_of(document)
        if isinstance(when["as_of"], list):
            raise wrong_field("as_of", "as_of must be one instant here, such as 2021-06-30")
        how = {**when, **options_of(document, _OPTIONS), "timeout": timeout_of(document, self._timeout)}
        request_id = str(request.scope["state"]["request_id"])
        if flag(document, "stream"):
            return await self._streamed(model, messages, how, stops, _with_usage(document), request_id)
        answer = await while_connected(request, self._serving.generate(messages, model, **how))
        text, stopped = stops.cut(answer.value)
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop" if stopped or answer.ended else "length",
            "logprobs": None,
        }
        head = _head(request_id, "chat.completion", answer.reference, answer.digest)
        return JSONResponse({**head, "choices": [choice], "usage": _usage(answer)})

    async def _streamed(
        self,
        model: str,
        messages: Sequence[Any],
        how: dict[str, Any],
        stops: Stops,
        with_usage: bool,
        request_id: str,
    ) -> Response:
        """Return a response that streams; what can be refused is refused before its first byte."""
        async with AsyncExitStack() as stack:
            stream = await stack.enter_async_context(self._serving.stream(messages, model, **how))
            opened = stack.pop_all()
        events = _events(stream, stops, with_usage, request_id)
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        return StreamResponse(opened, events, media_type="text/event-stream", headers=headers)


class StreamResponse(StreamingResponse):
    """Send events, and leave the text's stream however the response ends."""

    def __init__(self, opened: AsyncExitStack, events: AsyncIterator[bytes], **how: Any) -> None:
        super().__init__(events, **how)
        self._opened = opened

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send the events, then leave the stream: a client that has left stops it too."""
        async with self._opened:
            await super().__call__(scope, receive, send)


async def _events(stream: ServedStream, stops: Stops, with_usage: bool, request_id: str) -> AsyncIterator[bytes]:
    head = _head(request_id, "chat.completion.chunk", stream.reference, stream.digest)
    yield _event(_chunk(head, {"role": "assistant", "content": ""}))
    stopped = False
    try:
        pieces = stops.until(stream)
        async for piece in pieces:
            yield _event(_chunk(head, {"content": piece}))
        stopped = stops.found
    except AdapterHubError as error:
        yield _event(to_api_error(error, request_id).body())
        return
    except Exception:
        log.exception("request %s failed", request_id)
        yield _event(server_error(request_id).body())
        return
    ended = stopped or (stream.answer is not None and stream.answer.ended)
    yield _event(_chunk(head, {}, "stop" if ended else "length"))
    if with_usage:
        usage = _usage(stream.answer) if stream.answer is not None else None
        yield _event({**head, "choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


def _event(document: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(document, ensure_ascii=False).encode() + b"\n\n"


def _chunk(head: dict[str, Any], delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}]}


def _head(request_id: str, kind: str, reference: str, digest: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{request_id}",
        "object": kind,
        "created": int(time.time()),
        "model": reference,
        "reference": reference,
        "digest": digest,
    }


def _usage(answer: PoolText) -> dict[str, int]:
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.new_tokens,
        "total_tokens": answer.prompt_tokens + answer.new_tokens,
    }


def _with_usage(document: dict[str, Any]) -> bool:
    options = document.get("stream_options") or {}
    if not isinstance(options, dict) or set(options) - {"include_usage", "include_obfuscation"}:
        raise wrong_field("stream_options", "stream_options may hold include_usage, and nothing else")
    return bool(options.get("include_usage"))
