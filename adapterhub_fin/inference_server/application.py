"""Build an inference server as an ASGI application: its routes, its serving and its error handlers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from adapterhub_fin.engine.pool.pool import Pool
from adapterhub_fin.engine.pool.serving import Serving
from adapterhub_fin.errors import AdapterHubError
from adapterhub_fin.inference_server.chat import ChatRoutes
from adapterhub_fin.inference_server.errors import ApiError, to_api_error
from adapterhub_fin.inference_server.guard import Guard, Patience
from adapterhub_fin.inference_server.metrics import InferenceMetrics
from adapterhub_fin.inference_server.models import Models, model_facts
from adapterhub_fin.inference_server.rows import RowRoutes
from adapterhub_fin.inference_server.settings import InferenceSettings
from adapterhub_fin_registry.hub_server.http.access import Access, log

Endpoint = Callable[[Request], Awaitable[Response]]


def application(pool: Pool, models: Models, settings: InferenceSettings) -> Starlette:
    """Return the application that serves a pool; it begins and ends with its event loop."""
    guard, metrics = Guard(settings), InferenceMetrics(pool)
    serving = Serving(pool, settings.serving)
    rows, chat = (kind(guard, serving, settings.timeout) for kind in (RowRoutes, ChatRoutes))
    assert isinstance(rows, RowRoutes) and isinstance(chat, ChatRoutes)
    table: list[tuple[str, str, Endpoint]] = [
        ("GET", "/health", _health),
        ("GET", "/metrics", _metrics(guard, metrics)),
        ("GET", "/v1/models", _models(guard, models)),
        ("GET", "/v1/models/{id:path}", _model(guard, models, pool)),
        ("POST", "/v1/embeddings", rows.embed),
        ("POST", "/v1/classify", rows.classify),
        ("POST", "/v1/chat/completions", chat.complete),
    ]
    served = Starlette(
        routes=[Route(path, endpoint, methods=[method]) for method, path, endpoint in table],
        middleware=[Middleware(Access, metrics=metrics), Middleware(Patience)],
        lifespan=_lifespan(serving, metrics),
        exception_handlers={ApiError: _api_error, AdapterHubError: _known_error, HTTPException: _unknown},
    )
    served.router.redirect_slashes = False  # the target of a redirect would come from the client's headers
    return served


def _lifespan(serving: Serving, metrics: InferenceMetrics) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(served: Starlette) -> AsyncIterator[None]:
        async with serving:
            metrics.watch(serving)
            yield

    return lifespan


async def _health(request: Request) -> Response:
    return PlainTextResponse("ok\n")


def _metrics(guard: Guard, metrics: InferenceMetrics) -> Endpoint:
    async def metrics_page(request: Request) -> Response:
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        await guard.check(request)
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return metrics_page


def _models(guard: Guard, models: Models) -> Endpoint:
    async def listed(request: Request) -> Response:
        await guard.check(request)
        return JSONResponse({"object": "list", "data": await run_in_threadpool(models.all)})

    return listed


def _model(guard: Guard, models: Models, pool: Pool) -> Endpoint:
    def facts(model: str) -> dict[str, object]:
        [ask] = pool.asks([""], model)
        assert ask.version is not None, "without as_of every row has its version"
        try:
            if not models.serves(ask.version, pool.home(ask.version)):
                raise ApiError(
                    404, f"{ask.version.reference} is for another base than this server's", code="model_not_found"
                )
            return model_facts(model, ask.version)
        finally:
            ask.version.forget()  # the pool remembers versions, and needs nothing more of this one's manifest

    async def one(request: Request) -> Response:
        await guard.check(request)
        return JSONResponse(await run_in_threadpool(facts, request.path_params["id"]))

    return one


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


async def _known_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, AdapterHubError)
    answer = to_api_error(error, _id(request))
    if answer.status >= 500 and answer.code == "server_error":
        log.error("request %s: %s", _id(request), error)
    return answer.response()


async def _unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return ApiError(404, f"there is no {request.url.path[:100]} here", code="unknown_url").response()
    return ApiError(error.status_code, str(error.detail), headers=error.headers).response()


def _id(request: Request) -> str:
    return str(request.scope["state"]["request_id"])
