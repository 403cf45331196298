"""Serve many adapters of one base over HTTP, as `ahf serve inference` does."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin.errors import Refused
from adapterhub_fin.http_process import (
    allow_many_files,
    check_installed,
    is_loopback,
    listening,
    logging_to,
    server_of,
    share_arenas,
    url_of,
)

if TYPE_CHECKING:
    from adapterhub_fin.inference_server.settings import InferenceSettings

PORT: Final = 8781


def serve_inference(
    base: str,
    *,
    bytes: int | str = "1GiB",  # noqa: A002
    host: str = "127.0.0.1",
    port: int = PORT,
    public_address: bool = False,
    settings: InferenceSettings | None = None,
    pin: Sequence[str] = (),
    device: str | None = None,
    download: bool = False,
    trust_remote_code: bool = False,
    ready: Callable[[str], object] = lambda url: None,
) -> None:
    """Serve the adapters of a base until SIGTERM or Ctrl-C; `ready` is called with the URL once requests are answered.

    `bytes` bounds what adapters take in memory; those of `pin` are loaded first and stay. At SIGTERM no new request is
    accepted, and those in progress have 30 seconds. Raises Refused for an address that other machines reach unless
    `public_address` is true and there is a token file, and for one that can't be listened on; BadConfiguration for a
    token file that can't be read, and if the extra `serve` isn't installed; and what `ahf.pool` raises.
    """
    check_installed()
    from adapterhub_fin.inference_server.settings import InferenceSettings
    from adapterhub_fin.inference_server.tokens import TokenFile

    settings = settings or InferenceSettings()
    if not is_loopback(host) and not (public_address and settings.token_file):
        raise Refused(
            f"{host} is reached by other machines, and nothing here is encrypted: use a TLS proxy, or --public with "
            "--token-file"
        )
    if settings.token_file is not None:
        TokenFile(settings.token_file)
    allow_many_files()
    share_arenas()
    with logging_to(sys.stderr), listening(host, port) as listener, _ended_by_sigterm():
        server = server_of(_application(base, bytes, settings, pin, device, download, trust_remote_code))
        ready(url_of(host, listener.getsockname()[1]))
        server.run(sockets=[listener])


def _application(
    base: str,
    size: int | str,
    settings: InferenceSettings,
    pin: Sequence[str],
    device: str | None,
    download: bool,
    trust_remote_code: bool,
) -> Any:
    from adapterhub_fin.engine.pool.pool import pool
    from adapterhub_fin.inference_server.application import application
    from adapterhub_fin.inference_server.models import Models
    from adapterhub_fin.registries import configured_registries

    shared = pool(base, bytes=size, device=device, download=download, trust_remote_code=trust_remote_code)
    shared.pin(*pin)
    return application(shared, Models(base, configured_registries()), settings)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the process with the status 0: the server stops for it, and then raises it again."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    except SystemExit as leave:
        if leave.code != 0:
            raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(number: int, frame: object) -> None:
    raise SystemExit(0)
