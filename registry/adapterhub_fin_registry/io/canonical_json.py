"""Canonical JSON, the one form that a digest is taken of."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, Final

_INTEGER_LIMIT: Final = 2**63


def canonical(value: Any) -> bytes:
    """The bytes of a JSON value: keys sorted by code point, no spaces, UTF-8, no NaN, floats at their shortest."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_of(data: bytes) -> str:
    """`sha256:` and the hexadecimal digest of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def json_value(value: Any) -> Any:
    """A deep copy of a value as JSON holds it, tuples as lists; a ValueError says what JSON can't hold."""
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
    """The same for a mapping with text keys; anything else is refused."""
    if not isinstance(value, Mapping):
        raise ValueError("it must be an object with text keys")
    copy: dict[str, Any] = json_value(value)
    return copy
