"""The endpoints that change something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from adapterhub_fin_registry.hub_server import body
from adapterhub_fin_registry.hub_server.base_url import base_url
from adapterhub_fin_registry.hub_server.blob_writer import BlobWriter
from adapterhub_fin_registry.hub_server.errors import HubError, bad_request
from adapterhub_fin_registry.hub_server.http.access import Metrics
from adapterhub_fin_registry.hub_server.http.guard import Guard
from adapterhub_fin_registry.hub_server.push.commit_body import LINE, OPERATIONS, CommitReader
from adapterhub_fin_registry.hub_server.push.disclosure import sent_before
from adapterhub_fin_registry.hub_server.push.lfs import Grant, Uploads
from adapterhub_fin_registry.hub_server.push.operations import operations_of
from adapterhub_fin_registry.hub_server.push.preupload import answers
from adapterhub_fin_registry.hub_server.push.push import push
from adapterhub_fin_registry.hub_server.push.quota import Quota, Room
from adapterhub_fin_registry.hub_server.repo.repositories import Repositories
from adapterhub_fin_registry.hub_server.repo.repository import MAIN, ServedRepository, ref_of
from adapterhub_fin_registry.hub_server.repo.tree import Commit
from adapterhub_fin_registry.hub_server.repo.write_locks import Turns
from adapterhub_fin_registry.hub_server.settings import Settings
from adapterhub_fin_registry.incoming import Intake

NO_XET: Final = (
    "this server has no Xet: set HF_HUB_DISABLE_XET=1 in the environment before huggingface_hub is imported, and the "
    "file goes by LFS"
)
NO_XET_PATH: Final = "/this-server-has-no-xet/set-HF_HUB_DISABLE_XET=1"
_NO_REVIEW: Final = "this server has no pull requests: push to main, or to a branch"


class Writes:
    """What makes and changes repositories."""

    def __init__(
        self,
        repositories: Repositories,
        guard: Guard,
        uploads: Uploads,
        intake: Intake,
        settings: Settings,
        metrics: Metrics,
        quota: Quota,
        turns: Turns,
    ) -> None:
        self._repositories = repositories
        self._guard = guard
        self._uploads = uploads
        self._intake = intake
        self._settings = settings
        self._metrics = metrics
        self._quota = quota
        self._turns = turns

    async def create(self, request: Request) -> Response:
        said = await self._said(request)
        name = await self._named(request, said)
        await self._guard.writer(request, name.partition("/")[0])
        visibility = said.get("visibility", "private" if said.get("private") else None)
        if visibility not in (None, "private", "public"):
            raise bad_request("a repository is private or public")
        url = f"{base_url(request, self._settings)}/{name}"
        private = None if visibility is None else visibility == "private"
        try:
            await self._turns.take({name}, self._repositories.create, name, private)
        except HubError as error:
            if error.status == 409:  # whose body the client reads where the repository may be there
                answer = error.response()
                return JSONResponse(
                    {"error": error.message, "url": url}, 409, {"X-Error-Message": answer.headers["X-Error-Message"]}
                )
            raise
        return JSONResponse({"url": url, "name": name, "private": private})

    async def delete(self, request: Request) -> Response:
        name = await self._named(request, await self._said(request))
        await self._writing(request, name)
        token = await self._guard.holder(request)
        await self._turns.take({name}, self._repositories.delete, name, token.name)
        return JSONResponse({})

    async def move(self, request: Request) -> Response:
        said = await self._said(request)
        source, target = (body.text(said.get(key), key) for key in ("fromRepo", "toRepo"))
        await self._writing(request, source)
        await self._guard.writer(request, target.partition("/")[0])
        await self._turns.take({source, target}, self._repositories.move, source, target)
        return JSONResponse({})

    async def settings(self, request: Request) -> Response:
        repository, _ = await self._guard.writing(request)
        said = await body.read_object(request)
        visibility, gated = said.get("visibility"), said.get("gated")
        if isinstance(said.get("private"), bool) and visibility is None:
            visibility = "private" if said["private"] else "public"
        if visibility not in (None, "private", "public") or gated not in (None, False, "auto", "manual"):
            raise bad_request("visibility is private or public, and gated is auto, manual or false")
        private = None if visibility is None else visibility == "private"
        await self._turns.take({repository.name}, self._repositories.settings, repository.name, private, gated)
        return JSONResponse({})

    async def auth_check(self, request: Request) -> Response:
        await self._guard.writing(request)
        return JSONResponse({})

    async def xet(self, request: Request) -> Response:
        await self._guard.writing(request)
        # The Xet client shows of an error its address alone: so the address says what to do.
        return Response(None, 307, {"Location": NO_XET_PATH, "X-Error-Message": NO_XET})

    async def no_xet(self, request: Request) -> Response:
        raise bad_request(NO_XET)

    async def preupload(self, request: Request) -> Response:
        repository, token = await self._guard.writing(request)
        _check_no_review(request)
        said = await body.read_object(request)
        revision = request.path_params["revision"]

        def answered() -> Any:
            found, size = answers(said, sent_before(repository, repository.commit(revision)), self._settings)
            self._quota.check(repository.namespace, token.name, size)
            return found

        found = await run_in_threadpool(answered)
        return JSONResponse({"files": found}, headers=_left_out(repository.name, found))

    async def commit(self, request: Request) -> Response:
        repository, token = await self._guard.writing(request)
        _check_no_review(request)
        state, name = self._repositories.state, repository.name
        _, branch = ref_of(request.path_params["revision"])
        with state.workshop() as workshop, self._quota.room(repository.namespace, token.name) as room:
            reader = CommitReader(lambda: BlobWriter(workshop, room.take), self._settings.regular_limit)
            try:
                # Base64 is four thirds, and a commit may hold some files of the largest size.
                await body.stream(request, reader.feed, 4 * self._settings.upload_limit + OPERATIONS * LINE)
                await run_in_threadpool(self._guard.still, token.id, repository.namespace)
                commit = await self._turns.take({name}, self._push, reader, name, branch, token.name, room)
            finally:
                reader.close()
        url = f"{base_url(request, self._settings)}/{repository.name}/commit/{commit.id}"
        return JSONResponse({"success": True, "commitUrl": url, "commitOid": commit.id, **_version(commit)})

    def _push(self, reader: CommitReader, name: str, branch: str, author: str, room: Room) -> Commit:
        # All of it in one turn, or another push could discard what this one has just kept.
        repository, state = self._repositories.get(name), self._repositories.state
        lines = reader.finish()
        room.leave()  # from here on its files are counted where they lie
        asked, new = operations_of(lines, repository, state, author)
        before = repository.newest
        try:
            commit = push(self._repositories, self._intake, name, branch, asked, author, self._quota)
        except Exception:
            state.discard(name, new)  # which would be sent again
            raise
        if commit.version is not None and (before is None or commit.version.number > before.number):
            self._metrics.versions.inc()
        return commit

    async def tag(self, request: Request) -> Response:
        repository, _ = await self._guard.writing(request)
        tag = body.text((await body.read_object(request)).get("tag"), "tag", 200)
        return await self._change(request, repository, self._repositories.tag, tag)

    async def untag(self, request: Request) -> Response:
        repository, _ = await self._guard.writing(request)
        return await self._change(request, repository, self._repositories.untag)

    async def branch(self, request: Request) -> Response:
        repository, _ = await self._guard.writing(request)
        start = body.text((await body.read_object(request)).get("startingPoint", MAIN), "startingPoint", 200)
        return await self._change(request, repository, self._repositories.branch, start)

    async def unbranch(self, request: Request) -> Response:
        repository, _ = await self._guard.writing(request)
        return await self._change(request, repository, self._repositories.unbranch)

    async def batch(self, request: Request) -> Response:
        repository, token = await self._guard.writing(request)
        said = await body.read_object(request)
        base = base_url(request, self._settings)
        answer = await run_in_threadpool(self._uploads.batch, repository, said, base, token)
        return JSONResponse(answer, media_type="application/vnd.git-lfs+json")

    async def put(self, request: Request) -> Response:
        query, name = request.query_params, f"{request.path_params['namespace']}/{request.path_params['name']}"
        size, expires = (query.get(key, "") for key in ("size", "expires"))
        if not all(each.isascii() and each.isdigit() and len(each) < 17 for each in (size, expires)):
            raise HubError(403, "this upload wasn't agreed to: ask for its URL again")
        grant = Grant(name, request.path_params["oid"], int(size), int(expires), query.get("token", ""))
        self._uploads.check(grant, query.get("signature", ""))
        namespace = name.partition("/")[0]
        token = await self._guard.uploading(request, grant.token, namespace)
        state = self._repositories.state
        await run_in_threadpool(self._repositories.get, name)
        with state.workshop() as workshop, self._quota.room(namespace, token.name) as room:
            await run_in_threadpool(room.take, grant.size)
            file = BlobWriter(workshop)
            try:
                await body.stream(request, file.write, grant.size)
                await run_in_threadpool(self._guard.still, grant.token, namespace)  # it may have taken hours
                await run_in_threadpool(self._uploads.keep, grant, file, token.name)
            finally:
                file.close()
        return JSONResponse({})

    async def verify(self, request: Request) -> Response:
        repository, _ = await self._guard.writing(request)
        await run_in_threadpool(self._uploads.verify, repository, await body.read_object(request))
        return JSONResponse({})

    async def _change(
        self, request: Request, repository: ServedRepository, change: Callable[..., None], *more: str
    ) -> Response:
        """Change a repository at the revision that the path names."""
        revision = request.path_params["revision"]
        if not more or change == self._repositories.branch:  # a branch or a tag that is made or taken away, by its name
            _, revision = ref_of(revision)
        await self._turns.take({repository.name}, change, repository.name, revision, *more)
        return JSONResponse({})

    async def _said(self, request: Request) -> dict[str, Any]:
        await self._guard.holder(request)  # before any body is read
        said = await body.read_object(request)
        if said.get("type") not in (None, "model"):
            raise bad_request("this server has models alone: leave repo_type out")
        return said

    async def _named(self, request: Request, said: dict[str, Any]) -> str:
        """The repository that a body names; without an organisation, in the namespace of the token's own name."""
        name, organization = body.text(said.get("name"), "name"), said.get("organization")
        if organization is None:
            organization = (await self._guard.holder(request)).name
        return f"{body.text(organization, 'organization')}/{name}"

    async def _writing(self, request: Request, name: str) -> None:
        """The rights for a repository that stands in a body, as those of one that stands in a path."""
        namespace, _, rest = name.partition("/")
        request.scope["path_params"] = {**request.path_params, "namespace": namespace, "name": rest}
        await self._guard.writing(request)


def _check_no_review(request: Request) -> None:
    if request.query_params.get("create_pr") not in (None, "0", "false"):
        raise bad_request(_NO_REVIEW)


def _left_out(name: str, files: list[dict[str, Any]]) -> dict[str, str]:
    """A header that huggingface_hub prints, once for each topic: it leaves files out without a word else."""
    paths = [file["path"] for file in files if file["shouldIgnore"]]
    if not paths:
        return {}
    listed = ", ".join(paths[:10]) + (f" and {len(paths) - 10} more" if len(paths) > 10 else "")
    listed = "".join(letter if " " <= letter <= "~" and letter != ";" else "?" for letter in listed)[:500]
    return {"X-HF-Warning": f"left out of {name} {listed}; {name} keeps adapters, and is sent without {listed}"}


def _version(commit: Commit) -> dict[str, Any]:
    """What the Hub's client doesn't read, and ours does: which version a commit became."""
    if commit.version is None:
        return {"version": None}
    return {"version": commit.version.number, "digest": commit.version.digest}
