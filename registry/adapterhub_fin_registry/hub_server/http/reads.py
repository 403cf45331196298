"""Answer the requests that only read."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from typing import Any, Final
from urllib.parse import quote, urlencode

import anyio
import anyio.to_thread
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from adapterhub_fin_registry.hub_server import body
from adapterhub_fin_registry.hub_server.errors import BAD_TOKEN, HubError, no_entry
from adapterhub_fin_registry.hub_server.http import downloads, parameters
from adapterhub_fin_registry.hub_server.http.guard import Guard, may_see
from adapterhub_fin_registry.hub_server.push import disclosure
from adapterhub_fin_registry.hub_server.repo import documents
from adapterhub_fin_registry.hub_server.repo.card import head_of
from adapterhub_fin_registry.hub_server.repo.listing import Listing
from adapterhub_fin_registry.hub_server.repo.repositories import Repositories
from adapterhub_fin_registry.hub_server.repo.repository import MAIN
from adapterhub_fin_registry.hub_server.settings import Settings, base_url

COMMITS: Final = 200  # in a page
NO_GIT: Final = "This server has no git. Download and push files of any revision with the Hub's client:"
NO_LIST: Final = "this server has no list of your repositories: `hf models list --author NAMESPACE` lists a namespace"
OPENINGS: Final = 16  # files that are verified at once


class Reads:
    """Answer the requests that list repositories and read them. Every endpoint raises what `Guard` raises."""

    def __init__(self, repositories: Repositories, guard: Guard, listing: Listing, settings: Settings) -> None:
        self._repositories = repositories
        self._guard = guard
        self._listing = listing
        self._settings = settings
        self._bodies = body.Bodies()

    @cached_property
    def _openings(self) -> anyio.CapacityLimiter:
        """Return the threads for downloads: other requests must not wait while a file is hashed before it is sent."""
        return anyio.CapacityLimiter(OPENINGS)

    async def whoami(self, request: Request) -> Response:
        """Describe the token as a user. Raises HubError 401 without one."""
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
        """Check the metadata of a card."""
        token = await self._guard.token(request)  # may be None: the client's ModelCard sends no token
        async with self._bodies.room(has_token=token is not None) as limit:
            document = await body.read_object(request, limit)
            errors = await run_in_threadpool(_card_errors, document.get("content"))
        return JSONResponse({"errors": errors, "warnings": []}, 400 if errors else 200)

    async def models(self, request: Request) -> Response:
        """List the repositories that the token may see, in pages."""
        token = await self._guard.somebody(request)
        list_query = parameters.list_query(request)

        def seen(document: dict[str, Any]) -> bool:
            return may_see(token, document["author"], document["private"])

        results, cursor = await run_in_threadpool(self._listing.page, list_query, seen)
        if request.query_params.get("full") in parameters.YES:
            results = await run_in_threadpool(self._with_files, results, seen)
        headers = {}
        if cursor is not None:
            query = [(key, value) for key, value in request.query_params.multi_items() if key != "cursor"]
            url = f"{base_url(request, self._settings)}/api/models?{urlencode([*query, ('cursor', cursor)])}"
            headers["Link"] = f'<{url}>; rel="next"'
        return await run_in_threadpool(JSONResponse, results, headers=headers)

    def _with_files(self, listed: list[dict[str, Any]], seen: Callable[[Any], bool]) -> list[dict[str, Any]]:
        """Return the listed repositories with their files, without those deleted or hidden meanwhile."""
        results = []
        for item in listed:
            with suppress(HubError):
                repository = self._repositories.get(item["id"])
                results.append(documents.repository_document(repository, repository.head))
        return [item for item in results if seen(item)]

    async def model(self, request: Request) -> Response:
        """Describe a repository at a revision."""
        repository = await self._guard.reading(request)
        revision = request.path_params.get("revision", MAIN)
        blobs = request.query_params.get("blobs") in parameters.YES
        return await _json(lambda: documents.repository_document(repository, repository.commit(revision), blobs=blobs))

    async def refs(self, request: Request) -> Response:
        """List the branches and tags of a repository."""
        repository = await self._guard.reading(request)
        return await _json(lambda: documents.refs_document(repository.branches(), repository.tags()))

    async def commits(self, request: Request) -> Response:
        """List the history of a revision, newest first, in pages."""
        repository = await self._guard.reading(request)
        revision, page = request.path_params["revision"], parameters.whole_number(request, "p", 0, 10**6)

        def listed() -> tuple[list[Any], int]:
            history, count = repository.history(repository.commit(revision), page * COMMITS, COMMITS)
            return [documents.commit_document(commit) for commit in history], count

        results, count = await run_in_threadpool(listed)
        headers = {"X-Total-Count": str(count)}
        if count > (page + 1) * COMMITS:
            path = f"/api/models/{repository.name}/commits/{revision}"
            headers["Link"] = f'<{base_url(request, self._settings)}{path}?p={page + 1}>; rel="next"'
        return JSONResponse(results, headers=headers)

    async def tree(self, request: Request) -> Response:
        """List a folder of a revision, in pages."""
        repository = await self._guard.files(request)
        revision, path = parameters.revision_and_path(request, repository)
        query = request.query_params
        recursive, expand = (query.get(key) in parameters.YES for key in ("recursive", "expand"))
        limit = parameters.whole_number(request, "limit", documents.PAGE, documents.PAGE, least=1)

        def listed() -> tuple[str, list[dict[str, Any]], str | None]:
            commit = repository.commit(revision)
            page = documents.tree_documents(
                commit, path, recursive=recursive, expand=expand, after=query.get("cursor", ""), limit=limit
            )
            return commit.id, *page

        commit_id, results, last = await run_in_threadpool(listed)
        headers = {}
        if last is not None:  # the next page is of the same commit, whatever is pushed meanwhile
            path_on_server = f"/api/models/{repository.name}/tree/{commit_id}" + (f"/{quote(path)}" if path else "")
            next_query = [(key, value) for key, value in query.multi_items() if key != "cursor"] + [("cursor", last)]
            headers["Link"] = (
                f'<{base_url(request, self._settings)}{path_on_server}?{urlencode(next_query)}>; rel="next"'
            )
        return await run_in_threadpool(JSONResponse, results, headers=headers)

    async def paths(self, request: Request) -> Response:
        """Describe some paths of a revision."""
        repository = await self._guard.files(request)
        has_token = await self._guard.token(request) is not None
        revision = request.path_params["revision"]
        async with self._bodies.room(has_token=has_token) as limit:
            paths, expand = await parameters.requested_paths(request, limit)
            return await _json(lambda: documents.paths_documents(repository.commit(revision), paths, expand=expand))

    async def auth_check(self, request: Request) -> Response:
        """Answer whether the token may read the files."""
        await self._guard.files(request)
        return JSONResponse({})

    async def unknown(self, request: Request) -> Response:
        """Raise HubError 404 for an endpoint that this server doesn't have."""
        await self._guard.reading(request)  # else the client would conclude that the repository is missing
        raise HubError(
            404, f"this server has no {request.path_params['rest'][:100]}: it keeps versions of models alone"
        )

    async def no_git(self, request: Request) -> Response:
        """Answer git with plain text, which it prints. The answer is the same for every path."""
        name = request.path_params["rest"].strip("/").removesuffix(".git")
        shown = name if re.fullmatch(r"[A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100}", name) else "NAMESPACE/NAME"
        at = base_url(request, self._settings)
        return PlainTextResponse(f"{NO_GIT}\n  HF_ENDPOINT={at} hf download {shown} --local-dir FOLDER\n", 403)

    async def no_list(self, request: Request) -> Response:
        """Raise HubError 404: this server has no list of a user's repositories."""
        await self._guard.holder(request)
        raise HubError(404, NO_LIST)

    async def resolve(self, request: Request) -> Response:
        """Send a file of a revision. Raises HubError 403 where the server's policy forbids it."""
        repository = await self._guard.files(request)
        revision, path = parameters.revision_and_path(request, repository)

        def answer_file() -> Response:
            commit = repository.commit(revision)
            if path not in commit.files:
                raise no_entry(path)
            disclosure.check_files(repository, commit, [commit.files[path]])
            name = path.rpartition("/")[2]
            return downloads.answer(request, commit.files[path], commit.id, name, self._repositories.registry.id)

        try:
            return await anyio.to_thread.run_sync(answer_file, limiter=self._openings)
        except HubError as error:
            if error.code == "EntryNotFound":
                commit = await run_in_threadpool(repository.commit, revision)
                answer = error.response()
                answer.headers["X-Repo-Commit"] = commit.id  # the client caches that the file is missing in this commit
                return answer
            raise


async def _json(make: Callable[[], Any]) -> Response:
    return await run_in_threadpool(lambda: JSONResponse(make()))  # the thread also encodes a large answer


def _card_errors(content: Any) -> list[dict[str, str]]:
    """Return the errors in the head of a card, in the client's form."""
    if not isinstance(content, str):
        return [{"message": "the content must be the text of README.md"}]
    try:
        head_of(content)
    except ValueError as error:
        return [{"message": f"the card can't be read, {error}"}]
    return []
