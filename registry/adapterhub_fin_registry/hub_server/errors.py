"""Make HTTP errors, with the headers from which the Hub's client makes its typed errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from starlette.responses import JSONResponse, Response

from adapterhub_fin_registry.errors import AdapterHubError, BadConfiguration, Corrupted, NotFound, Refused, WriteFailed

Code = Literal["RepoNotFound", "RevisionNotFound", "EntryNotFound", "GatedRepo"]
# By this exact text the client distinguishes an invalid token from a private repository.
BAD_TOKEN: Final = "Invalid credentials in Authorization header"
_HEADER_LIMIT: Final = 600


class HubError(Exception):
    """Represent an error answer; `short` replaces the message in the header."""

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
        """Return the answer, with the message in its body and in a header, which the client reads first."""
        headers = {**self.headers, "X-Error-Message": _header(self.short or self.message)}
        if self.code is not None:
            headers["X-Error-Code"] = self.code
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        # A message may contain a file name from the disk, which may be any bytes.
        return JSONResponse({"error": self.message.encode(errors="backslashreplace").decode()}, self.status, headers)


def bad_request(message: str) -> HubError:
    """Return the error 400 for an invalid request."""
    return HubError(400, message)


def no_repository(name: str) -> HubError:
    """Return the error 404 for a repository that isn't there or that the token may not see."""
    return HubError(404, f"there is no repository {name} that this token may read", "RepoNotFound")


def no_revision(name: str, revision: str) -> HubError:
    """Return the error 404 for a revision that a repository doesn't have."""
    return HubError(
        404, f"{name} has no revision {revision[:100]!r}: versions are tagged v1, v2, ...", "RevisionNotFound"
    )


def no_entry(path: str) -> HubError:
    """Return the error 404 for a file that a revision doesn't have."""
    return HubError(404, f"there is no {path[:100]!r} in this revision", "EntryNotFound")


def to_hub_error(error: AdapterHubError) -> HubError:
    """Return the HTTP error for an error of the registry; the details of a 5xx stay on the server."""
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
    """Return a message as one line of printable ASCII, since it may contain a name that a client chose."""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text[:_HEADER_LIMIT])
