"""Split a query into tokens, each with its column."""

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
    """Represent a word, a quoted text, a name in backquotes, a sign, or the end of the query."""

    kind: Literal["word", "text", "name", "sign", "end"]
    value: str
    column: int

    @property
    def keyword(self) -> str:
        """Return a word in capitals, to compare it with the language's keywords; empty for any other token."""
        return self.value.upper() if self.kind == "word" else ""

    def __str__(self) -> str:
        return {"end": "the end", "text": repr(self.value)}.get(self.kind, self.value)


def tokens(text: str) -> list[Token]:
    """Return the tokens of a query, with one for the end.

    Raises BadQuery if the query is too long or holds something that isn't a token.
    """
    if len(text) > LONGEST:
        raise BadQuery(f"the search has {len(text):,} characters: write at most {LONGEST:,}")
    if not text.isascii():
        _check_unicode(text)
    result, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            refuse(position + 1, f"expected {_UNCLOSED[text[position]]}")
        kind, value = match.lastgroup, match.group()
        if kind == "text":
            result.append(Token("text", value[1:-1].replace(value[0] * 2, value[0]), position + 1))
        elif kind == "name":
            result.append(Token("name", value[1:-1], position + 1))
        elif kind == "word":
            result.append(Token("word", value, position + 1))
        elif kind == "sign":
            result.append(Token("sign", value, position + 1))
        position = match.end()
    return [*result, Token("end", "", len(text) + 1)]


def refuse(column: int, problem: str) -> NoReturn:
    """Raise BadQuery with the column of the problem, counted from 1."""
    raise BadQuery(f"the search can't be read at column {column}: {problem}", column)


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:  # a lone surrogate, which no stored text holds
        refuse(error.start + 1, "this isn't a character")
