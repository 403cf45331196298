"""Read a LoRA's rank and scaling in a module from its configuration, by PEFT's rules."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import regex

DEFAULT = 8  # PEFT's rank and alpha if the configuration has none
TIMEOUT = 1.0  # seconds for one module name: a pattern of an untrusted folder may backtrack for ever


def lora_rank(config: Mapping[str, Any], module: str) -> float:
    """Return the rank of a module. Raises ValueError if it is not a positive number."""
    rank = _setting(config, "rank_pattern", "r", module)
    if not rank > 0:
        raise ValueError(f"r of {module} is {rank}, which is no rank")
    return rank


def lora_scale(config: Mapping[str, Any], module: str) -> float:
    """Return the factor of B A in a module: alpha / r, or alpha / sqrt(r) for rsLoRA (arXiv 2312.03732).

    Raises ValueError if the rank, alpha or their ratio is not a usable number.
    """
    rank, alpha = lora_rank(config, module), _setting(config, "alpha_pattern", "lora_alpha", module)
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    if not math.isfinite(scale):
        raise ValueError(f"alpha of {module} is {alpha} and r {rank}, whose ratio is no finite number")
    return scale


def _setting(config: Mapping[str, Any], pattern: str, general: str, module: str) -> float:
    """Return the value of the first pattern that matches the module's end, as PEFT's get_pattern_key does."""
    given = config.get(pattern)
    patterns = given if isinstance(given, Mapping) else {}
    matching = (value for key, value in patterns.items() if _fits(key, module))
    value = next(matching, config.get(general, DEFAULT))
    # JSON allows integers of any length, which may be too large for a float.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise ValueError(f"{general} of {module} is {str(value)[:40]!r}, which is no finite number")
    return value


def _fits(key: str, module: str) -> bool:
    try:
        return _pattern(key).match(module, timeout=TIMEOUT) is not None
    except TimeoutError as error:
        raise ValueError(f"the pattern {key[:40]!r} takes too long to match {module[:80]}") from error


@lru_cache(maxsize=4096)
def _pattern(key: str) -> Any:
    """Compile PEFT's pattern with `regex`, which has a timeout; a pattern that `re` refuses is refused too."""
    text = rf"(.*\.)?({key})$"
    try:
        re.compile(text)
        return regex.compile(text)
    except (re.error, regex.error, OverflowError, RecursionError) as error:
        raise ValueError(f"the pattern {key[:40]!r} is no regular expression: {error}") from error
