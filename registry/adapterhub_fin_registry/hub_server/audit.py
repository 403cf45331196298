"""The audit file: a line of JSON for every token that is made or revoked. Lines are added, none is ever changed."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any, Final

from adapterhub_fin_registry.storage.transaction import author, now

FILE: Final = "audit.jsonl"


def write_audit(folder: Path, event: str, **said: Any) -> None:
    """Append a line with the event, when it was (UTC) and who did it, and make it durable; an OSError where it can't.

    It comes before what it tells of: a line of something that then failed is better than something without a line.
    """
    line = json.dumps({"at": now(), "event": event, "by": _who(), **said}, sort_keys=True) + "\n"
    descriptor = os.open(folder / FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())  # in one write, so that two who append don't mix their lines
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _who() -> str:
    """The system's own user, whatever the environment says, and behind sudo the one who called it."""
    if sys.platform == "win32":
        return author()
    import pwd

    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user may have no name
        name = str(os.getuid())
    caller = os.environ.get("SUDO_USER")
    return f"{name}@{socket.gethostname()}" + (f" (sudo by {caller})" if caller else "")
