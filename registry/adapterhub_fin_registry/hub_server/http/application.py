"""The server as an ASGI application: its parts put together, and how their errors are told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Final

import anyio
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from adapterhub_fin_registry.errors import AdapterHubError
from adapterhub_fin_registry.hub_server.errors import Code, HubError, told
from adapterhub_fin_registry.hub_server.http.access import Access, Metrics, log
from adapterhub_fin_registry.hub_server.http.guard import Guard
from adapterhub_fin_registry.hub_server.http.reads import Reads
from adapterhub_fin_registry.hub_server.http.routes import Endpoint, hub_routes
from adapterhub_fin_registry.hub_server.http.writes import Writes
from adapterhub_fin_registry.hub_server.push.lfs import Uploads
from adapterhub_fin_registry.hub_server.push.quota import Quota
from adapterhub_fin_registry.hub_server.repo.card import card_of
from adapterhub_fin_registry.hub_server.repo.listing import Listing
from adapterhub_fin_registry.hub_server.repo.repositories import Repositories, without_paths
from adapterhub_fin_registry.hub_server.repo.state import State
from adapterhub_fin_registry.hub_server.repo.write_locks import Turns
from adapterhub_fin_registry.hub_server.settings import Settings
from adapterhub_fin_registry.hub_server.tokens import Tokens
from adapterhub_fin_registry.incoming import Intake
from adapterhub_fin_registry.registry import Registry

SWEEP: Final = 3600.0  # seconds between two looks for uploads that no commit names


def application(registry: Registry, state: State, intake: Intake, settings: Settings | None = None) -> Starlette:
    """Serve a registry; `state` is a folder that no other server uses."""
    settings = settings or Settings()
    repositories = Repositories(registry, state, card_of, private=settings.private)
    guard = Guard(repositories, Tokens(state.folder), settings)
    metrics = Metrics()
    reads = Reads(repositories, guard, Listing(repositories), settings)
    quota, turns = Quota(repositories, settings), Turns(guard.check_writable)
    uploads = Uploads(state, settings.upload_limit, quota)
    writes = Writes(repositories, guard, uploads, intake, settings, metrics, quota, turns)

    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, AdapterHubError)
        answer = told(error)
        if answer.status >= 500:
            _write_down(request, error)
            return answer.response()
        return HubError(answer.status, without_paths(answer.message, registry)).response()

    served = Starlette(
        routes=[
            Route("/health", _health(registry)),
            Route("/metrics", _figures(guard, metrics)),
            *hub_routes(reads, writes),
        ],
        middleware=[Middleware(Access, metrics=metrics)],
        lifespan=_sweeping(state, turns),
        exception_handlers={HubError: _hub_error, AdapterHubError: ours, HTTPException: _unknown, OSError: _disk},
    )
    served.router.redirect_slashes = False  # a redirect's target would be made of the client's own headers
    return served


def _sweeping(state: State, turns: Turns) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(served: Starlette) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_sweep, state, turns)
            yield
            tasks.cancel_scope.cancel()

    return lifespan


async def _sweep(state: State, turns: Turns) -> None:
    """Remove what was uploaded and named by no commit, again and again, each repository in its turn."""
    while True:
        await anyio.sleep(SWEEP)
        for name in await run_in_threadpool(lambda: list(state.places())):
            with suppress(HubError):  # the server is read-only for now
                try:
                    await turns.take({name}, state.sweep, name)
                except (OSError, AdapterHubError) as error:  # of one repository, which keeps no other from it
                    log.error("old uploads to %s can't be removed: %s", name, error)


def _health(registry: Registry) -> Endpoint:
    async def health(request: Request) -> Response:
        await run_in_threadpool(registry.mark)
        return PlainTextResponse("ok\n")

    return health


def _figures(guard: Guard, metrics: Metrics) -> Endpoint:
    async def figures(request: Request) -> Response:
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        if await guard.token(request) is None:
            raise HubError(401, "figures are for those with a token: ask whoever runs this server for one")
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return figures


async def _hub_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HubError)
    return error.response()


async def _unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        is_repository = request.url.path.startswith(("/api/models/", "/api/datasets/", "/api/spaces/"))
        code: Code | None = "RepoNotFound" if is_repository or "/resolve/" in request.url.path else None
        return HubError(404, "there is nothing here: this server has models alone", code).response()
    return HubError(error.status_code, str(error.detail)).response()


async def _disk(request: Request, error: Exception) -> Response:
    _write_down(request, error)
    return HubError(507, "the server's disk failed: tell whoever runs it, and send it again then").response()


def _write_down(request: Request, error: Exception) -> None:
    """What a client isn't told, for whoever runs the server."""
    log.error("request %s: %s", request.scope["state"]["request_id"], error)
