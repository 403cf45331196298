"""Read a length of time, such as 2ms."""

from __future__ import annotations

import math
import re
from typing import Final

from adapterhub_fin.errors import BadRecipe

_UNITS: Final = {"us": 1e-6, "ms": 1e-3, "": 1.0, "s": 1.0, "m": 60.0}
_TIME: Final = re.compile(r"(\d+(?:\.\d+)?) ?(us|ms|s|m|)")


def read_seconds(time: float | str) -> float:
    """Return a length of time in seconds, of a number or of text such as 2ms. Raises BadRecipe for any other."""
    if isinstance(time, int | float) and not isinstance(time, bool) and 0 <= time < math.inf:
        return float(time)
    match = _TIME.fullmatch(time.strip()) if isinstance(time, str) else None
    if match is None:
        raise BadRecipe(f"{time!r} isn't a length of time: write 2ms, 0.5s or 1m, or a number of seconds")
    return float(match[1]) * _UNITS[match[2]]
