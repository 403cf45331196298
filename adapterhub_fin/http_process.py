"""Run an HTTP server in this process: its socket, its limits and its log."""

from __future__ import annotations

import ctypes
import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, TextIO

from adapterhub_fin.errors import BadConfiguration, Refused

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette

ACCESS_LOG: Final = "adapterhub_fin_registry.hub_server.http.access"
_FILES: Final = 65_536
_ARENA_MAX: Final = -8  # M_ARENA_MAX of glibc's malloc.h
_GRACE: Final = 30  # seconds that running requests have to finish once the server is told to stop
_KEEP_ALIVE: Final = 30  # seconds that a connection waits for its next request


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


def check_installed() -> None:
    """Check that the packages for serving are installed. Raises BadConfiguration if one isn't."""
    missing = [name for name in ("prometheus_client", "starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise BadConfiguration(f"serving needs {', '.join(missing)}: pip install 'adapterhub-fin[serve]'")


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Raises Refused for an address that can't be listened on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise Refused(f"{host}:{port} can't be listened on ({error.strerror}): choose another --port") from error


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a host."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def url_of(host: str, port: int) -> str:
    """Return the URL of a server on this machine."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def allow_many_files() -> None:
    """Raise the limit of open files as far as the system allows: each connection and download needs one."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def share_arenas() -> None:
    """Limit glibc to two malloc arenas: by default it has eight per core, and each keeps its freed memory.

    Does nothing if the environment sets MALLOC_ARENA_MAX.
    """
    if sys.platform != "linux" or "MALLOC_ARENA_MAX" in os.environ:
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):  # not in other C libraries
        library.mallopt(_ARENA_MAX, 2)


@contextmanager
def logging_to(stream: TextIO) -> Iterator[None]:
    """Log requests and errors as JSON lines to a stream, for one block; the loggers are restored afterwards."""
    from adapterhub_fin_registry.hub_server.http.access import JsonLines

    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    levels = {ACCESS_LOG: logging.INFO, "uvicorn.error": logging.WARNING}
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
