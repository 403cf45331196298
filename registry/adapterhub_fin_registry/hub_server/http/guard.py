"""Who asks, and whether they may."""

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
    """Lets through to a repository whoever may read or write it; to all others it isn't there."""

    def __init__(self, repositories: Repositories, tokens: Tokens, settings: Settings) -> None:
        self._repositories = repositories
        self._tokens = tokens
        self._settings = settings
        self._rate = Rate(settings.rate, "a token")
        self._anonymous_rate = Rate(settings.anonymous_rate, "an address without a token")

    async def token(self, request: Request) -> Token | None:
        """The token of a request, None without one; 401 for one that isn't known. It is looked up once a request."""
        state = request.scope["state"]
        if "found" in state:
            found: Token | None = state["found"]
            return found
        header = request.headers.get("authorization")
        if header is None:
            self._count_address(request)
            state["found"] = None
            return None
        scheme, _, secret = header.partition(" ")
        found = await run_in_threadpool(self._tokens.find, secret.strip()) if scheme.lower() == "bearer" else None
        if found is None:
            self._count_address(request)
            raise HubError(401, BAD_TOKEN)
        state["token"], state["found"] = found.name, found
        self._rate.take(found.name)
        _check_time(found)
        if self._tokens.is_use_due(found):
            await run_in_threadpool(self._note_use, found)
        return found

    def _count_address(self, request: Request) -> None:
        self._anonymous_rate.take(network(request.client.host) if request.client else "")

    def _note_use(self, token: Token) -> None:
        try:
            self._tokens.note_use(token)
        except OSError as error:  # a full disk must not keep anybody from reading
            log.error("the last use of the token %s can't be written down: %s", token.name, error)

    def still(self, id_: str, namespace: str) -> Token:
        """The token of an id that may write in a namespace now: 403 for one that was revoked or expired meanwhile."""
        self.check_writable()
        token = self._tokens.by_id(id_)
        if token is None or token.is_expired or not token.may_write(namespace):
            raise HubError(403, "the token of this upload was revoked or has expired: log in with one that counts")
        return token

    async def uploading(self, request: Request, id_: str, namespace: str) -> Token:
        """The token of an upload, which its URL names, counted as one of its requests."""
        token = await run_in_threadpool(self.still, id_, namespace)
        request.scope["state"]["token"] = token.name
        self._rate.take(token.name)
        return token

    def check_writable(self) -> None:
        """Refuse a change where the server was told to take none, at its start or since."""
        if self._settings.read_only or self._repositories.state.is_read_only:
            raise HubError(403, "this server is read-only for now: what it has can be read, and changed once it is not")

    async def holder(self, request: Request) -> Token:
        """The token of a request, which must have one: asked before any of its body is read."""
        token = await self.token(request)
        if token is None:
            raise HubError(401, NO_TOKEN)
        return token

    async def somebody(self, request: Request) -> Token | None:
        """The token of a request, or nobody where anonymous reading was allowed."""
        token = await self.token(request)
        if token is None and not self._settings.anonymous_read:
            raise HubError(401, "this server answers to a token only: ask whoever runs it for one, and log in")
        return token

    async def writer(self, request: Request, namespace: str) -> Token:
        """The token of a request that may write in a namespace."""
        token = await self.holder(request)
        if not token.may_write(namespace):
            raise HubError(403, f"the token {token.name} may not write in {namespace[:100]}")
        await run_in_threadpool(self.check_writable)
        return token

    async def reading(self, request: Request) -> ServedRepository:
        """The repository that a request names, where it may be seen."""
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
        if not may_see(token, namespace, repository.kept.private):
            if token is None:
                raise HubError(401, f"{name} needs a token, or isn't there", "RepoNotFound")
            raise no_repository(name)
        return repository

    async def files(self, request: Request) -> ServedRepository:
        """The same, where its files may be read too, which of a gated repository not everybody may."""
        repository = await self.reading(request)
        if repository.kept.gated:
            token = await self.token(request)
            if token is None or not token.is_trusted_with(repository.namespace):
                raise HubError(
                    401 if token is None else 403,
                    f"{repository.name} is gated: ask for a token that is limited to {repository.namespace}",
                    "GatedRepo",
                )
        return repository

    async def writing(self, request: Request) -> tuple[ServedRepository, Token]:
        """The repository that a request names, where it may be changed."""
        repository = await self.reading(request)
        return repository, await self.writer(request, repository.namespace)


def _check_time(token: Token) -> None:
    if token.is_expired:
        why = f"the token {token.name} expired at {token.expires_at}: ask whoever runs this server for another"
        raise HubError(401, why, short=BAD_TOKEN)  # by which the client knows that it is about the token


def may_see(token: Token | None, namespace: str, private: bool) -> bool:
    """Whether a repository may be known of."""
    return not private or (token is not None and token.may_read(namespace))


def name_of(request: Request) -> str:
    """The repository that a path names, not checked."""
    return f"{request.path_params['namespace']}/{request.path_params['name']}"
