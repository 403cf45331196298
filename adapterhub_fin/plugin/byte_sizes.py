"""Read a number of bytes, such as 256MiB: for every option and argument that is one."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from adapterhub_fin.errors import BadRecipe

_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SIZE: Final = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?) ?([kmgt]?)(i?)b?", re.IGNORECASE | re.ASCII)


def read_bytes(size: int | str) -> int:
    """Return a size in bytes: KiB and MiB are powers of 1,024, KB and MB of 1,000. Raises BadRecipe for any other.

    Example:
        >>> read_bytes("256MiB"), read_bytes("1.5 GB")
        (268435456, 1500000000)
    """
    if isinstance(size, int) and not isinstance(size, bool) and size > 0:
        return size
    match = _SIZE.fullmatch(size.strip()) if isinstance(size, str) else None
    count = int(Decimal(match[1]) * (1024 if match[3] else 1000) ** _POWERS[match[2].lower()]) if match else 0
    if count < 1:
        raise BadRecipe(f"{size!r} isn't a number of bytes: write 268435456, 256MiB or 5GB")
    return count
