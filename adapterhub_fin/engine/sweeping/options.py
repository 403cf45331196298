"""Read which values of which recipe keys a sweep tries: lists such as `4,8,16`, and ranges such as `1e-5..1e-3,log`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from adapterhub_fin.errors import BadRecipe

_NUMBER: Final = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE: Final = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(?:,\s*(log))?")
_OPEN, _CLOSE = "[{(", "]})"
_REFUSED: Final = {  # keys that a sweep can't be over, and why
    "name": "all runs are of one name",
    "description": "no score depends on it",
    "license": "no score depends on it",
    "licence": "no score depends on it",
    "tags": "no score depends on it",
    "schedule": "each window has a validation part of its own",
    "corpus.splitter": "scores on different validation rows can't be compared",
    "training.seed": "seeds are repetitions: give their number with --seeds (seeds=5)",
    "training.metric": "scores by different metrics can't be compared",
    "training.report_to": "no score depends on it",
    "training.baseline": "no score depends on it",
}


@dataclass(frozen=True)
class Values:
    """Hold the values of one key that a sweep tries, as `--set` takes them."""

    key: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Range:
    """Hold the ends of the values of one key, both included; `log` searches by order of magnitude."""

    key: str
    low: float
    high: float
    log: bool
    whole: bool  # whole numbers alone

    def text(self, value: float) -> str:
        """Return a value as `--set` takes it, with six digits at most."""
        return str(round(value)) if self.whole else f"{value:.6g}"


Swept = Values | Range


def read_over(over: Mapping[str, Any]) -> tuple[Swept, ...]:
    """Return the keys with what is tried of each, in the order given.

    A text is read as on the command line, and a list has a value in each item. Raises BadRecipe, which names all that
    is wrong.
    """
    if not over:
        raise BadRecipe("a sweep needs a key to search over: --over method.rank=4,8 (over={'method.rank': [4, 8]})")
    swept, faults = [], []
    for key, values in over.items():
        try:
            swept.append(_read(key, values))
        except BadRecipe as error:
            faults.append(str(error))
    if faults:
        raise BadRecipe("; ".join(faults))
    return tuple(swept)


def over_of(arguments: Sequence[str]) -> dict[str, str]:
    """Return `--over KEY=VALUES` options as a mapping. Raises BadRecipe for one that can't be read, or a key twice."""
    over: dict[str, str] = {}
    for argument in arguments:
        key, equals, values = argument.partition("=")
        if not equals or not all(key.split(".")):
            raise BadRecipe(f"--over takes KEY.KEY=VALUE,VALUE, such as method.rank=4,8,16, not {argument!r}")
        if key in over:
            raise BadRecipe(f"--over {key} is given twice: put all its values into one")
        over[key] = values
    return over


def _read(key: str, values: Any) -> Swept:
    for refused, reason in _REFUSED.items():
        if key == refused or key.startswith(f"{refused}."):
            raise BadRecipe(f"a sweep can't be over {key}: {reason}")
    if isinstance(values, str):
        if (match := _RANGE.fullmatch(values.strip())) is not None:
            return _range(key, *match.groups())
        texts = split_values(values)
    elif isinstance(values, Sequence):
        texts = [_text(value) for value in values]
    else:
        raise BadRecipe(f"{key} is {type(values).__name__}: give a list of values, or a text such as '4,8' or '1..9'")
    if not texts or (texts == [""] and isinstance(values, str)):
        raise BadRecipe(f"{key} has no values: give some, such as {key}=4,8")
    if twice := sorted({text for text in texts if texts.count(text) > 1}):
        raise BadRecipe(f"{key} has the value {twice[0]} twice: give each once")
    return Values(key, tuple(texts))


def _range(key: str, low: str, high: str, log: str | None) -> Range:
    ends, whole = (float(low), float(high)), not re.search(r"[.eE]", low + high)
    if not all(map(math.isfinite, ends)) or ends[0] >= ends[1]:
        raise BadRecipe(f"{key} has the range {low}..{high}: the first end must be below the second")
    if log and ends[0] <= 0:
        raise BadRecipe(f"{key} has the range {low}..{high},log: both ends must be above 0")
    return Range(key, *ends, bool(log), whole)


def split_values(text: str) -> list[str]:
    """Return the values between commas; those within brackets or quotes are part of a value."""
    values, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        depth += (character in _OPEN) - (character in _CLOSE) if not quote else 0
        if character == "," and not (quote or depth):
            values.append("")
        else:
            values[-1] += character
    return [value.strip() for value in values]


def _text(value: Any) -> str:
    if value is None:
        return ""  # as `--set KEY=` takes an optional key away
    return value if isinstance(value, str) else json.dumps(value)
