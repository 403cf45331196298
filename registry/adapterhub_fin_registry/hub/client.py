"""The Hub's client, and what it raises said as this project says things."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from adapterhub_fin_registry.errors import AdapterHubError, BadReference, NotFound, Refused, Unreachable

if TYPE_CHECKING:
    from huggingface_hub import HfApi


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

    @contextmanager
    def asked(self, what: str) -> Iterator[None]:
        """Ask the Hub for something: its client's errors become NotFound, Refused or Unreachable, with what to do."""
        from huggingface_hub import errors

        where = f"{what} on {self.endpoint}"
        try:
            yield
        except AdapterHubError:
            raise
        except errors.OfflineModeIsEnabled as error:
            raise Unreachable(f"{what} isn't on this machine, and HF_HUB_OFFLINE is set: unset it to ask") from error
        except errors.GatedRepoError as error:
            raise Refused(f"{where} is gated: accept its terms on its page there, then `hf auth login`") from error
        except errors.RepositoryNotFoundError as error:
            raise NotFound(f"there is no {where} that you may see: check its name, or `hf auth login`") from error
        except errors.RevisionNotFoundError as error:
            raise NotFound(f"{where} isn't there: `ahf list --on hf://ORG/NAME` lists its versions") from error
        except errors.LocalEntryNotFoundError as error:
            raise Unreachable(f"{where} can't be read, {_reason(error)}: try again") from error
        except errors.EntryNotFoundError as error:
            raise NotFound(f"{where} lacks a file that its list has: try again, or tell its owner") from error
        except errors.HfHubHTTPError as error:
            raise self._answered(where, error) from error
        except errors.HFValidationError as error:
            raise BadReference(f"{what} isn't a name that a Hub allows: write hf://ORG/NAME[@REVISION]") from error
        except (errors.HTTPError, ConnectionError, TimeoutError) as error:  # type: ignore[attr-defined]
            raise Unreachable(
                f"{where} can't be reached ({_reason(error)}): try again, check HF_ENDPOINT, or set HF_HUB_OFFLINE=1 "
                "to use what was read before"
            ) from error
        except json.JSONDecodeError as error:
            raise Unreachable(f"{where} answers what isn't JSON: check HF_ENDPOINT, or try again later") from error
        except ValueError as error:  # what a Hub answers within an answer, of a card or of a file
            raise Refused(f"{where} was refused ({_reason(error)}): mend what it says, and try again") from error
        except OSError as error:
            if error.errno is not None:  # this machine's own disk, which says best itself what is wrong
                raise
            raise Unreachable(f"{where} can't be read, {_reason(error)}: try again") from error

    def _answered(self, where: str, error: Exception) -> Refused | Unreachable:
        """What an answer with an error's status means."""
        status, reason = status_of(error), _reason(error)
        if status == 401:
            return Refused(f"{where} isn't for whoever has no valid token: `hf auth login`, or mend HF_TOKEN")
        if status == 403:
            return Refused(f"{where} isn't yours to do that with ({reason}): ask its owner for the right")
        if status is None or status >= 500 or status in (408, 429):
            return Unreachable(f"{where} can't be had for now ({reason}): try again later")
        return Refused(f"{where} was refused ({reason}): mend what it says, and try again")


def status_of(error: Exception) -> int | None:
    """The status of the answer that an error of the client's came from."""
    return getattr(getattr(error, "response", None), "status_code", None)


def _reason(error: Exception) -> str:
    """What a server or the client said, on one line, without what would steer a terminal."""
    said = getattr(error, "server_message", None) or str(error) or type(error).__name__
    words = " ".join("".join(letter if letter.isprintable() else " " for letter in said).split())
    return words if len(words) <= 300 else words[:300] + "..."


@contextmanager
def transferring() -> Iterator[None]:
    """The client's own bars on a terminal while files are sent or fetched, and nothing of it in a pipe."""
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
