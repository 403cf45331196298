"""Serve the local registry as a Hub, as `ahf serve` does."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from adapterhub_fin.errors import BadConfiguration, Refused
from adapterhub_fin.http_process import (
    ACCESS_LOG,
    allow_many_files,
    check_installed,
    is_loopback,
    listening,
    logging_to,
    server_of,
    share_arenas,
    url_of,
)
from adapterhub_fin.registries import INTAKE, configured_registries
from adapterhub_fin_registry import Registry

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from adapterhub_fin_registry.hub_server.settings import Settings

PORT = 8780
_LOG = logging.getLogger(ACCESS_LOG)  # so that its records stand among those of the requests


def state_folder(registry: Registry, state: str | Path | None = None) -> Path:
    """Return the folder of a server's own state: `state`, else one for this registry in the platform's state folder.

    Raises BadConfiguration if `state` is inside the registry.
    """
    if state is None:
        from platformdirs import user_state_path

        return user_state_path("adapterhub_fin", appauthor=False) / "serve" / registry.identify()
    folder = Path(state).expanduser().absolute()
    if folder.resolve().is_relative_to(registry.root.resolve()):
        raise BadConfiguration(f"the state {folder} is inside the registry, which holds only versions: choose another")
    return folder


def hub_application(registry: Registry, state: Path, settings: Settings | None = None) -> Starlette:
    """Return the server as an ASGI application, with this process's vetoes; `state` is a folder of its own.

    Raises BadConfiguration if the settings or the tokens there can't be used.
    """
    from adapterhub_fin_registry.hub_server.http.application import application
    from adapterhub_fin_registry.hub_server.repo.state import State
    from adapterhub_fin_registry.hub_server.settings import Settings

    settings = settings or Settings()
    return application(registry, State(state, upload_age=settings.upload_age), INTAKE, settings)


def serve(
    registry: Registry | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    state: str | Path | None = None,
    public_address: bool = False,
    settings: Settings | None = None,
    ready: Callable[[str], object] = lambda url: None,
) -> None:
    """Serve a registry until SIGTERM or Ctrl-C; `ready` is called with the URL once requests are answered.

    Raises Refused for an address that other machines reach unless `public_address` is true, for one that can't be
    listened on, and if reading needs a token and there is none (no token is ever made here). Raises BadConfiguration
    for wrong settings, and if the extra `serve` isn't installed.
    """
    check_installed()
    from adapterhub_fin_registry.hub_server.repo.state import State
    from adapterhub_fin_registry.hub_server.settings import Settings
    from adapterhub_fin_registry.hub_server.tokens import Tokens

    settings = settings or Settings()
    registry = registry or configured_registries().writable()
    folder = state_folder(registry, state)
    if settings.url is not None and not _is_url(settings.url):
        raise BadConfiguration(
            f"{settings.url!r} isn't the URL of a server: write it in full, such as https://hub.example"
        )
    if not public_address and not is_loopback(host):
        raise Refused(
            f"{host} is reached by other machines, and nothing here is encrypted: use a TLS proxy, or --public"
        )
    if not settings.anonymous_read and not Tokens(folder).all():
        raise Refused("nobody has a token, and none is made automatically: make one with `ahf serve token add NAME`")
    allow_many_files()
    share_arenas()
    with (
        logging_to(sys.stderr),
        State(folder, upload_age=settings.upload_age).claimed(),
        listening(host, port) as listener,
    ):
        server = server_of(hub_application(registry, folder, settings))
        import_ahead()
        ready(settings.url or url_of(host, listener.getsockname()[1]))
        server.run(sockets=[listener])


def import_ahead() -> threading.Thread:
    """Import in a thread what a push needs, the plugins' vetoes included, so that the first push is not slow.

    Requests are answered meanwhile; a push waits until the imports are done. A failure is logged at once, and again by
    each push.
    """
    thread = threading.Thread(target=_import_for_pushes, name="imports", daemon=True)
    thread.start()
    return thread


def _import_for_pushes() -> None:
    try:
        import adapterhub_fin.engine.importing.take_in  # noqa: F401

        list(INTAKE.checks())
    except Exception:
        _LOG.exception("what a push needs can't be imported, so that pushes will fail: mend it and start again")


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - raises ValueError if it isn't a port
    except ValueError:
        return False
    if parts.query or parts.fragment or "@" in parts.netloc or any(letter.isspace() for letter in text):
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
