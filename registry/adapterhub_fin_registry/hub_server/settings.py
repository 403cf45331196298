"""Hold the settings of a server, and find its address."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from starlette.requests import Request

_HOST: Final = re.compile(r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")


@dataclass(frozen=True)
class Settings:
    """Hold the settings of a server.

    With `anonymous_read`, clients without a token can read public repositories. `private` is the default visibility of
    a new repository. Files up to `regular_limit` bytes are part of the commit, which is how clients with Xet can send
    them; larger ones, up to `upload_limit` bytes, go by LFS. `url` is the server's address behind a proxy.

    `namespace_quota` and `token_quota` limit the bytes stored in a namespace, and those stored with a token. An upload
    that no commit refers to is removed after `upload_age` seconds. `rate` and `anonymous_rate` limit the requests a
    minute of a token, and of an address without a token. None means no limit. With `read_only` every change is refused.
    """

    anonymous_read: bool = False
    private: bool = True
    regular_limit: int = 512 * 2**20
    upload_limit: int = 5 * 2**30
    url: str | None = None
    namespace_quota: int | None = None
    token_quota: int | None = None
    upload_age: float = 86_400.0
    rate: int | None = None
    anonymous_rate: int | None = None
    read_only: bool = False


def base_url(request: Request, settings: Settings) -> str:
    """Return the server's scheme and host without a final slash: from the settings, else from the request.

    Raises HubError 400 for an invalid Host header.
    """
    from adapterhub_fin_registry.hub_server.errors import bad_request  # needs starlette, which State does without

    if settings.url is not None:
        return settings.url.rstrip("/")
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):  # it becomes a part of links
        raise bad_request("the Host header isn't a host")
    return f"{request.url.scheme}://{host}"
