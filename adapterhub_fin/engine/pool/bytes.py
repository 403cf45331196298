"""Read a number of bytes, such as 256MiB."""

from __future__ import annotations

import re
from typing import Final

from adapterhub_fin.errors import BadRecipe

_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?) ?([kmgt]?)(i?)b?", re.IGNORECASE)


def read_bytes(size: int | str) -> int:
    """Return a size in bytes: KiB and MiB are powers of 1,024, KB and MB of 1,000. Raises BadRecipe for any other."""
    if isinstance(size, int) and not isinstance(size, bool) and size > 0:
        return size
    match = _SIZE.fullmatch(size.strip()) if isinstance(size, str) else None
    if match is None or float(match[1]) <= 0:
        raise BadRecipe(f"{size!r} isn't a number of bytes: write 268435456, or 256MiB")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** _POWERS[match[2].lower()])
