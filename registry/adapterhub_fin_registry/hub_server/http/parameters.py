"""Read the parameters of requests from their paths, queries and bodies."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from adapterhub_fin_registry.hub_server import body
from adapterhub_fin_registry.hub_server.errors import bad_request
from adapterhub_fin_registry.hub_server.repo.listing import PAGE, ListQuery
from adapterhub_fin_registry.hub_server.repo.repository import ServedRepository

FULL: Final = 100  # repositories in a page with all their files
YES: Final = ("1", "true", "True")
_PATHS: Final = 10_000  # in one request


def revision_and_path(request: Request, repository: ServedRepository) -> tuple[str, str]:
    """Return the revision and the path of a request. A revision may contain slashes, as `refs/heads/main`."""
    revision, path = request.path_params["revision"], request.path_params.get("path", "")
    if revision == "refs" and revision not in repository.state.branches and revision not in repository.aliases:
        kind, _, rest = path.partition("/")
        ref, _, path = rest.partition("/")
        revision = f"refs/{kind}/{ref}"
    return revision, path


async def requested_paths(request: Request, limit: int) -> tuple[list[str], bool]:
    """Return the paths in a form or in JSON, and whether to expand them. Raises HubError 400."""
    if request.headers.get("content-type", "").startswith("application/json"):
        document = await body.read_object(request, limit)
        paths = document.get("paths")
        listed = [paths] if isinstance(paths, str) else paths
        if not isinstance(listed, list) or not all(isinstance(path, str) for path in listed):
            raise bad_request("paths must be a list of texts")
        if len(listed) > _PATHS:
            raise bad_request(f"send at most {_PATHS} paths")
        return listed, bool(document.get("expand"))
    try:
        fields = parse_qsl((await body.read(request, limit)).decode(), keep_blank_values=True, max_num_fields=_PATHS)
    except ValueError as error:
        raise bad_request(f"the form can't be read: send at most {_PATHS} paths") from error
    expand = any(key == "expand" and value in YES for key, value in fields)
    return [value for key, value in fields if key == "paths"], expand


def list_query(request: Request) -> ListQuery:
    """Return the query of a list of repositories. Raises HubError 400 for an invalid limit."""
    query = request.query_params
    gated = query.get("gated")
    most = min(PAGE, FULL) if query.get("full") in YES else PAGE
    tags = [*query.getlist("filter"), *query.getlist("pipeline_tag"), *query.getlist("library")]
    return ListQuery(
        author=query.get("author"),
        search=query.get("search"),
        filters=[part for tag in tags for part in tag.split(",") if part],
        gated=None if gated is None else gated in YES,
        sort=query.get("sort"),
        ascending=query.get("direction") in ("1", "asc"),
        limit=whole_number(request, "limit", most, most, least=1),
        after=query.get("cursor"),
    )


def whole_number(request: Request, key: str, default: int, most: int, least: int = 0) -> int:
    """Return a number in the query, at most `most`. Raises HubError 400 for one below `least` or no number."""
    text = request.query_params.get(key)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= least):
        raise bad_request(f"{key} must be a whole number from {least}")
    return min(int(text), most)
