"""Check a text at every door by which one comes in: a call, a command line, a file, a table; torch is not imported.

A tokenizer takes almost anything: of None, bytes or half a surrogate pair it raises what no user understands, and an
empty text is answered from padding, which depends on what else is in the batch. So each is refused with its place.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import suppress
from typing import Any

from adapterhub_fin.errors import BadText

MARK = "\ufeff"  # what some editors write before the first byte; within a text it is nothing to see either
HALF = re.compile("[\ud800-\udfff]")
BYTES = range(0xDC80, 0xDD00)  # how Python has bytes that are no UTF-8 (PEP 383)
UNSEEN = ("Zs", "Zl", "Zp", "Cc", "Cf")  # categories of Unicode
ROLES = "role and content"


def problem(value: object) -> str | None:
    """Say what keeps a value from being a text to read, as the end of a sentence; None if nothing does."""
    if not isinstance(value, str):
        if isinstance(value, bytes | bytearray):
            return "is bytes and not text: decode it first"
        kind = type(value).__name__
        missing = value is None or kind in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
        return f"is {value}, a missing value" if missing else f"is of the type {kind}, and no text"
    if not value.isascii() and (half := HALF.search(value)):
        return f"holds {_half(half[0])} at character {half.start() + 1}"
    if not value:
        return "is empty"
    return None if _has_something(value) else "is blank"


def _half(letter: str) -> str:
    if (code := ord(letter)) in BYTES:
        return f"the byte 0x{code - 0xDC00:02x}, which is not UTF-8,"
    return f"half of a surrogate pair (U+{code:04X})"


def _has_something(text: str) -> bool:
    """Tell whether a text has a character that is no space, no control and no mark of format: something to read."""
    return any(unicodedata.category(letter) not in UNSEEN for letter in text)


def joined_tokens(cell: Any) -> Any:
    """Return the text of a list of tokens, joined by spaces; anything else as it is."""
    tokens = isinstance(cell, list | tuple) and bool(cell) and all(isinstance(token, str) for token in cell)
    return " ".join(cell) if tokens else cell


def check_text(value: object, where: str) -> str:
    """Return a text without a byte order mark before it; BadText names its place and what is wrong with it."""
    if wrong := problem(value):
        raise BadText(f"{where} {wrong}; mend it or leave it out")
    return str(value).removeprefix(MARK)


def check_texts(given: Any, call: str) -> list[str]:
    """Return the texts of a call as a list, in their order: of a list, an array, a column, or whatever gives them.

    Raises BadText where one is no text, with its place, and where what was given holds no texts in an order.
    """
    return [check_text(value, f"{call}: text {index}") for index, value in enumerate(check_rows(given, call, "text"))]


def check_rows(given: Any, call: str, what: str) -> list[Any]:
    """Return what a call was given as a list; BadText where that is one text, a table, a mapping or no list at all."""
    if isinstance(given, str | bytes | bytearray):
        raise BadText(f"{call} takes a list of {what}s: {call}([{what}])")
    if isinstance(given, Mapping):
        raise BadText(f"{call} takes a list of {what}s, and was given a mapping: give a list of its values")
    if isinstance(given, Set):
        raise BadText(f"{call} takes a list of {what}s, and was given a set, which has no order: sort it into a list")
    if hasattr(given, "columns") or hasattr(given, "column_names"):
        raise BadText(f"{call} takes a list of {what}s, and was given a table: give the column that holds them")
    try:
        return list(given)
    except TypeError:
        raise BadText(f"{call} takes a list of {what}s, not {type(given).__name__}: {call}([{what}])") from None


def check_prompts(given: Any, call: str) -> list[str | list[dict[str, Any]]]:
    """Return the prompts of a call as a list, each a text or a conversation; raises BadText with its place."""
    rows = check_rows(given, call, "prompt")
    if rows and all(isinstance(prompt, Mapping) for prompt in rows):
        raise BadText(f"{call} takes a list of conversations, and was given one: {call}([messages])")
    return [check_prompt(prompt, f"{call}: prompt {index}") for index, prompt in enumerate(rows)]


def check_prompt(given: Any, where: str) -> str | list[dict[str, Any]]:
    """Return a prompt, a text or a conversation; BadText names the turn and what is wrong with it."""
    if isinstance(given, Mapping) or (isinstance(given, Iterable) and not isinstance(given, str | bytes | bytearray)):
        return check_messages(given, where)
    return check_text(given, where)


def check_messages(given: Any, where: str) -> list[dict[str, Any]]:
    """Return the turns of a conversation; BadText names the one without a role, or whose content is no text."""
    if isinstance(given, Mapping):
        raise BadText(f"{where} is one turn: a conversation is a list of turns with {ROLES}")
    turns = list(given)
    if not turns:
        raise BadText(f"{where} is a conversation without a turn: give a list of turns with {ROLES}")
    return [_turn(turn, f"{where}, turn {number}") for number, turn in enumerate(turns)]


def _turn(given: Any, where: str) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise BadText(f"{where} is of the type {type(given).__name__}: a turn is a mapping of {ROLES}")
    if missing := [key for key in ("role", "content") if key not in given]:
        raise BadText(f"{where} has no {missing[0]}: a turn is a mapping of {ROLES}")
    return {**given, **{key: check_text(given[key], f"{where}: its {key}") for key in ("role", "content")}}


def check_arguments(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a command line as text, whatever the locale takes their bytes for.

    Raises BadText where one holds bytes that are no UTF-8, unless they are the name of a file that is there.
    """
    return [_argument(argument, number) for number, argument in enumerate(arguments, 1)]


def _argument(given: str, number: int) -> str:
    half = HALF.search(given)
    if half is None or os.path.lexists(given):
        return given
    with suppress(UnicodeError):
        return os.fsencode(given).decode("utf-8")  # a locale of ASCII alone has every other byte so
    where = f"at character {half.start() + 1}"
    raise BadText(f"argument {number} of the command line holds {_half(half[0])} {where}: give it as UTF-8")


def lines(data: Iterable[bytes], called: str) -> list[str]:
    """Return the texts of a file, one a line, without blank lines; BadText names the line that is no UTF-8 or no text.

    `data` gives the lines as bytes; a byte order mark before the first is left out.
    """
    texts = []
    for number, line in enumerate(data, 1):
        where = f"{called}, line {number}"
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise BadText(f"{where} is not UTF-8 at byte {error.start + 1}: save the file as UTF-8") from None
        if text.strip():
            texts.append(check_text(text.rstrip("\r\n"), where))
    return texts
