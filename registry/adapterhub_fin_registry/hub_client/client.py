"""Wrap `huggingface_hub`: retry questions, and translate its errors into this project's."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Final, TypeVar

from adapterhub_fin_registry.errors import AdapterHubError, BadReference, NotFound, Refused, Unreachable
from adapterhub_fin_registry.hub_client.session import PATIENCE, retry_after, watched

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")
_TRIES: Final = 4  # per question
_log = logging.getLogger(__name__)


class Hub:
    """Represent the Hub at one endpoint.

    The defaults are HF_ENDPOINT and the token of `hf auth login`. `huggingface_hub` reads its environment (HF_ENDPOINT,
    HF_TOKEN, HF_HOME, HF_HUB_OFFLINE) once, when it is imported.
    """

    def __init__(self, endpoint: str | None = None, *, token: str | None = None) -> None:
        self._given, self._token = endpoint, token

    @cached_property
    def endpoint(self) -> str:
        """Return the Hub's address without a final slash, such as `https://huggingface.co`."""
        from huggingface_hub import constants

        return (self._given or constants.ENDPOINT).rstrip("/")

    @cached_property
    def api(self) -> HfApi:
        """Return the `huggingface_hub` client for this endpoint."""
        from huggingface_hub import HfApi

        return HfApi(endpoint=self.endpoint, token=self._token, library_name="adapterhub_fin")

    @property
    def offline(self) -> bool:
        """Return whether HF_HUB_OFFLINE forbids requests."""
        from huggingface_hub import constants

        return bool(constants.HF_HUB_OFFLINE)

    @property
    def key(self) -> str:
        """Return the name of this Hub's folder in a cache: 16 hexadecimal digits, from the endpoint."""
        return hashlib.sha256(self.endpoint.encode()).hexdigest()[:16]

    def ask(self, what: str, question: Callable[[], T], *, writes: bool = False) -> T:
        """Return what `question` returns; while the Hub is busy, wait and call it again.

        A question that `writes` is repeated only after status 429, with which the Hub says that it did nothing. The
        waits add up to at most `PATIENCE` seconds. Raises the errors of `translating_errors`.
        """
        attempts, left = 0, PATIENCE
        while True:
            try:
                with self.translating_errors(what):
                    return question()
            except Unreachable as error:
                attempts += 1
                wait = _pause(error.__cause__, attempts, writes)
                if wait is None or attempts == _TRIES or wait > left:
                    raise
                left -= wait
                _log.info("%s: asking again in %.0f seconds", error, wait)
                time.sleep(wait)

    @contextmanager
    def translating_errors(self, what: str) -> Iterator[None]:
        """Translate the client's errors inside the block into this project's, each with what to do about it.

        `what` is the subject of the message, such as `hf://acme/tone`. Raises NotFound, Refused, Unreachable or
        BadReference.
        """
        try:
            with watched():
                yield
        except AdapterHubError:
            raise
        except Exception as error:
            if (translated := self._translated(what, error)) is None:
                raise
            raise translated from error

    def _translated(self, what: str, error: BaseException) -> AdapterHubError | None:
        """Return this project's error for one of the client's; None where it isn't about the Hub."""
        from huggingface_hub import errors

        where = f"{what} on {self.endpoint}"
        if isinstance(error, errors.OfflineModeIsEnabled):
            return Unreachable(f"{what} isn't on this machine, and HF_HUB_OFFLINE is set: unset it to ask")
        if isinstance(error, errors.GatedRepoError):
            return Refused(
                f"{where} is gated ({_reason(error)}): accept its terms on its page there, then `hf auth login`"
            )
        if isinstance(error, errors.RepositoryNotFoundError):
            return NotFound(f"there is no {where} that you may see: check its name, or `hf auth login`")
        if isinstance(error, errors.RevisionNotFoundError):
            return NotFound(f"{where} isn't there: `ahf list --on hf://ORG/NAME` lists its versions")
        if isinstance(error, errors.RemoteEntryNotFoundError):
            return NotFound(f"{where} lacks a file that its list has: try again, or tell its owner")
        if isinstance(error, errors.HfHubHTTPError):
            return self._answered(where, error)
        if isinstance(error.__cause__, AdapterHubError):
            return error.__cause__  # raised while the client sent a file in a thread of its own
        if error.__cause__ is not None and (cause := self._translated(what, error.__cause__)) is not None:
            return cause  # the client wraps any failure as "check your connection"
        if isinstance(error, errors.HFValidationError):
            return BadReference(f"{what} isn't a name that a Hub allows: write hf://ORG/NAME[@REVISION]")
        if isinstance(error, (errors.HTTPError, ConnectionError, TimeoutError)):  # type: ignore[attr-defined]
            return Unreachable(
                f"{where} can't be reached ({_reason(error)}): try again, check HF_ENDPOINT, or set HF_HUB_OFFLINE=1 "
                "to use what was read before"
            )
        if isinstance(error, json.JSONDecodeError):
            return Unreachable(f"{where} answers with something other than JSON: check HF_ENDPOINT, or try again later")
        # The client trusts the form of an answer, and fails with these where it is another.
        if isinstance(error, (AttributeError, LookupError, RecursionError, TypeError)):
            return Unreachable(f"{where} answers in a form that no Hub has: check HF_ENDPOINT, or tell its owner")
        if isinstance(error, ValueError):  # an error that the Hub reports within an answer, about a card or a file
            return Refused(f"{where} was refused ({_reason(error)}): mend what it says, and try again")
        if isinstance(error, OSError) and (error.errno is None or isinstance(error, errors.LocalEntryNotFoundError)):
            return Unreachable(f"{where} can't be read, {_reason(error)}: try again")  # such as a body that was cut
        return None  # an error of this machine's disk, whose own message is best

    def _answered(self, where: str, error: BaseException) -> Refused | Unreachable:
        """Return the error for an answer with an error status."""
        status, reason = status_of(error), _reason(error)
        if status == 401:
            return Refused(f"{where} needs a valid token: `hf auth login`, or mend HF_TOKEN")
        if status == 403:
            return Refused(f"{where} doesn't allow you to do that ({reason}): ask its owner for the right")
        if is_passing(status):
            wait = retry_after(getattr(error, "response", None))
            when = "later" if wait is None else f"later, as it asks for {wait:.0f} seconds"
            return Unreachable(f"{where} isn't available now ({reason}): try again {when}")
        return Refused(f"{where} was refused ({reason}): mend what it says, and try again")


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status behind an error of the client; None where there was no answer."""
    return getattr(getattr(error, "response", None), "status_code", None)


def is_passing(status: int | None) -> bool:
    """Return whether a failure with this status may pass by itself, so that trying again makes sense.

    No status (None) counts as passing. 507 does not: a disk or a quota stays full until somebody makes room.
    """
    return status is None or (status >= 500 and status != 507) or status in (408, 429)


def _pause(error: BaseException | None, attempts: int, writes: bool) -> float | None:
    """Return the seconds to wait before the next attempt; None where another attempt is of no use."""
    status = status_of(error) if error is not None else None
    if status is None or not is_passing(status) or (writes and status != 429):
        return None
    requested = retry_after(getattr(error, "response", None))
    return 2.0 ** (attempts - 1) if requested is None else requested


def _reason(error: BaseException) -> str:
    """Return the error's message on one line, at most 300 characters, without control characters."""
    message = getattr(error, "server_message", None) or str(error) or type(error).__name__
    words = " ".join("".join(letter if letter.isprintable() else " " for letter in message).split())
    return words if len(words) <= 300 else words[:300] + "..."


@contextmanager
def transferring() -> Iterator[None]:
    """Show the client's progress bars on a terminal, and hide them in a pipe, while the block runs.

    The setting belongs to the whole process: of several threads the first one sets it, and the last one resets it.
    """
    with _transfers.lock:
        _transfers.running += 1
        if _transfers.running == 1:
            _transfers.changed.enter_context(_quiet())
    try:
        yield
    finally:
        with _transfers.lock:
            _transfers.running -= 1
            if _transfers.running == 0:
                _transfers.changed.close()


class _Transfers:
    """Count the transfers of this process that are under way."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running = 0
        self.changed = ExitStack()


_transfers = _Transfers()


@contextmanager
def _quiet() -> Iterator[None]:
    from huggingface_hub import utils

    logger = logging.getLogger("huggingface_hub._commit_api")
    before, quiet = logger.level, not sys.stderr.isatty() and not utils.are_progress_bars_disabled()  # type: ignore[attr-defined]
    logger.setLevel(
        logging.ERROR
    )  # it warns that a file object goes over plain LFS, which is intended: see `publishing`
    if quiet:
        utils.disable_progress_bars()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        logger.setLevel(before)
        if quiet:
            utils.enable_progress_bars()  # type: ignore[attr-defined]
