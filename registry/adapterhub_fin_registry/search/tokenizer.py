"""The words and signs of a search, each with its column."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, NoReturn

from adapterhub_fin_registry.errors import BadQuery

LONGEST: Final = 10_000  # characters
_TOKEN: Final = re.compile(
    r"""(?P<space>\s+)
    | (?P<sign><=|>=|!=|[=<>~(),])
    | (?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
    | (?P<name>`[^`]+`)
    | (?P<word>[^\s()<>=!~,'"`]+)""",
    re.VERBOSE,
)
_UNCLOSED: Final = {"'": "a closing '", '"': 'a closing "', "`": "a field's name and a closing `", "!": "!="}


@dataclass(frozen=True)
class Token:
    """A word, a quoted text, a name in backquotes, a sign, or the end."""

    kind: Literal["word", "text", "name", "sign", "end"]
    value: str
    column: int

    @property
    def keyword(self) -> str:
        """A word in capitals, for comparison with the language's own; empty for anything else."""
        return self.value.upper() if self.kind == "word" else ""

    def __str__(self) -> str:
        return {"end": "the end", "text": repr(self.value)}.get(self.kind, self.value)


def tokens(text: str) -> list[Token]:
    """The tokens of a search, and the end behind them."""
    if len(text) > LONGEST:
        raise BadQuery(f"the search has {len(text):,} characters: write at most {LONGEST:,}")
    if not text.isascii():
        _check_unicode(text)
    found, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            refuse(at + 1, f"expected {_UNCLOSED[text[at]]}")
        kind, value = match.lastgroup, match.group()
        if kind == "text":
            found.append(Token("text", value[1:-1].replace(value[0] * 2, value[0]), at + 1))
        elif kind == "name":
            found.append(Token("name", value[1:-1], at + 1))
        elif kind == "word":
            found.append(Token("word", value, at + 1))
        elif kind == "sign":
            found.append(Token("sign", value, at + 1))
        at = match.end()
    return [*found, Token("end", "", len(text) + 1)]


def refuse(column: int, problem: str) -> NoReturn:
    """Raise BadQuery with the column that is to blame, counted from 1."""
    raise BadQuery(f"the search can't be read at column {column}: {problem}", column)


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:  # a lone surrogate, which no stored text holds
        refuse(error.start + 1, "this isn't a character")
