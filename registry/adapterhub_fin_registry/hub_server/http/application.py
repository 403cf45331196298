"""Build the server as an ASGI application: its routes, its background task and its error handlers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
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
from adapterhub_fin_registry.hub_server.errors import Code, HubError, to_hub_error
from adapterhub_fin_registry.hub_server.http.access import Access, Metrics, log
from adapterhub_fin_registry.hub_server.http.guard import Guard
from adapterhub_fin_registry.hub_server.http.reads import Reads
from adapterhub_fin_registry.hub_server.http.writes import NO_XET_PATH, Writes
from adapterhub_fin_registry.hub_server.push.lfs import Uploads
from adapterhub_fin_registry.hub_server.push.quota import Quota
from adapterhub_fin_registry.hub_server.repo.card import card_of
from adapterhub_fin_registry.hub_server.repo.listing import Listing
from adapterhub_fin_registry.hub_server.repo.repositories import Repositories, WriteLocks, without_paths
from adapterhub_fin_registry.hub_server.repo.state import State
from adapterhub_fin_registry.hub_server.settings import Settings
from adapterhub_fin_registry.hub_server.tokens import Tokens
from adapterhub_fin_registry.incoming import Intake
from adapterhub_fin_registry.registry import Registry

SWEEP: Final = 3600.0  # seconds between two searches for uploads without a commit
Endpoint = Callable[[Request], Awaitable[Response]]
MODEL: Final = "/api/models/{namespace}/{name}"
LFS: Final = "/{namespace}/{name}.git/info/lfs/objects"


def application(registry: Registry, state: State, intake: Intake, settings: Settings | None = None) -> Starlette:
    """Return the application that serves a registry; `state` is a folder that no other server uses."""
    settings = settings or Settings()
    repositories = Repositories(registry, state, card_of, private=settings.private)
    guard = Guard(repositories, Tokens(state.folder), settings)
    metrics = Metrics()
    reads = Reads(repositories, guard, Listing(repositories), settings)
    quota, write_locks = Quota(repositories, settings), WriteLocks(guard.check_writable)
    uploads = Uploads(state, settings.upload_limit, quota)
    writes = Writes(repositories, guard, uploads, intake, settings, metrics, quota, write_locks)

    async def registry_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, AdapterHubError)
        answer = to_hub_error(error)
        if answer.status >= 500:
            _log_error(request, error)
            return answer.response()
        return HubError(answer.status, without_paths(answer.message, registry)).response()

    served = Starlette(
        routes=[
            Route("/health", _health(registry)),
            Route("/metrics", _metrics(guard, metrics)),
            *hub_routes(reads, writes),
        ],
        middleware=[Middleware(Access, metrics=metrics)],
        lifespan=_sweeping(state, write_locks),
        exception_handlers={
            HubError: _hub_error,
            AdapterHubError: registry_error,
            HTTPException: _unknown,
            OSError: _disk,
        },
    )
    served.router.redirect_slashes = False  # the target of a redirect would come from the client's headers
    return served


def hub_routes(reads: Reads, writes: Writes) -> list[Route]:
    """Return the Hub's endpoints, in the order in which they are matched."""
    table: list[tuple[str, str, Endpoint]] = [
        ("GET", "/api/whoami-v2", reads.whoami),
        ("POST", "/api/validate-yaml", reads.validate_yaml),
        ("GET", "/api/models", reads.models),
        ("POST", "/api/repos/create", writes.create),
        ("DELETE", "/api/repos/delete", writes.delete),
        ("POST", "/api/repos/move", writes.move),
        ("GET", MODEL, reads.model),
        ("GET", MODEL + "/revision/{revision:path}", reads.model),
        ("GET", MODEL + "/refs", reads.refs),
        ("GET", MODEL + "/commits/{revision:path}", reads.commits),
        ("GET", MODEL + "/tree/{revision}", reads.tree),
        ("GET", MODEL + "/tree/{revision}/{path:path}", reads.tree),
        ("POST", MODEL + "/paths-info/{revision:path}", reads.paths),
        ("GET", MODEL + "/auth-check", reads.auth_check),
        ("GET", MODEL + "/auth-check/write", writes.auth_check),
        ("GET", MODEL + "/xet-write-token/{revision:path}", writes.xet),
        ("GET", NO_XET_PATH, writes.no_xet),
        ("PUT", MODEL + "/settings", writes.settings),
        ("POST", MODEL + "/preupload/{revision:path}", writes.preupload),
        ("POST", MODEL + "/commit/{revision:path}", writes.commit),
        ("POST", MODEL + "/tag/{revision:path}", writes.tag),
        ("DELETE", MODEL + "/tag/{revision:path}", writes.untag),
        ("POST", MODEL + "/branch/{revision:path}", writes.branch),
        ("DELETE", MODEL + "/branch/{revision:path}", writes.unbranch),
        ("POST", LFS + "/batch", writes.batch),
        ("POST", LFS + "/verify", writes.verify),
        ("PUT", LFS + "/{oid}", writes.put),
        ("GET", "/api/settings/repositories", reads.no_list),
        ("GET", "/api/organizations/{organization}/settings/repositories", reads.no_list),
        ("GET", "/{namespace}/{name}/resolve/{revision}/{path:path}", reads.resolve),
        ("GET", "/{rest:path}/info/refs", reads.no_git),  # what git clone, fetch and push request
    ]
    rest = [(method, MODEL + "/{rest:path}", reads.unknown) for method in ("GET", "POST", "PUT", "DELETE")]
    return [Route(path, endpoint, methods=[method]) for method, path, endpoint in [*table, *rest]]


def _sweeping(state: State, write_locks: WriteLocks) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(served: Starlette) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_sweep, state, write_locks)
            yield
            tasks.cancel_scope.cancel()

    return lifespan


async def _sweep(state: State, write_locks: WriteLocks) -> None:
    """Remove old uploads that no commit refers to, every SWEEP seconds, under each repository's write lock."""
    while True:
        await anyio.sleep(SWEEP)
        for name in await run_in_threadpool(lambda: list(state.stored_names())):
            with suppress(HubError):  # the server is read-only for now
                try:
                    await write_locks.take({name}, state.sweep, name)
                except (OSError, AdapterHubError) as error:  # go on with the other repositories
                    log.error("old uploads to %s can't be removed: %s", name, error)


def _health(registry: Registry) -> Endpoint:
    async def health(request: Request) -> Response:
        await run_in_threadpool(registry.mark)
        return PlainTextResponse("ok\n")

    return health


def _metrics(guard: Guard, metrics: Metrics) -> Endpoint:
    async def metrics_page(request: Request) -> Response:
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        if await guard.token(request) is None:
            raise HubError(401, "metrics need a token: ask whoever runs this server for one")
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return metrics_page


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
    _log_error(request, error)
    return HubError(507, "the server's disk failed: tell whoever runs it, and send it again then").response()


def _log_error(request: Request, error: Exception) -> None:
    """Log an error whose details the client doesn't get."""
    log.error("request %s: %s", request.scope["state"]["request_id"], error)
