"""The client's HTTP session while this project asks through it: what is sent again, waited for, and not followed.

The client follows every redirect, sends a file that was read to its end without rewinding it, and waits as long as an
answer asks for. Hooks on its session change that for as long as a question of this project's is under way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any, Final

from adapterhub_fin_registry.errors import Refused
from adapterhub_fin_registry.hub_client.progress import Counted

PATIENCE: Final = 60.0  # seconds for which an answer may ask to wait
_BUSY: Final = frozenset({408, 429, 500, 502, 503, 504})  # statuses that the client tries again by itself
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


@contextmanager
def watched() -> Iterator[None]:
    """Watch the client's session, which is the whole process's, until this ends."""
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    hooks: dict[str, list[Any]] = get_session().event_hooks
    for event, hook in (("request", _rewind), ("response", _check)):
        if hook not in hooks[event]:
            hooks[event].append(hook)
    with _asked.lock:
        _asked.running += 1
    try:
        yield
    finally:
        with _asked.lock:
            _asked.running -= 1


def wait_asked_for(answer: Any) -> float | None:
    """Return the seconds that an answer's `Retry-After` asks to wait; None where it asks for none."""
    text = str(getattr(answer, "headers", {}).get("Retry-After", "")).strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


class _Asked:
    """How many questions of this project's are under way; the client asks in threads of its own too."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running = 0


_asked = _Asked()


def _rewind(request: Any) -> None:
    """Send a file from its start, also where a redirect sends it a second time."""
    file = getattr(request.stream, "_stream", None)
    if isinstance(file, Counted):
        file.seek(0)


def _check(answer: Any) -> None:
    """Refuse an answer that the client would believe, or wait for, though nothing comes of it."""
    if not _asked.running:
        return
    method, status = answer.request.method, answer.status_code
    # After these a client goes on with a GET, which writes nothing, and takes the page that it gets for a yes.
    if (
        answer.has_redirect_location
        and method not in _READS
        and (status in (302, 303) or (status, method) == (301, "POST"))
    ):
        raise Refused(
            f"{method} {answer.request.url.copy_with(query=None)} was redirected ({status}) as to a login page, so "
            "that nothing came of it: check HF_ENDPOINT, and `hf auth login`"
        )
    if status in _BUSY and (wait_asked_for(answer) or 0) > PATIENCE:
        from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]

        answer.read()
        hf_raise_for_status(answer)
