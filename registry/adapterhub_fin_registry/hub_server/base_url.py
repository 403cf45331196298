"""The server's own address, as the client that asks knows it."""

from __future__ import annotations

import re
from typing import Final

from starlette.requests import Request

from adapterhub_fin_registry.hub_server.errors import bad_request
from adapterhub_fin_registry.hub_server.settings import Settings

_HOST: Final = re.compile(r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")


def base_url(request: Request, settings: Settings) -> str:
    """Scheme and host without a slash at the end: as it was told, else as the request has it."""
    if settings.url is not None:
        return settings.url.rstrip("/")
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):  # it would be written into links
        raise bad_request("the Host header isn't a host")
    return f"{request.url.scheme}://{host}"
