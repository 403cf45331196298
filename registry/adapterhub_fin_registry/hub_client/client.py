"""The Hub's client, and what it raises said as this project says things."""

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
from adapterhub_fin_registry.hub_client.session import PATIENCE, wait_asked_for, watched

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")
_TRIES: Final = 4  # of one question
_log = logging.getLogger(__name__)


class Hub:
    """One Hub, at an endpoint: by default the one of HF_ENDPOINT, with the token of the client's own login.

    The client reads its environment (HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_OFFLINE) once, when it is imported.
    """

    def __init__(self, endpoint: str | None = None, *, token: str | None = None) -> None:
        self._given, self._token = endpoint, token

    @cached_property
    def endpoint(self) -> str:
        """Where the Hub is, as `https://huggingface.co`."""
        from huggingface_hub import constants

        return (self._given or constants.ENDPOINT).rstrip("/")

    @cached_property
    def api(self) -> HfApi:
        """The client, bound to the endpoint."""
        from huggingface_hub import HfApi

        return HfApi(endpoint=self.endpoint, token=self._token, library_name="adapterhub_fin")

    @property
    def offline(self) -> bool:
        """Whether HF_HUB_OFFLINE forbids to ask."""
        from huggingface_hub import constants

        return bool(constants.HF_HUB_OFFLINE)

    @property
    def key(self) -> str:
        """What tells the folder of this Hub in a cache from another's."""
        return hashlib.sha256(self.endpoint.encode()).hexdigest()[:16]

    def ask(self, what: str, question: Callable[[], T], *, writes: bool = False) -> T:
        """Return the answer to a question, which is asked again a little later where the Hub is busy.

        What `writes` is asked again only where the Hub says that it did nothing (429). Raises what `asked` raises, at
        the latest after `PATIENCE` seconds of waiting.
        """
        tried, left = 0, PATIENCE
        while True:
            try:
                with self.asked(what):
                    return question()
            except Unreachable as error:
                tried += 1
                wait = _pause(error.__cause__, tried, writes)
                if wait is None or tried == _TRIES or wait > left:
                    raise
                left -= wait
                _log.info("%s: asking again in %.0f seconds", error, wait)
                time.sleep(wait)

    @contextmanager
    def asked(self, what: str) -> Iterator[None]:
        """Ask the Hub for something: its client's errors become NotFound, Refused or Unreachable, with what to do."""
        try:
            with watched():
                yield
        except AdapterHubError:
            raise
        except Exception as error:
            if (said := self._said(what, error)) is None:
                raise
            raise said from error

    def _said(self, what: str, error: BaseException) -> AdapterHubError | None:
        """What an error of the client means here; None for one that isn't about the Hub."""
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
            return error.__cause__  # of a file that was sent in a thread of the client's
        if error.__cause__ is not None and (said := self._said(what, error.__cause__)) is not None:
            return said  # the client says "check your connection" of whatever it was
        if isinstance(error, errors.HFValidationError):
            return BadReference(f"{what} isn't a name that a Hub allows: write hf://ORG/NAME[@REVISION]")
        if isinstance(error, (errors.HTTPError, ConnectionError, TimeoutError)):  # type: ignore[attr-defined]
            return Unreachable(
                f"{where} can't be reached ({_reason(error)}): try again, check HF_ENDPOINT, or set HF_HUB_OFFLINE=1 "
                "to use what was read before"
            )
        if isinstance(error, json.JSONDecodeError):
            return Unreachable(f"{where} answers what isn't JSON: check HF_ENDPOINT, or try again later")
        if isinstance(
            error, (AttributeError, LookupError, RecursionError, TypeError)
        ):  # where the client takes it for granted
            return Unreachable(f"{where} answers in a form that no Hub has: check HF_ENDPOINT, or tell its owner")
        if isinstance(error, ValueError):  # what a Hub says within an answer, of a card or of a file
            return Refused(f"{where} was refused ({_reason(error)}): mend what it says, and try again")
        if isinstance(error, OSError) and (error.errno is None or isinstance(error, errors.LocalEntryNotFoundError)):
            return Unreachable(f"{where} can't be read, {_reason(error)}: try again")  # a body that was cut, say
        return None  # this machine's own disk, which says best itself what is wrong

    def _answered(self, where: str, error: BaseException) -> Refused | Unreachable:
        """What an answer with an error's status means."""
        status, reason = status_of(error), _reason(error)
        if status == 401:
            return Refused(f"{where} isn't for whoever has no valid token: `hf auth login`, or mend HF_TOKEN")
        if status == 403:
            return Refused(f"{where} isn't yours to do that with ({reason}): ask its owner for the right")
        if is_passing(status):
            wait = wait_asked_for(getattr(error, "response", None))
            when = "later" if wait is None else f"later, as it asks for {wait:.0f} seconds"
            return Unreachable(f"{where} can't be had for now ({reason}): try again {when}")
        return Refused(f"{where} was refused ({reason}): mend what it says, and try again")


def status_of(error: BaseException) -> int | None:
    """The status of the answer that an error of the client's came from."""
    return getattr(getattr(error, "response", None), "status_code", None)


def is_passing(status: int | None) -> bool:
    """Whether what an answer with this status doesn't give may be had a little later.

    507 is a disk, or a quota, that is full: it stays so until somebody makes room.
    """
    return status is None or (status >= 500 and status != 507) or status in (408, 429)


def _pause(error: BaseException | None, tried: int, writes: bool) -> float | None:
    """Return the seconds after which to ask again; None where that is of no use."""
    status = status_of(error) if error is not None else None
    if status is None or not is_passing(status) or (writes and status != 429):
        return None
    asked = wait_asked_for(getattr(error, "response", None))
    return 2.0 ** (tried - 1) if asked is None else asked


def _reason(error: BaseException) -> str:
    """What a server or the client said, on one line, without what would steer a terminal."""
    said = getattr(error, "server_message", None) or str(error) or type(error).__name__
    words = " ".join("".join(letter if letter.isprintable() else " " for letter in said).split())
    return words if len(words) <= 300 else words[:300] + "..."


@contextmanager
def transferring() -> Iterator[None]:
    """The client's own bars on a terminal while files are sent or fetched, and nothing of it in a pipe.

    What it changes is the whole process's: of several threads the first changes it, and the last changes it back.
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
    """Those of this process that are under way."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running = 0
        self.changed = ExitStack()


_transfers = _Transfers()


@contextmanager
def _quiet() -> Iterator[None]:
    from huggingface_hub import utils

    spoken = logging.getLogger("huggingface_hub._commit_api")
    before, quiet = spoken.level, not sys.stderr.isatty() and not utils.are_progress_bars_disabled()  # type: ignore[attr-defined]
    spoken.setLevel(logging.ERROR)  # that a file object goes over plain LFS is meant: see `publishing`
    if quiet:
        utils.disable_progress_bars()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        spoken.setLevel(before)
        if quiet:
            utils.enable_progress_bars()  # type: ignore[attr-defined]
