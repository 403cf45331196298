"""Serve the local registry as a Hub, as `ahf serve` does."""

from __future__ import annotations

import ctypes
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, TextIO
from urllib.parse import urlsplit

from adapterhub_fin.errors import BadConfiguration, Refused
from adapterhub_fin.registries import INTAKE, configured_registries
from adapterhub_fin_registry import Registry

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette

    from adapterhub_fin_registry.hub_server.settings import Settings

PORT = 8780
_ACCESS_LOG = "adapterhub_fin_registry.hub_server.http.access"
_LOG = logging.getLogger(_ACCESS_LOG)  # so that its records stand among those of the requests
_FILES = 65_536
_ARENA_MAX = -8  # M_ARENA_MAX of glibc's malloc.h
_GRACE = 30  # seconds that running requests have to finish once the server is told to stop
_KEEP_ALIVE = 30  # seconds that a connection waits for its next request


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


def server_of(application: Starlette) -> uvicorn.Server:
    """Return the HTTP server of an application; its `run` takes the sockets to listen on."""
    import uvicorn

    from adapterhub_fin_registry.hub_server.http.connection import PatientProtocol

    return uvicorn.Server(
        uvicorn.Config(
            application,
            http=PatientProtocol,
            log_config=None,
            access_log=False,
            proxy_headers=False,  # a client could write anything into them, and so into the log
            lifespan="on",
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=_GRACE,
        )
    )


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
    if not public_address and not _is_loopback(host):
        raise Refused(
            f"{host} is reached by other machines, and nothing here is encrypted: use a TLS proxy, or --public"
        )
    if not settings.anonymous_read and not Tokens(folder).all():
        raise Refused("nobody has a token, and none is made automatically: make one with `ahf serve token add NAME`")
    _allow_many_files()
    _share_arenas()
    with (
        _logging_to(sys.stderr),
        State(folder, upload_age=settings.upload_age).claimed(),
        _listening(host, port) as listener,
    ):
        server = server_of(hub_application(registry, folder, settings))
        import_ahead()
        ready(settings.url or _url(host, listener.getsockname()[1]))
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


def check_installed() -> None:
    """Check that the packages for serving are installed. Raises BadConfiguration if one isn't."""
    missing = [name for name in ("prometheus_client", "starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise BadConfiguration(f"serving needs {', '.join(missing)}: pip install 'adapterhub-fin[serve]'")


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise Refused(f"{host}:{port} can't be listened on ({error.strerror}): choose another --port") from error


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - raises ValueError if it isn't a port
    except ValueError:
        return False
    if parts.query or parts.fragment or "@" in parts.netloc or any(letter.isspace() for letter in text):
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _allow_many_files() -> None:
    """Raise the limit of open files as far as the system allows: each connection and download needs one."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def _share_arenas() -> None:
    """Limit glibc to two malloc arenas: by default it has eight per core, and each keeps its freed memory.

    Does nothing if the environment sets MALLOC_ARENA_MAX.
    """
    if sys.platform != "linux" or "MALLOC_ARENA_MAX" in os.environ:
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):  # not in other C libraries
        library.mallopt(_ARENA_MAX, 2)


@contextmanager
def _logging_to(stream: TextIO) -> Iterator[None]:
    """Log requests and errors as JSON lines to a stream, for one block; the loggers are restored afterwards."""
    from adapterhub_fin_registry.hub_server.http.access import JsonLines

    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    levels = {_ACCESS_LOG: logging.INFO, "uvicorn.error": logging.WARNING}
    before = {
        name: (logger := logging.getLogger(name), logger.handlers, logger.propagate, logger.level) for name in levels
    }
    for name, level in levels.items():
        logger = before[name][0]
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
    try:
        yield
    finally:
        for logger, handlers, propagate, level in before.values():
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)
