"""Append to the audit file: a line of JSON for every token that is created or revoked. Lines never change."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any, Final

from adapterhub_fin_registry.storage.transaction import author, now

FILE: Final = "audit.jsonl"


def write_audit(folder: Path, event: str, **details: Any) -> None:
    """Append an event with its time (UTC), its user and `details`, and sync the file. Raises OSError where it can't.

    Call it before the action: a line about an action that then failed is better than an action without a line.
    """
    line = json.dumps({"at": now(), "event": event, "by": _who(), **details}, sort_keys=True) + "\n"
    descriptor = os.open(folder / FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())  # in one write, so that the lines of two processes don't mix
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _who() -> str:
    """Return the system's user and host, not those of the environment, with the user who called sudo."""
    if sys.platform == "win32":
        return author()
    import pwd

    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user may have no name
        name = str(os.getuid())
    caller = os.environ.get("SUDO_USER")
    return f"{name}@{socket.gethostname()}" + (f" (sudo by {caller})" if caller else "")
