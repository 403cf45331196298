"""What can go wrong in the registry, as one small tree.

    AdapterHubError
    ├── BadReference      text that isn't a reference, a name or an alias          (also a ValueError)
    ├── BadInstant        text that isn't an instant, a date or a time zone        (also a ValueError)
    ├── BadManifest       bytes or values that aren't a manifest                   (also a ValueError)
    ├── BadEvent          an event of an unknown kind, or with the wrong body      (also a ValueError)
    ├── BadKey            a file or text that isn't a key to sign or verify with   (also a ValueError)
    ├── BadSignature      bytes that aren't a signature over the version           (also a ValueError)
    ├── BadConfiguration  the client's configuration, or a registry's policy, can't be used (also a ValueError)
    ├── BadQuery          a search that can't be read                              (also a ValueError)
    ├── NotFound          no such name, version, alias or digest                   (also a LookupError)
    ├── Refused           what was asked for is not done, though it could be read
    │   ├── LookAhead         a version knew something from as_of on
    │   ├── PolicyViolation   a policy or a plugin's veto said no
    │   └── Unsupported       nothing here can do that with this adapter, base or engine
    ├── Corrupted         stored bytes differ from what the manifest says of them
    ├── NotAnAdapter      a folder that can't be stored as it is
    ├── Unreachable       a Hub that does not answer, or may not be asked          (also a ConnectionError)
    └── WriteFailed       the disk refused a write; what was stored before is as it was
        └── ReadOnly      the registry's folder may not be written at all

Every message is one sentence: what is wrong, and what to do next.
"""

from __future__ import annotations


class AdapterHubError(Exception):
    """The root of every error that this project raises on purpose."""


class BadReference(AdapterHubError, ValueError):
    """A text isn't a reference, a name or an alias."""


class BadInstant(AdapterHubError, ValueError):
    """A text isn't an instant, a date or a time zone."""


class BadManifest(AdapterHubError, ValueError):
    """Bytes or values aren't a manifest of this format."""


class BadEvent(AdapterHubError, ValueError):
    """An event is of an unknown kind, or its body lacks what its kind requires."""


class BadKey(AdapterHubError, ValueError):
    """A file or a text isn't a key that can sign or verify."""


class BadSignature(AdapterHubError, ValueError):
    """Bytes aren't a signature over the version that they were given for."""


class BadConfiguration(AdapterHubError, ValueError):
    """The client's configuration, or the policy of a registry, can't be used as it stands."""


class BadQuery(AdapterHubError, ValueError):
    """A search can't be read; `column`, counted from 1, is where, unless it is the whole."""

    def __init__(self, message: str, column: int | None = None) -> None:
        super().__init__(message)
        self.column = column


class NotFound(AdapterHubError, LookupError):
    """There is no such name, version, alias or digest."""


class Refused(AdapterHubError):
    """What was asked for is not done; its subclasses say why where a program may want to know."""


class LookAhead(Refused):
    """A version knew something from as_of on."""


class PolicyViolation(Refused):
    """The client's policy, the registry's, or a plugin's veto said no."""


class Unsupported(Refused):
    """Nothing here can do that with this adapter, base or engine."""


class Corrupted(AdapterHubError):
    """Stored bytes differ from what the manifest says of them."""


class NotAnAdapter(AdapterHubError):
    """A folder can't be stored as it is."""


class Unreachable(AdapterHubError, ConnectionError):
    """A Hub doesn't answer, or may not be asked."""


class WriteFailed(AdapterHubError):
    """The disk refused a write."""


class ReadOnly(WriteFailed):
    """The registry's folder may not be written."""
