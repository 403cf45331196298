"""Generate cards, and read the metadata of any card."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from adapterhub_fin_registry.model.model_card import card
from adapterhub_fin_registry.model.version import Version

HEAD: Final = 2**16  # characters of a card's head
_VALUES: Final = 10_000  # in a head: a few lines of YAML can expand to billions
_TEXT: Final = 2 * HEAD  # characters of all texts: one line can repeat a text a thousand times
_DIGITS: Final = 100  # of a number: YAML's base 60 takes time quadratic in them
_NUMBER: Final = re.compile(r"[-+]?(0x[0-9a-fA-F_]+|[0-9_:.]+)")
_DEEP: Final = 20  # nested lists and mappings


def card_of(version: Version) -> bytes:
    """Return the generated README.md of a version, in UTF-8."""
    copy = replace(version)  # a copy, so that its parsed manifest doesn't stay in memory
    return card(copy.manifest, copy.name, copy.events).encode()


def head_of(text: str) -> dict[str, Any]:
    """Return the metadata of a card as plain JSON values, empty without any. Raises ValueError for an invalid head."""
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
        metadata = yaml.load(head, loader)
    except _Costly as error:
        raise ValueError(f"its head {error}") from error
    except (yaml.YAMLError, RecursionError, ValueError, ArithmeticError) as error:
        raise ValueError(f"its head isn't YAML: {' '.join(str(error).split())[:300]}") from error
    if metadata is not None and not isinstance(metadata, dict):
        raise ValueError("its head must be a YAML mapping")
    plain: dict[str, Any] = _Plain().of(metadata or {})
    return plain


class _Costly(Exception):
    """Report YAML that would cost far more to read than its length suggests."""


def _check(events: Iterable[Any]) -> None:
    """Raise _Costly before values are built: deep nesting would overflow the stack of libyaml's composer.

    Merges multiply values, and no card needs values with tags.
    """
    depth = 0
    for event in events:
        kind = type(event).__name__
        depth += kind.endswith("StartEvent") - kind.endswith("EndEvent")
        if depth > _DEEP + 2:  # with the stream and the document
            raise _Costly("nests deeper than a card does")
        if getattr(event, "tag", None) is not None:
            raise _Costly("has a YAML tag, which a card needs none of")
        if kind == "ScalarEvent" and event.implicit[0]:
            if event.value == "<<":
                raise _Costly("has a YAML merge, which a card needs none of")
            if len(event.value) > _DIGITS and _NUMBER.fullmatch(event.value):
                raise _Costly(f"has a number of more than {_DIGITS} digits: put it in quotes if it is a text")


class _Plain:
    """Convert values of YAML to those of JSON, with dates as text, and limit their number and size."""

    def __init__(self) -> None:
        self._left = _VALUES
        self._text_left = _TEXT

    def of(self, value: Any, depth: int = 0) -> Any:
        """Return a value as JSON has it. Raises ValueError for too many, too deep or too long ones."""
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
        """Return a value as text that can be encoded: PyYAML without libyaml accepts unpaired surrogates."""
        text = str(value)[:HEAD].encode(errors="replace").decode()
        self._text_left -= len(text)
        if self._text_left < 0:
            raise ValueError(f"its head's texts have more than {_TEXT} characters, with each that is named again")
        return text
