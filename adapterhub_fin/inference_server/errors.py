"""Make HTTP errors in the shape that clients of OpenAI read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.responses import JSONResponse, Response

from adapterhub_fin.errors import (
    AdapterHubError,
    BadInstant,
    BadRecipe,
    BadReference,
    DeadlineExceeded,
    LookAhead,
    NotFound,
    Overloaded,
    PolicyViolation,
    Refused,
    WrongBase,
)

_TYPES: Final = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
# The first class that an error is of decides; of any other the client learns only that the server failed.
_STATUSES: Final[tuple[tuple[type[AdapterHubError], int, str | None], ...]] = (
    (DeadlineExceeded, 504, "deadline_exceeded"),
    (Overloaded, 429, "overloaded"),
    (LookAhead, 422, "look_ahead"),
    (PolicyViolation, 403, "policy"),
    (NotFound, 404, "model_not_found"),
    (WrongBase, 400, "wrong_base"),
    (Refused, 400, None),
    (BadRecipe, 400, None),
    (BadReference, 400, None),
    (BadInstant, 400, None),
)


class ApiError(Exception):
    """Represent an error answer: `param` names the field that is wrong, and `code` the reason, for programs."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = headers or {}

    def body(self) -> dict[str, object]:
        """Return the body that clients read."""
        kind = _TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        message = self.message.encode(errors="backslashreplace").decode()
        return {"error": {"message": message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> Response:
        """Return the answer; one that asks for a token says of which kind."""
        headers = {**self.headers, **({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})}
        return JSONResponse(self.body(), self.status, headers)


def wrong_field(param: str, message: str) -> ApiError:
    """Return the error 400 for a field of a request."""
    return ApiError(400, message, param=param)


def to_api_error(error: AdapterHubError, request_id: str) -> ApiError:
    """Return the HTTP error for an error of this project; the details of a 5xx stay on the server."""
    for kind, status, code in _STATUSES:
        if isinstance(error, kind):
            headers = {"Retry-After": str(error.retry_after)} if isinstance(error, Overloaded) else None
            return ApiError(status, str(error), code=code, headers=headers)
    return server_error(request_id)


def server_error(request_id: str) -> ApiError:
    """Return the error 500, which names the request whose details the log has."""
    return ApiError(500, f"the server failed: tell whoever runs it of request {request_id}", code="server_error")
