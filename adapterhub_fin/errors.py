"""Define every error that this project raises; each message says what to do next.

AdapterHubError
├── BadReference          a name or reference outside the grammar
├── BadInstant            text that is no instant, date or time zone
├── NotFound              no such name, version, alias or digest
├── Refused               what was asked for is not done, though it could be read
│   ├── LookAhead         a version knew something from as_of on
│   ├── PolicyViolation   a policy or a plugin's veto said no
│   ├── Overloaded        more rows wait than a server may hold: try again later
│   ├── DeadlineExceeded  a row was not answered within its time
│   └── Unsupported       nothing here can do that with this adapter, base or engine
├── Corrupted             stored bytes differ from the manifest
├── NotAnAdapter          a folder that can't be stored
├── BadManifest           a manifest that breaks the format
├── BadEvent              an event of an unknown kind, or with the wrong body
├── BadKey                a file or text that is no key to sign or verify with
├── BadSignature          bytes that are no signature over the version
├── BadConfiguration      the client's configuration can't be used as it stands
├── BadQuery              a search that can't be read; names the column
├── Unreachable           a Hub that doesn't answer, or may not be asked
├── WriteFailed           the disk refused a write; what was stored is as it was
│   └── ReadOnly          the registry may not be written at all
├── UnknownName           no plugin of that name; lists the near ones
├── PluginError           a plugin could not be loaded or broke its contract
├── BadRecipe             a recipe that can't be run
│   └── BadText           a text that can't be read; names its place
├── BadMerge              adapters, weights or a rank that can't be merged so
├── BadCorpus             data that can't be trained on; names file and row
├── BaseNotFound          the base isn't on this machine
├── WrongBase             shape, vocabulary or weights are not those of the fingerprint
├── WrongTensors          the stored tensors and the adapter's parameters don't match
├── NotFinite             an answer that holds NaN or infinity
└── TrainingFailed        the run broke; what it had is kept
    └── ForgetsTooMuch    it got worse on a corpus than training.forgetting allows; the run is kept
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from adapterhub_fin_registry.errors import (
    AdapterHubError,
    BadConfiguration,
    BadEvent,
    BadInstant,
    BadKey,
    BadManifest,
    BadQuery,
    BadReference,
    BadSignature,
    Corrupted,
    LookAhead,
    NotAnAdapter,
    NotFound,
    PolicyViolation,
    ReadOnly,
    Refused,
    Unreachable,
    Unsupported,
    WriteFailed,
)

__all__ = [
    "AdapterHubError",
    "BadConfiguration",
    "BadCorpus",
    "BadEvent",
    "BadInstant",
    "BadKey",
    "BadManifest",
    "BadMerge",
    "BadQuery",
    "BadRecipe",
    "BadReference",
    "BadSignature",
    "BadText",
    "BaseNotFound",
    "Corrupted",
    "DeadlineExceeded",
    "ForgetsTooMuch",
    "LookAhead",
    "NotAnAdapter",
    "NotFinite",
    "NotFound",
    "Overloaded",
    "PluginError",
    "PolicyViolation",
    "ReadOnly",
    "Refused",
    "TrainingFailed",
    "UnknownName",
    "Unreachable",
    "Unsupported",
    "WriteFailed",
    "WrongBase",
    "WrongTensors",
]


LISTED = 20  # names in an error, at most


class UnknownName(AdapterHubError):
    """Report a name that no plugin offers."""

    def __init__(self, kind: str, name: str, names: Iterable[str], hint: str = "") -> None:
        known_names = sorted(names)
        near = get_close_matches(name, known_names, n=3, cutoff=0.5)
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        listed = ", ".join(known_names) or "none"
        if len(known_names) > LISTED:
            listed = f"{len(known_names)} names, which `ahf plugins` lists"
        super().__init__(f"no {kind} is named {name!r}; {meant}known: {listed}{'; ' + hint if hint else ''}")


class PluginError(AdapterHubError):
    """Report a plugin that can't be loaded, or that broke its contract."""


class BadRecipe(AdapterHubError):
    """Report a recipe that can't be run as it stands."""


class BadText(BadRecipe, ValueError):
    """Report an input that is no text: it is missing, blank, bytes, or holds half a surrogate pair."""


class BadMerge(AdapterHubError):
    """Report adapters, weights or a rank that can't be merged in that way."""


class BadCorpus(AdapterHubError):
    """Report data that can't be trained on; the message names file and row."""


class BaseNotFound(AdapterHubError):
    """Report a base model that isn't on this machine."""


class WrongBase(AdapterHubError):
    """Report a model that is not the base that the version was trained on."""


class WrongTensors(AdapterHubError):
    """Report stored tensors that don't match the model's parameters one to one."""


class Overloaded(Refused):
    """Report a server that holds as many rows as it may; `retry_after` says in how many seconds to try again."""

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineExceeded(Refused, TimeoutError):
    """Report a row that was not answered within the time that its caller gave."""


class NotFinite(AdapterHubError):
    """Report an answer that holds NaN or infinity."""


class TrainingFailed(AdapterHubError):
    """Report that training broke; the message says where its last state is kept."""


class ForgetsTooMuch(TrainingFailed):
    """Report a run that got worse on a corpus than its recipe allows; no version was stored, and the run is kept."""
