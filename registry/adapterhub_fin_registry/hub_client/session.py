"""Hook into the client's HTTP session while this project uses it.

The client follows every redirect, doesn't rewind a file before it sends it again, and waits as long as an answer asks.
The hooks refuse redirects that would lose a write, rewind files, and limit the wait.
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

PATIENCE: Final = 60.0  # seconds; the longest wait that an answer may ask for
_BUSY: Final = frozenset({408, 429, 500, 502, 503, 504})  # statuses after which the client itself tries again
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


@contextmanager
def watched() -> Iterator[None]:
    """Activate the hooks on the client's session, which the whole process shares, while the block runs.

    Inside the block a request raises Refused where a redirect would lose what it writes.
    """
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    hooks: dict[str, list[Any]] = get_session().event_hooks
    for event, hook in (("request", _rewind), ("response", _check)):
        if hook not in hooks[event]:
            hooks[event].append(hook)
    with _questions.lock:
        _questions.running += 1
    try:
        yield
    finally:
        with _questions.lock:
            _questions.running -= 1


def retry_after(answer: Any) -> float | None:
    """Return the seconds that an answer's `Retry-After` header asks to wait; None where it asks for no wait."""
    text = str(getattr(answer, "headers", {}).get("Retry-After", "")).strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


class _Questions:
    """Count the questions of this project that are under way, in the client's own threads too."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running = 0


_questions = _Questions()


def _rewind(request: Any) -> None:
    """Rewind a file before it is sent, since a redirect may send it a second time."""
    file = getattr(request.stream, "_stream", None)
    if isinstance(file, Counted):
        file.seek(0)


def _check(answer: Any) -> None:
    """Raise Refused for a redirect that drops a write, and the HTTP error for one that asks to wait too long."""
    if not _questions.running:
        return
    method, status = answer.request.method, answer.status_code
    # After these statuses a client continues with a GET, which writes nothing, and takes the page it gets for success.
    if (
        answer.has_redirect_location
        and method not in _READS
        and (status in (302, 303) or (status, method) == (301, "POST"))
    ):
        raise Refused(
            f"{method} {answer.request.url.copy_with(query=None)} was redirected ({status}), perhaps to a login "
            "page, and wrote nothing: check HF_ENDPOINT, and `hf auth login`"
        )
    if status in _BUSY and (retry_after(answer) or 0) > PATIENCE:
        from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]

        answer.read()
        hf_raise_for_status(answer)
