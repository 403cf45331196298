"""What a client is told when something can't be done: the status, and the headers by which it raises a typed error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from starlette.responses import JSONResponse, Response

from adapterhub_fin_registry.errors import AdapterHubError, BadConfiguration, Corrupted, NotFound, Refused, WriteFailed

Code = Literal["RepoNotFound", "RevisionNotFound", "EntryNotFound", "GatedRepo"]
# The client tells a token that is wrong from a repository that is private by this very text.
BAD_TOKEN: Final = "Invalid credentials in Authorization header"
_HEADER_LIMIT: Final = 600


class HubError(Exception):
    """An answer that isn't the one asked for; `short` stands in the header in the place of the message."""

    def __init__(
        self,
        status: int,
        message: str,
        code: Code | None = None,
        headers: Mapping[str, str] | None = None,
        short: str | None = None,
    ) -> None:
        super().__init__(message)
        self.short = short
        self.status = status
        self.message = message
        self.code = code
        self.headers = headers or {}

    def response(self) -> Response:
        """The answer: the message in its body, and in a header, where the client looks first."""
        headers = {**self.headers, "X-Error-Message": _header(self.short or self.message)}
        if self.code is not None:
            headers["X-Error-Code"] = self.code
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        # Of a disk's names, which may be any bytes, a message may hold what can't be encoded.
        return JSONResponse({"error": self.message.encode(errors="backslashreplace").decode()}, self.status, headers)


def bad_request(message: str) -> HubError:
    """A request that can't be understood, or that asks for what can't be."""
    return HubError(400, message)


def no_repository(name: str) -> HubError:
    """A repository that isn't there, or that the token may not know of."""
    return HubError(404, f"there is no repository {name} that this token may read", "RepoNotFound")


def no_revision(name: str, revision: str) -> HubError:
    """A revision that a repository hasn't."""
    return HubError(
        404, f"{name} has no revision {revision[:100]!r}: versions are tagged v1, v2, ...", "RevisionNotFound"
    )


def no_entry(path: str) -> HubError:
    """A file that a revision hasn't."""
    return HubError(404, f"there is no {path[:100]!r} in this revision", "EntryNotFound")


def told(error: AdapterHubError) -> HubError:
    """What a client is told of an error of the registry's."""
    if isinstance(error, Refused):
        return HubError(403, str(error))
    if isinstance(error, NotFound):
        return HubError(404, str(error))
    if isinstance(error, WriteFailed):
        return HubError(507, "the registry could not be written: tell whoever runs this server")
    if isinstance(error, Corrupted):
        return HubError(500, "what is stored isn't what its manifest says: tell whoever runs this server")
    if isinstance(error, BadConfiguration):
        return HubError(500, "the server's configuration can't be used: tell whoever runs it")
    return bad_request(str(error))


def _header(text: str) -> str:
    """A message as one line of a header: whatever else a client put into a name doesn't get there."""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text[:_HEADER_LIMIT])
