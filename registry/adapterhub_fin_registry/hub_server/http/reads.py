"""The endpoints that change nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode

import anyio
import anyio.to_thread
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from adapterhub_fin_registry.hub_server import body
from adapterhub_fin_registry.hub_server.base_url import base_url
from adapterhub_fin_registry.hub_server.errors import BAD_TOKEN, HubError, bad_request, no_entry
from adapterhub_fin_registry.hub_server.http import downloads
from adapterhub_fin_registry.hub_server.http.guard import Guard, may_see
from adapterhub_fin_registry.hub_server.push import disclosure as giving
from adapterhub_fin_registry.hub_server.repo import documents
from adapterhub_fin_registry.hub_server.repo.card import head_of
from adapterhub_fin_registry.hub_server.repo.listing import PAGE, Listing, Wanted
from adapterhub_fin_registry.hub_server.repo.repositories import Repositories
from adapterhub_fin_registry.hub_server.repo.repository import MAIN, ServedRepository
from adapterhub_fin_registry.hub_server.settings import Settings

COMMITS: Final = 200  # of one page
NO_GIT: Final = "This server has no git. Its files are downloaded, and pushed, with the Hub's client, of any revision:"
NO_LIST: Final = "this server doesn't say what is whose: `hf models list --author NAMESPACE` lists what a namespace has"
FULL: Final = 100  # repositories of a page with all their files
OPENINGS: Final = 16  # files that are verified at once
_PATHS: Final = 10_000  # that may be asked for at once
_YES: Final = ("1", "true", "True")


class Reads:
    """What a repository holds, and which there are."""

    def __init__(self, repositories: Repositories, guard: Guard, listing: Listing, settings: Settings) -> None:
        self._repositories = repositories
        self._guard = guard
        self._listing = listing
        self._settings = settings
        self._bodies = body.Bodies()

    @cached_property
    def _openings(self) -> anyio.CapacityLimiter:
        """Threads for files on their way out: each may have to be hashed first, which nothing else shall wait for."""
        return anyio.CapacityLimiter(OPENINGS)

    async def whoami(self, request: Request) -> Response:
        token = await self._guard.token(request)
        if token is None:
            raise HubError(401, BAD_TOKEN)
        return JSONResponse(
            {
                "type": "user",
                "name": token.name,
                "fullname": token.name,
                "orgs": [{"type": "org", "name": namespace} for namespace in token.namespaces],
                "auth": {
                    "type": "access_token",
                    "accessToken": {"displayName": token.name, "role": token.rights, "createdAt": token.created_at},
                },
            }
        )

    async def validate_yaml(self, request: Request) -> Response:
        token = await self._guard.token(request)  # none is needed: the client's ModelCard sends none
        async with self._bodies.room(has_token=token is not None) as limit:
            said = await body.read_object(request, limit)
            errors = await run_in_threadpool(_card_errors, said.get("content"))
        return JSONResponse({"errors": errors, "warnings": []}, 400 if errors else 200)

    async def models(self, request: Request) -> Response:
        token = await self._guard.somebody(request)
        wanted = _wanted(request)

        def seen(document: dict[str, Any]) -> bool:
            return may_see(token, document["author"], document["private"])

        found, cursor = await run_in_threadpool(self._listing.page, wanted, seen)
        if request.query_params.get("full") in _YES:
            found = await run_in_threadpool(self._with_files, found, seen)
        headers = {}
        if cursor is not None:
            query = [(key, value) for key, value in request.query_params.multi_items() if key != "cursor"]
            url = f"{base_url(request, self._settings)}/api/models?{urlencode([*query, ('cursor', cursor)])}"
            headers["Link"] = f'<{url}>; rel="next"'
        return await run_in_threadpool(JSONResponse, found, headers=headers)

    def _with_files(self, listed: list[dict[str, Any]], seen: Callable[[Any], bool]) -> list[dict[str, Any]]:
        """The same with their files, but for what was deleted or hidden since it was listed."""
        found = []
        for each in listed:
            with suppress(HubError):
                repository = self._repositories.get(each["id"])
                found.append(documents.repository_document(repository, repository.head))
        return [each for each in found if seen(each)]

    async def model(self, request: Request) -> Response:
        repository = await self._guard.reading(request)
        revision = request.path_params.get("revision", MAIN)
        blobs = request.query_params.get("blobs") in _YES
        return await _json(lambda: documents.repository_document(repository, repository.commit(revision), blobs=blobs))

    async def refs(self, request: Request) -> Response:
        repository = await self._guard.reading(request)
        return await _json(lambda: documents.refs_document(repository.branches(), repository.tags()))

    async def commits(self, request: Request) -> Response:
        repository = await self._guard.reading(request)
        revision, page = request.path_params["revision"], _whole(request, "p", 0, 10**6)

        def listed() -> tuple[list[Any], int]:
            found, count = repository.history(repository.commit(revision), page * COMMITS, COMMITS)
            return [documents.commit_document(each) for each in found], count

        found, count = await run_in_threadpool(listed)
        headers = {"X-Total-Count": str(count)}
        if count > (page + 1) * COMMITS:
            path = f"/api/models/{repository.name}/commits/{revision}"
            headers["Link"] = f'<{base_url(request, self._settings)}{path}?p={page + 1}>; rel="next"'
        return JSONResponse(found, headers=headers)

    async def tree(self, request: Request) -> Response:
        repository = await self._guard.files(request)
        revision, path = _place(request, repository)
        query = request.query_params
        recursive, expand = (query.get(each) in _YES for each in ("recursive", "expand"))
        limit = _whole(request, "limit", documents.PAGE, documents.PAGE, least=1)

        def listed() -> tuple[str, list[dict[str, Any]], str | None]:
            commit = repository.commit(revision)
            page = documents.tree_documents(
                commit, path, recursive=recursive, expand=expand, after=query.get("cursor", ""), limit=limit
            )
            return commit.id, *page

        commit_id, found, last = await run_in_threadpool(listed)
        headers = {}
        if last is not None:  # by the commit's id: a push between two pages doesn't mix two commits
            there = f"/api/models/{repository.name}/tree/{commit_id}" + (f"/{quote(path)}" if path else "")
            more = [(key, value) for key, value in query.multi_items() if key != "cursor"] + [("cursor", last)]
            headers["Link"] = f'<{base_url(request, self._settings)}{there}?{urlencode(more)}>; rel="next"'
        return await run_in_threadpool(JSONResponse, found, headers=headers)

    async def paths(self, request: Request) -> Response:
        repository = await self._guard.files(request)
        has_token = await self._guard.token(request) is not None
        revision = request.path_params["revision"]
        async with self._bodies.room(has_token=has_token) as limit:
            paths, expand = await _asked_paths(request, limit)
            return await _json(lambda: documents.paths_documents(repository.commit(revision), paths, expand=expand))

    async def auth_check(self, request: Request) -> Response:
        await self._guard.files(request)
        return JSONResponse({})

    async def unknown(self, request: Request) -> Response:
        await self._guard.reading(request)  # or a client would be told that a repository isn't there which is
        raise HubError(
            404, f"this server has no {request.path_params['rest'][:100]}: it keeps versions of models alone"
        )

    async def no_git(self, request: Request) -> Response:
        """Tell git, which prints plain text alone, and is told the same of any path."""
        name = request.path_params["rest"].strip("/").removesuffix(".git")
        shown = name if re.fullmatch(r"[A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100}", name) else "NAMESPACE/NAME"
        at = base_url(request, self._settings)
        return PlainTextResponse(f"{NO_GIT}\n  HF_ENDPOINT={at} hf download {shown} --local-dir FOLDER\n", 403)

    async def no_list(self, request: Request) -> Response:
        await self._guard.holder(request)
        raise HubError(404, NO_LIST)

    async def resolve(self, request: Request) -> Response:
        repository = await self._guard.files(request)
        revision, path = _place(request, repository)

        def found() -> Response:
            commit = repository.commit(revision)
            if path not in commit.files:
                raise no_entry(path)
            giving.check_files(repository, commit, [commit.files[path]])
            name = path.rpartition("/")[2]
            return downloads.answer(request, commit.files[path], commit.id, name, self._repositories.registry.id)

        try:
            return await anyio.to_thread.run_sync(found, limiter=self._openings)
        except HubError as error:
            if error.code == "EntryNotFound":
                commit = await run_in_threadpool(repository.commit, revision)
                answer = error.response()
                answer.headers["X-Repo-Commit"] = commit.id  # by which the client remembers that it isn't there
                return answer
            raise


def _place(request: Request, repository: ServedRepository) -> tuple[str, str]:
    """The revision and the path that a request names: a revision may be `refs/heads/main`, slashes and all."""
    revision, path = request.path_params["revision"], request.path_params.get("path", "")
    if revision == "refs" and revision not in repository.kept.branches and revision not in repository.aliases:
        kind, _, rest = path.partition("/")
        ref, _, path = rest.partition("/")
        revision = f"refs/{kind}/{ref}"
    return revision, path


async def _json(make: Callable[[], Any]) -> Response:
    return await run_in_threadpool(lambda: JSONResponse(make()))  # a large answer is encoded in the thread too


async def _asked_paths(request: Request, limit: int) -> tuple[list[str], bool]:
    """The paths of a form, or of JSON, as clients of either kind send them."""
    if request.headers.get("content-type", "").startswith("application/json"):
        said = await body.read_object(request, limit)
        paths = said.get("paths")
        listed = [paths] if isinstance(paths, str) else paths
        if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
            raise bad_request("paths must be a list of texts")
        if len(listed) > _PATHS:
            raise bad_request(f"send at most {_PATHS} paths")
        return listed, bool(said.get("expand"))
    try:
        fields = parse_qsl((await body.read(request, limit)).decode(), keep_blank_values=True, max_num_fields=_PATHS)
    except ValueError as error:
        raise bad_request(f"the form can't be read: send at most {_PATHS} paths") from error
    expand = any(key == "expand" and value in _YES for key, value in fields)
    return [value for key, value in fields if key == "paths"], expand


def _wanted(request: Request) -> Wanted:
    query = request.query_params
    gated = query.get("gated")
    most = min(PAGE, FULL) if query.get("full") in _YES else PAGE
    tags = [*query.getlist("filter"), *query.getlist("pipeline_tag"), *query.getlist("library")]
    return Wanted(
        author=query.get("author"),
        search=query.get("search"),
        filters=[each for tag in tags for each in tag.split(",") if each],
        gated=None if gated is None else gated in _YES,
        sort=query.get("sort"),
        ascending=query.get("direction") in ("1", "asc"),
        limit=_whole(request, "limit", most, most, least=1),
        after=query.get("cursor"),
    )


def _whole(request: Request, key: str, default: int, most: int, least: int = 0) -> int:
    text = request.query_params.get(key)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= least):
        raise bad_request(f"{key} must be a whole number from {least}")
    return min(int(text), most)


def _card_errors(content: Any) -> list[dict[str, str]]:
    """What is wrong with the head of a card, as the client prints it."""
    if not isinstance(content, str):
        return [{"message": "the content must be the text of README.md"}]
    try:
        head_of(content)
    except ValueError as error:
        return [{"message": f"the card can't be read, {error}"}]
    return []
