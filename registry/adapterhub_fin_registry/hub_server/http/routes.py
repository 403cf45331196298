"""Which path is answered by what."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from adapterhub_fin_registry.hub_server.http.reads import Reads
from adapterhub_fin_registry.hub_server.http.writes import NO_XET_PATH, Writes

Endpoint = Callable[[Request], Awaitable[Response]]
MODEL: Final = "/api/models/{namespace}/{name}"
LFS: Final = "/{namespace}/{name}.git/info/lfs/objects"


def hub_routes(reads: Reads, writes: Writes) -> list[Route]:
    """The Hub's endpoints, in the order in which they are tried."""
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
        ("GET", "/{rest:path}/info/refs", reads.no_git),  # of git clone, fetch and push
    ]
    rest = [(method, MODEL + "/{rest:path}", reads.unknown) for method in ("GET", "POST", "PUT", "DELETE")]
    return [Route(path, endpoint, methods=[method]) for method, path, endpoint in [*table, *rest]]
