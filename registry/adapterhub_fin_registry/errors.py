"""Define the registry's errors, as one small tree.

    AdapterHubError
    ├── BadReference      text that isn't a reference, a name or an alias          (also a ValueError)
    ├── BadInstant        text that isn't an instant, a date or a time zone        (also a ValueError)
    ├── BadManifest       bytes or values that aren't a manifest                   (also a ValueError)
    ├── BadEvent          an event of an unknown kind, or with the wrong body      (also a ValueError)
    ├── BadKey            a file or text that isn't a key to sign or verify with   (also a ValueError)
    ├── BadSignature      bytes that aren't a signature over the version           (also a ValueError)
    ├── BadConfiguration  a configuration file or a policy that can't be used      (also a ValueError)
    ├── BadQuery          a search that can't be parsed                            (also a ValueError)
    ├── NotFound          no such name, version, alias or digest                   (also a LookupError)
    ├── Refused           the request is valid, but it is not carried out
    │   ├── LookAhead         a version knew something from as_of on
    │   ├── PolicyViolation   a policy or a plugin's veto said no
    │   └── Unsupported       not possible with this adapter, base or engine
    ├── Corrupted         stored bytes differ from what the manifest says
    ├── NotAnAdapter      a folder that can't be stored as it is
    ├── Unreachable       a Hub that doesn't answer, or may not be contacted       (also a ConnectionError)
    └── WriteFailed       the disk refused a write; what was stored before is unchanged
        └── ReadOnly      the registry's folder may not be written

Every message is one sentence: what is wrong, and what to do next.
"""

from __future__ import annotations


class AdapterHubError(Exception):
    """Serve as the root of every error that this project raises on purpose."""


class BadReference(AdapterHubError, ValueError):
    """Report a text that isn't a reference, a name or an alias."""


class BadInstant(AdapterHubError, ValueError):
    """Report a text that isn't an instant, a date or a time zone."""


class BadManifest(AdapterHubError, ValueError):
    """Report bytes or values that aren't a manifest of this format."""


class BadEvent(AdapterHubError, ValueError):
    """Report an event of an unknown kind, or one whose body lacks what its kind requires."""


class BadKey(AdapterHubError, ValueError):
    """Report a file or a text that isn't a key for signing or verifying."""


class BadSignature(AdapterHubError, ValueError):
    """Report bytes that aren't a signature over the version they were given for."""


class BadConfiguration(AdapterHubError, ValueError):
    """Report a client configuration or a registry policy that can't be used."""


class BadQuery(AdapterHubError, ValueError):
    """Report a search that can't be parsed.

    `column`, counted from 1, is where parsing failed; it is None if the error concerns the whole query.
    """

    def __init__(self, message: str, column: int | None = None) -> None:
        super().__init__(message)
        self.column = column


class NotFound(AdapterHubError, LookupError):
    """Report that there is no such name, version, alias or digest."""


class Refused(AdapterHubError):
    """Report a valid request that is not carried out; the subclasses give the reason."""


class LookAhead(Refused):
    """Report a version that knew something from as_of on."""


class PolicyViolation(Refused):
    """Report a version rejected by the client's policy, the registry's policy or a plugin's veto."""


class Unsupported(Refused):
    """Report an operation that isn't possible with this adapter, base or engine."""


class Corrupted(AdapterHubError):
    """Report stored bytes that differ from what the manifest says."""


class NotAnAdapter(AdapterHubError):
    """Report a folder that can't be stored as it is."""


class Unreachable(AdapterHubError, ConnectionError):
    """Report a Hub that doesn't answer, or that may not be contacted."""


class WriteFailed(AdapterHubError):
    """Report a write that the disk refused."""


class ReadOnly(WriteFailed):
    """Report a registry folder that may not be written."""
