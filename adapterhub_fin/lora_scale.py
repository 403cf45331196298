"""By how much a LoRA multiplies B A in a module, read from its configuration as PEFT reads it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

USUAL = 8  # rank and alpha where the configuration says nothing


def lora_rank(config: Mapping[str, Any], module: str) -> float:
    """The rank of a module; ValueError where what stands there is no positive number."""
    rank = _setting(config, "rank_pattern", "r", module)
    if not rank > 0:
        raise ValueError(f"r of {module} is {rank}, which is no rank")
    return rank


def lora_scale(config: Mapping[str, Any], module: str) -> float:
    """alpha / r, or alpha / sqrt(r) for rsLoRA; ValueError where one of them can't be used."""
    rank, alpha = lora_rank(config, module), _setting(config, "alpha_pattern", "lora_alpha", module)
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _setting(config: Mapping[str, Any], pattern: str, usual: str, module: str) -> float:
    """The first pattern that the module's name ends with counts (peft.utils.other.get_pattern_key)."""
    given = config.get(pattern)
    patterns = given if isinstance(given, Mapping) else {}
    matching = (value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module))
    value = next(matching, config.get(usual, USUAL))
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{usual} of {module} is {value!r}, which is no finite number")
    return value
