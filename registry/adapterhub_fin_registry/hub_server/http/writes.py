"""Answer the requests that change repositories."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from adapterhub_fin_registry.hub_server import body
from adapterhub_fin_registry.hub_server.blob_writer import BlobWriter
from adapterhub_fin_registry.hub_server.errors import HubError, bad_request
from adapterhub_fin_registry.hub_server.http.access import Metrics
from adapterhub_fin_registry.hub_server.http.guard import Guard, may_see
from adapterhub_fin_registry.hub_server.push.commit_body import LINE, OPERATIONS, CommitReader
from adapterhub_fin_registry.hub_server.push.disclosure import sent_before
from adapterhub_fin_registry.hub_server.push.lfs import Grant, Uploads, preupload_answers
from adapterhub_fin_registry.hub_server.push.operations import operations_of
from adapterhub_fin_registry.hub_server.push.push import push
from adapterhub_fin_registry.hub_server.push.quota import Quota, Room
from adapterhub_fin_registry.hub_server.repo.repositories import Repositories, WriteLocks
from adapterhub_fin_registry.hub_server.repo.repository import MAIN, ServedRepository, ref_of
from adapterhub_fin_registry.hub_server.repo.tree import Commit
from adapterhub_fin_registry.hub_server.settings import Settings, base_url
from adapterhub_fin_registry.incoming import Intake

NO_XET: Final = (
    "this server has no Xet: set HF_HUB_DISABLE_XET=1 in the environment before huggingface_hub is imported, and the "
    "file goes by LFS"
)
NO_XET_PATH: Final = "/this-server-has-no-xet/set-HF_HUB_DISABLE_XET=1"
_NO_REVIEW: Final = "this server has no pull requests: push to main, or to a branch"


class Writes:
    """Answer the requests that create and change repositories. Every endpoint raises what `Guard` raises."""

    def __init__(
        self,
        repositories: Repositories,
        guard: Guard,
        uploads: Uploads,
        intake: Intake,
        settings: Settings,
        metrics: Metrics,
        quota: Quota,
        write_locks: WriteLocks,
    ) -> None:
        self._repositories = repositories
        self._guard = guard
        self._uploads = uploads
        self._intake = intake
        self._settings = settings
        self._metrics = metrics
        self._quota = quota
        self._write_locks = write_locks

    async def create(self, request: Request) -> Response:
        """Create an empty repository. Raises HubError 409 where it exists."""
        document = await self._body(request)
        name = await self._repository_name(request, document)
        await self._guard.writer(request, name.partition("/")[0])
        visibility = document.get("visibility", "private" if document.get("private") else None)
        if visibility not in (None, "private", "public"):
            raise bad_request("a repository is private or public")
        url = f"{base_url(request, self._settings)}/{name}"
        private = None if visibility is None else visibility == "private"
        try:
            await self._write_locks.take({name}, self._repositories.create, name, private)
        except HubError as error:
            if error.status == 409:  # with exist_ok the client reads the url from the body
                answer = error.response()
                return JSONResponse(
                    {"error": error.message, "url": url}, 409, {"X-Error-Message": answer.headers["X-Error-Message"]}
                )
            raise
        return JSONResponse({"url": url, "name": name, "private": private})

    async def delete(self, request: Request) -> Response:
        """Delete a repository with its versions."""
        name = await self._repository_name(request, await self._body(request))
        await self._writing(request, name)
        token = await self._guard.holder(request)

        def visible(repository: ServedRepository) -> bool:
            return may_see(token, repository.namespace, repository.state.private)

        await self._write_locks.take({name}, self._repositories.delete, name, token.name, visible)
        return JSONResponse({})

    async def move(self, request: Request) -> Response:
        """Rename a repository without versions."""
        document = await self._body(request)
        source, target = (body.text(document.get(key), key) for key in ("fromRepo", "toRepo"))
        await self._writing(request, source)
        await self._guard.writer(request, target.partition("/")[0])
        await self._write_locks.take({source, target}, self._repositories.move, source, target)
        return JSONResponse({})

    async def settings(self, request: Request) -> Response:
        """Change whether a repository is private, and whether it is gated."""
        repository, _ = await self._guard.writing(request)
        document = await body.read_object(request)
        visibility, gated = document.get("visibility"), document.get("gated")
        if isinstance(document.get("private"), bool) and visibility is None:
            visibility = "private" if document["private"] else "public"
        if visibility not in (None, "private", "public") or gated not in (None, False, "auto", "manual"):
            raise bad_request("visibility is private or public, and gated is auto, manual or false")
        private = None if visibility is None else visibility == "private"
        await self._write_locks.take({repository.name}, self._repositories.settings, repository.name, private, gated)
        return JSONResponse({})

    async def auth_check(self, request: Request) -> Response:
        """Answer whether the token may write."""
        await self._guard.writing(request)
        return JSONResponse({})

    async def xet(self, request: Request) -> Response:
        """Redirect a Xet client to an address that says what to do, since its errors show only the address."""
        await self._guard.writing(request)
        return Response(None, 307, {"Location": NO_XET_PATH, "X-Error-Message": NO_XET})

    async def no_xet(self, request: Request) -> Response:
        """Raise HubError 400: this server has no Xet."""
        raise bad_request(NO_XET)

    async def preupload(self, request: Request) -> Response:
        """Answer how to send each file of a commit. Raises HubError 507 for more bytes than the quota allows."""
        repository, token = await self._guard.writing(request)
        _check_no_review(request)
        document = await body.read_object(request)
        revision = request.path_params["revision"]

        def answered() -> Any:  # in a worker thread
            available = sent_before(repository, repository.commit(revision))
            answers, size = preupload_answers(document, available, self._settings)
            self._quota.check(repository.namespace, token.name, size)
            return answers

        answers = await run_in_threadpool(answered)
        return JSONResponse({"files": answers}, headers=_left_out(repository.name, answers))

    async def commit(self, request: Request) -> Response:
        """Read a commit while it arrives, then apply it to a branch under the repository's write lock."""
        repository, token = await self._guard.writing(request)
        _check_no_review(request)
        state, name = self._repositories.state, repository.name
        _, branch = ref_of(request.path_params["revision"])
        with state.work_folder() as work_folder, self._quota.room(repository.namespace, token.name) as room:
            reader = CommitReader(lambda: BlobWriter(work_folder, room.take), self._settings.regular_limit)
            try:
                # Base64 takes 4/3 of the bytes; the limit leaves room for several files of the largest size.
                await body.stream(request, reader.feed, 4 * self._settings.upload_limit + OPERATIONS * LINE)
                await run_in_threadpool(self._guard.still, token.id, repository.namespace)
                commit = await self._write_locks.take({name}, self._push, reader, name, branch, token.name, room)
            finally:
                reader.close()
        url = f"{base_url(request, self._settings)}/{repository.name}/commit/{commit.id}"
        return JSONResponse({"success": True, "commitUrl": url, "commitOid": commit.id, **_version(commit)})

    def _push(self, reader: CommitReader, name: str, branch: str, author: str, room: Room) -> Commit:
        # All under one write lock, or another push could discard the files that this one has just stored.
        repository, state = self._repositories.get(name), self._repositories.state
        lines = reader.finish()
        room.leave()  # from here on its files count as stored
        operations, new = operations_of(lines, repository, state, author)
        before = repository.newest
        try:
            commit = push(self._repositories, self._intake, name, branch, operations, author, self._quota)
        except Exception:
            state.discard(name, new)  # the client would send them again
            raise
        if commit.version is not None and (before is None or commit.version.number > before.number):
            self._metrics.versions.inc()
        return commit

    async def tag(self, request: Request) -> Response:
        """Tag a revision: accept the tag of a version, or set an alias."""
        repository, _ = await self._guard.writing(request)
        tag = body.text((await body.read_object(request)).get("tag"), "tag", 200)
        return await self._change(request, repository, self._repositories.tag, tag)

    async def untag(self, request: Request) -> Response:
        """Remove an alias."""
        repository, _ = await self._guard.writing(request)
        return await self._change(request, repository, self._repositories.untag)

    async def branch(self, request: Request) -> Response:
        """Create a branch."""
        repository, _ = await self._guard.writing(request)
        start = body.text((await body.read_object(request)).get("startingPoint", MAIN), "startingPoint", 200)
        return await self._change(request, repository, self._repositories.branch, start)

    async def unbranch(self, request: Request) -> Response:
        """Delete a branch."""
        repository, _ = await self._guard.writing(request)
        return await self._change(request, repository, self._repositories.unbranch)

    async def batch(self, request: Request) -> Response:
        """Answer an LFS batch."""
        repository, token = await self._guard.writing(request)
        document = await body.read_object(request)
        base = base_url(request, self._settings)
        answer = await run_in_threadpool(self._uploads.batch, repository, document, base, token)
        return JSONResponse(answer, media_type="application/vnd.git-lfs+json")

    async def put(self, request: Request) -> Response:
        """Receive a file by LFS under the grant in its URL. Raises HubError 403, 400 or 507."""
        query, name = request.query_params, f"{request.path_params['namespace']}/{request.path_params['name']}"
        size, expires = (query.get(key, "") for key in ("size", "expires"))
        if not all(text.isascii() and text.isdigit() and len(text) < 17 for text in (size, expires)):
            raise HubError(403, "this upload's URL isn't one that this server gave: ask for its URL again")
        grant = Grant(name, request.path_params["oid"], int(size), int(expires), query.get("token", ""))
        self._uploads.check(grant, query.get("signature", ""))
        namespace = name.partition("/")[0]
        token = await self._guard.uploading(request, grant.token, namespace)
        state = self._repositories.state
        await run_in_threadpool(self._repositories.get, name)
        with state.work_folder() as work_folder, self._quota.room(namespace, token.name) as room:
            await run_in_threadpool(room.take, grant.size)
            file = BlobWriter(work_folder)
            try:
                await body.stream(request, file.write, grant.size)
                await run_in_threadpool(self._guard.still, grant.token, namespace)  # the upload may have taken hours
                await run_in_threadpool(self._uploads.keep, grant, file, token.name)
            finally:
                file.close()
        return JSONResponse({})

    async def verify(self, request: Request) -> Response:
        """Answer whether a file arrived by LFS. Raises HubError 404 where it didn't."""
        repository, _ = await self._guard.writing(request)
        await run_in_threadpool(self._uploads.verify, repository, await body.read_object(request))
        return JSONResponse({})

    async def _change(
        self, request: Request, repository: ServedRepository, change: Callable[..., None], *more: str
    ) -> Response:
        """Call a change of a repository with the revision in the path, under its write lock."""
        revision = request.path_params["revision"]
        if not more or change == self._repositories.branch:  # the path has the name of a branch or tag
            _, revision = ref_of(revision)
        await self._write_locks.take({repository.name}, change, repository.name, revision, *more)
        return JSONResponse({})

    async def _body(self, request: Request) -> dict[str, Any]:
        await self._guard.holder(request)  # before any body is read
        document = await body.read_object(request)
        if document.get("type") not in (None, "model"):
            raise bad_request("this server has models alone: leave repo_type out")
        return document

    async def _repository_name(self, request: Request, document: dict[str, Any]) -> str:
        """Return the repository that a body names. Without an organisation its namespace is the token's name."""
        name, organization = body.text(document.get("name"), "name"), document.get("organization")
        if organization is None:
            organization = (await self._guard.holder(request)).name
        return f"{body.text(organization, 'organization')}/{name}"

    async def _writing(self, request: Request, name: str) -> None:
        """Check the rights for a repository that a body names, as for one in a path."""
        namespace, _, rest = name.partition("/")
        request.scope["path_params"] = {**request.path_params, "namespace": namespace, "name": rest}
        await self._guard.writing(request)


def _check_no_review(request: Request) -> None:
    if request.query_params.get("create_pr") not in (None, "0", "false"):
        raise bad_request(_NO_REVIEW)


def _left_out(name: str, files: list[dict[str, Any]]) -> dict[str, str]:
    """Return a header with a warning that huggingface_hub prints; by itself it leaves files out silently."""
    paths = [file["path"] for file in files if file["shouldIgnore"]]
    if not paths:
        return {}
    listed = ", ".join(paths[:10]) + (f" and {len(paths) - 10} more" if len(paths) > 10 else "")
    listed = "".join(letter if " " <= letter <= "~" and letter != ";" else "?" for letter in listed)[:500]
    return {"X-HF-Warning": f"left out of {name} {listed}; {name} keeps adapters, and is sent without {listed}"}


def _version(commit: Commit) -> dict[str, Any]:
    """Return which version a commit became, in keys that only this project's client reads."""
    if commit.version is None:
        return {"version": None}
    return {"version": commit.version.number, "digest": commit.version.digest}
