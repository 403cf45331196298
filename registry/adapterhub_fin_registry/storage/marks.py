"""Read the change marks by which a cache knows that nothing has changed."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Final

from adapterhub_fin_registry.io.safe_read import (
    ABSENT,
    read_start,
)

_MARK: Final = 4096  # bytes, far more than a mark has
_UNKNOWN: Final = "unknown-"


def mark_of(folder: Path) -> str:
    """Return the change mark of a root or of a name's folder; empty before its first change."""
    try:
        text = read_start(f"{folder}{os.sep}changed", _MARK).decode("ascii", errors="replace")
    except ABSENT:
        return ""
    except OSError:  # it isn't a plain file, or may not be read
        text = ""
    return text or f"{_UNKNOWN}{uuid.uuid4().hex}"  # empty during a change: it must never equal a mark seen before


def is_unknown(mark: str) -> bool:
    """Return whether a mark is missing or unreadable, so that it can't show what changed since."""
    return not mark or mark.startswith(_UNKNOWN)
