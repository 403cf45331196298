"""By how much a LoRA multiplies B A in a module, read from its configuration as PEFT reads it."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import regex

USUAL = 8  # rank and alpha where the configuration says nothing
PATIENCE = 1.0  # seconds for one name; a pattern can be written that takes for ever, and folders come from anyone


def lora_rank(config: Mapping[str, Any], module: str) -> float:
    """The rank of a module; ValueError where what stands there is no positive number."""
    rank = _setting(config, "rank_pattern", "r", module)
    if not rank > 0:
        raise ValueError(f"r of {module} is {rank}, which is no rank")
    return rank


def lora_scale(config: Mapping[str, Any], module: str) -> float:
    """alpha / r, or alpha / sqrt(r) for rsLoRA; ValueError where one of them can't be used."""
    rank, alpha = lora_rank(config, module), _setting(config, "alpha_pattern", "lora_alpha", module)
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    if not math.isfinite(scale):
        raise ValueError(f"alpha of {module} is {alpha} and r {rank}, whose ratio is no finite number")
    return scale


def _setting(config: Mapping[str, Any], pattern: str, usual: str, module: str) -> float:
    """The first pattern that the module's name ends with counts (peft.utils.other.get_pattern_key)."""
    given = config.get(pattern)
    patterns = given if isinstance(given, Mapping) else {}
    matching = (value for key, value in patterns.items() if _fits(key, module))
    value = next(matching, config.get(usual, USUAL))
    # JSON knows whole numbers of any length, which no float holds.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise ValueError(f"{usual} of {module} is {str(value)[:40]!r}, which is no finite number")
    return value


def _fits(key: str, module: str) -> bool:
    try:
        return _pattern(key).match(module, timeout=PATIENCE) is not None
    except TimeoutError as error:
        raise ValueError(f"the pattern {key[:40]!r} takes too long to be looked for in {module[:80]}") from error


@lru_cache(maxsize=4096)
def _pattern(key: str) -> Any:
    """What PEFT looks for, by an engine that can be stopped; what `re` refuses is refused."""
    text = rf"(.*\.)?({key})$"
    try:
        re.compile(text)
        return regex.compile(text)
    except (re.error, regex.error, OverflowError, RecursionError) as error:
        raise ValueError(f"the pattern {key[:40]!r} is no regular expression: {error}") from error
