"""Authenticate requests, and check what their tokens may do."""

from __future__ import annotations

from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from adapterhub_fin_registry.hub_server.errors import BAD_TOKEN, HubError, no_repository
from adapterhub_fin_registry.hub_server.http.access import log
from adapterhub_fin_registry.hub_server.http.rates import Rate, network
from adapterhub_fin_registry.hub_server.repo.repositories import Repositories
from adapterhub_fin_registry.hub_server.repo.repository import ServedRepository
from adapterhub_fin_registry.hub_server.settings import Settings
from adapterhub_fin_registry.hub_server.tokens import Token, Tokens

NO_TOKEN: Final = "writing needs a token: ask whoever runs this server for one, and log in"


class Guard:
    """Check the rights of requests: a repository that a token may not see looks as if it didn't exist."""

    def __init__(self, repositories: Repositories, tokens: Tokens, settings: Settings) -> None:
        self._repositories = repositories
        self._tokens = tokens
        self._settings = settings
        self._rate = Rate(settings.rate, "a token")
        self._anonymous_rate = Rate(settings.anonymous_rate, "an address without a token")

    async def token(self, request: Request) -> Token | None:
        """Return the token of a request, None without one; it is looked up once a request.

        Raises HubError 401 for an unknown or expired token, and 429 for too many requests.
        """
        state = request.scope["state"]
        if "authenticated" in state:
            cached: Token | None = state["authenticated"]
            return cached
        header = request.headers.get("authorization")
        if header is None:
            self._count_address(request)
            state["authenticated"] = None
            return None
        scheme, _, secret = header.partition(" ")
        token = await run_in_threadpool(self._tokens.find, secret.strip()) if scheme.lower() == "bearer" else None
        if token is None:
            self._count_address(request)
            raise HubError(401, BAD_TOKEN)
        state["token"], state["authenticated"] = token.name, token
        self._rate.take(token.name)
        _check_time(token)
        if self._tokens.is_use_due(token):
            await run_in_threadpool(self._note_use, token)
        return token

    def _count_address(self, request: Request) -> None:
        self._anonymous_rate.take(network(request.client.host) if request.client else "")

    def _note_use(self, token: Token) -> None:
        try:
            self._tokens.note_use(token)
        except OSError as error:  # a full disk must not stop reads
            log.error("the last use of the token %s can't be recorded: %s", token.name, error)

    def still(self, id_: str, namespace: str) -> Token:
        """Return the token with an id if it may still write in a namespace.

        Raises HubError 403 for a token that was revoked or has expired meanwhile, and for a read-only server.
        """
        self.check_writable()
        token = self._tokens.by_id(id_)
        if token is None or token.is_expired or not token.may_write(namespace):
            raise HubError(403, "the token of this upload was revoked or has expired: log in with a valid one")
        return token

    async def uploading(self, request: Request, id_: str, namespace: str) -> Token:
        """Return the token of an upload, which its URL names, and count the request. Raises HubError 403 or 429."""
        token = await run_in_threadpool(self.still, id_, namespace)
        request.scope["state"]["token"] = token.name
        self._rate.take(token.name)
        return token

    def check_writable(self) -> None:
        """Raise HubError 403 where the server is read-only, by its settings or since `set_read_only`."""
        if self._settings.read_only or self._repositories.state.is_read_only:
            raise HubError(403, "this server is read-only for now: reads work, try the change again later")

    async def holder(self, request: Request) -> Token:
        """Return the token of a request, before its body is read. Raises HubError 401 without one."""
        token = await self.token(request)
        if token is None:
            raise HubError(401, NO_TOKEN)
        return token

    async def somebody(self, request: Request) -> Token | None:
        """Return the token of a request, or None where anonymous reading is allowed. Raises HubError 401."""
        token = await self.token(request)
        if token is None and not self._settings.anonymous_read:
            raise HubError(401, "this server answers to a token only: ask whoever runs it for one, and log in")
        return token

    async def writer(self, request: Request, namespace: str) -> Token:
        """Return the token of a request that may write in a namespace. Raises HubError 401 or 403."""
        token = await self.holder(request)
        if not token.may_write(namespace):
            raise HubError(403, f"the token {token.name} may not write in {namespace[:100]}")
        await run_in_threadpool(self.check_writable)
        return token

    async def reading(self, request: Request) -> ServedRepository:
        """Return the repository in the path of a request if its token may see it.

        Raises HubError 401 without a token that it needs, and 404 for a repository that isn't there or isn't visible.
        """
        name = name_of(request)
        token = await self.token(request)
        if token is None and not self._settings.anonymous_read:
            raise HubError(401, f"{name} needs a token: ask whoever runs this server for one", "RepoNotFound")
        namespace = name.partition("/")[0]
        try:
            repository = await run_in_threadpool(self._repositories.get, name)
        except HubError:
            if token is None:
                raise HubError(401, f"{name} needs a token, or isn't there", "RepoNotFound") from None
            raise
        if not may_see(token, namespace, repository.state.private):
            if token is None:
                raise HubError(401, f"{name} needs a token, or isn't there", "RepoNotFound")
            raise no_repository(name)
        return repository

    async def files(self, request: Request) -> ServedRepository:
        """Return the repository of a request if its token may read its files: a gated one needs a trusted token.

        Raises HubError 401 or 403 for a gated repository, and as `reading` does.
        """
        repository = await self.reading(request)
        if repository.state.gated:
            token = await self.token(request)
            if token is None or not token.is_trusted_with(repository.namespace):
                raise HubError(
                    401 if token is None else 403,
                    f"{repository.name} is gated: ask for a token that is limited to {repository.namespace}",
                    "GatedRepo",
                )
        return repository

    async def writing(self, request: Request) -> tuple[ServedRepository, Token]:
        """Return the repository and the token of a request that may change it. Raises as `reading` and `writer` do."""
        repository = await self.reading(request)
        return repository, await self.writer(request, repository.namespace)


def _check_time(token: Token) -> None:
    if token.is_expired:
        why = f"the token {token.name} expired at {token.expires_at}: ask whoever runs this server for another"
        raise HubError(401, why, short=BAD_TOKEN)  # the text by which the client recognises a bad token


def may_see(token: Token | None, namespace: str, private: bool) -> bool:
    """Return whether a token may see a repository."""
    return not private or (token is not None and token.may_read(namespace))


def name_of(request: Request) -> str:
    """Return the name of the repository in a request's path, unchecked."""
    return f"{request.path_params['namespace']}/{request.path_params['name']}"
