"""Cards: the one of a version that came without, and what any says in its head."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from adapterhub_fin_registry.model.model_card import card
from adapterhub_fin_registry.model.version import Version

HEAD: Final = 2**16  # characters of a card's head; what search reads of a card is far less
_VALUES: Final = 10_000  # of a head: in YAML a few lines can stand for billions
_TEXT: Final = 2 * HEAD  # characters of all its texts: a line can name one a thousand times
_DIGITS: Final = 100  # of a number: in base 60 it costs the square of them
_NUMBER: Final = re.compile(r"[-+]?(0x[0-9a-fA-F_]+|[0-9_:.]+)")
_DEEP: Final = 20  # lists and mappings within one another


def card_of(version: Version) -> bytes:
    """README.md of a version that came without one."""
    mine = replace(version)  # what is parsed for a card goes with it: a server holds many versions for long
    return card(mine.manifest, mine.name, mine.events).encode()


def head_of(text: str) -> dict[str, Any]:
    """The metadata of a card as plain values, empty without any; a ValueError says what is wrong with it."""
    import yaml

    lines = text.removeprefix("\ufeff").split("\n")
    if lines[0].rstrip() != "---":
        return {}
    end = next((number for number, line in enumerate(lines[1:], 1) if line.rstrip() == "---"), None)
    if end is None:
        raise ValueError("its head, which begins with ---, has no end")
    head = "\n".join(lines[1:end])
    if len(head) > HEAD:
        raise ValueError(f"its head has more than {HEAD} characters")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _check(yaml.parse(head, loader))
        said = yaml.load(head, loader)
    except _Costly as error:
        raise ValueError(f"its head {error}") from error
    except (yaml.YAMLError, RecursionError, ValueError, ArithmeticError) as error:
        raise ValueError(f"its head isn't YAML: {' '.join(str(error).split())[:300]}") from error
    if said is not None and not isinstance(said, dict):
        raise ValueError("its head must be a YAML mapping")
    found: dict[str, Any] = _Plain().of(said or {})
    return found


class _Costly(Exception):
    """YAML that would cost far more to read than its length says."""


def _check(events: Iterable[Any]) -> None:
    """Refuse it before anything is built: what nests without end overruns the stack of the composer, which is C.

    Merges multiply what they name, and values with tags are some that no card has.
    """
    depth = 0
    for event in events:
        kind = type(event).__name__
        depth += kind.endswith("StartEvent") - kind.endswith("EndEvent")
        if depth > _DEEP + 2:  # the stream and the document among them
            raise _Costly("nests deeper than a card does")
        if getattr(event, "tag", None) is not None:
            raise _Costly("has a YAML tag, which a card needs none of")
        if kind == "ScalarEvent" and event.implicit[0]:
            if event.value == "<<":
                raise _Costly("has a YAML merge, which a card needs none of")
            if len(event.value) > _DIGITS and _NUMBER.fullmatch(event.value):
                raise _Costly(f"has a number of more than {_DIGITS} digits: put it in quotes if it is a text")


class _Plain:
    """Values of YAML as JSON holds them: dates as text, and not more than a card may have."""

    def __init__(self) -> None:
        self._left = _VALUES
        self._text_left = _TEXT

    def of(self, value: Any, depth: int = 0) -> Any:
        self._left -= 1
        if self._left < 0 or depth > _DEEP:
            raise ValueError("its head holds more values than a card has, or deeper ones")
        if isinstance(value, dict):
            return {self._text(key): self.of(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list):
            return [self.of(item, depth + 1) for item in value]
        if value is None or isinstance(value, bool) or (isinstance(value, float) and math.isfinite(value)):
            return value
        if isinstance(value, int) and abs(value) < 2**63:
            return value
        return self._text(value)

    def _text(self, value: Any) -> str:
        """A value as text that can be encoded: YAML without its library in C lets halves of surrogates through."""
        text = str(value)[:HEAD].encode(errors="replace").decode()
        self._text_left -= len(text)
        if self._text_left < 0:
            raise ValueError(f"its head's texts have more than {_TEXT} characters, with each that is named again")
        return text
