"""Write canonical JSON, the only form of which a digest is taken."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, Final

_INTEGER_LIMIT: Final = 2**63


def canonical(value: Any) -> bytes:
    """Return the canonical bytes of a JSON value.

    Keys are sorted by code point, there are no spaces, the encoding is UTF-8 and floats have their shortest form.
    Raises ValueError for NaN and infinity.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_of(data: bytes) -> str:
    """Return `sha256:` and the hexadecimal SHA-256 of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def json_value(value: Any) -> Any:
    """Return a deep copy of a value as JSON holds it, with tuples as lists.

    Raises ValueError, with the reason, for a value that JSON can't hold.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        value.encode()  # a lone surrogate has no UTF-8, and the UnicodeEncodeError is a ValueError
        return str(value)
    if isinstance(value, int):
        if not -_INTEGER_LIMIT <= value < _INTEGER_LIMIT:
            raise ValueError("an integer is beyond 64 bits")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} isn't a finite number")
        return float(value)
    if isinstance(value, (list, tuple)):
        return [json_value(item) for item in value]
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("every key must be text")
        return {json_value(key): json_value(item) for key, item in value.items()}
    raise ValueError(f"a {type(value).__name__} isn't JSON")


def json_object(value: Any) -> dict[str, Any]:
    """Return a deep copy of a mapping with text keys, as `json_value` does.

    Raises ValueError for anything else.
    """
    if not isinstance(value, Mapping):
        raise ValueError("it must be an object with text keys")
    copy: dict[str, Any] = json_value(value)
    return copy
