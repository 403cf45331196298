"""Parse a query into its tree; whatever can't be parsed raises BadQuery with the column.

search     = [ condition ] [ "ORDER" "BY" field [ "ASC" | "DESC" ] ] [ "LIMIT" count ]
condition  = both { "OR" both }
both       = opposite { [ "AND" ] opposite }
opposite   = "NOT" opposite | "(" condition ")" | comparison | words
comparison = field ( "=" | "!=" | "<" | "<=" | ">" | ">=" | "~" ) value | field "IN" "(" value { "," value } ")"
words      = word | word "*" | quoted text
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final, NoReturn

from adapterhub_fin_registry.errors import BadInstant
from adapterhub_fin_registry.model.knowledge import as_of_instant
from adapterhub_fin_registry.search.query import (
    EXAMPLES,
    FIELDS,
    All,
    Comparison,
    Condition,
    Either,
    Field,
    Not,
    Phrase,
    Query,
    Value,
    Words,
    field,
    near,
)
from adapterhub_fin_registry.search.tokenizer import Token, refuse, tokens

DEEPEST: Final = 50  # nested parentheses and NOTs
MOST: Final = 200  # conditions and values of one query
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_COMPARED: Final = frozenset({"=", "!=", "<", "<=", ">", ">=", "~"})
_TRUTHS: Final = {"TRUE": 1, "FALSE": 0}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def parse(text: str, indexed: Callable[[], Iterable[str]] = lambda: ()) -> Query:
    """Parse a query; `indexed` returns the indexed paths, for hints.

    Raises BadQuery, with the column, if it can't be parsed.
    """
    return _Parser(tokens(text), indexed).search()


def microseconds(instant: datetime) -> int:
    """Return an aware instant as microseconds since 1970, as the index stores it."""
    return (instant - _EPOCH) // _MICROSECOND


class _Parser:
    """Parse tokens by recursive descent, with one method for each rule of the grammar above."""

    def __init__(self, listed: list[Token], indexed: Callable[[], Iterable[str]]) -> None:
        self._tokens = listed
        self._indexed = indexed
        self._at = 0
        self._count = 0

    def search(self) -> Query:
        condition: Condition = All() if self._ends() else self._either(0)
        order, descending, limit = None, False, None
        if self._take("ORDER"):
            if not self._take("BY"):
                self._expected("BY")
            order, descending = self._order()
        if self._take("LIMIT"):
            limit = self._limit()
        if self._next.kind != "end":
            self._expected("AND, OR, ORDER BY, LIMIT or the end")
        return Query(condition, order, descending, limit)

    def _either(self, depth: int) -> Condition:
        parts = [self._both(depth)]
        while self._take("OR"):
            parts.append(self._both(depth))
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _both(self, depth: int) -> Condition:
        parts = [self._opposite(depth)]
        while self._take("AND") or not (self._ends() or self._next.keyword == "OR" or self._next.value == ")"):
            parts.append(self._opposite(depth))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _opposite(self, depth: int) -> Condition:
        if depth > DEEPEST:
            refuse(self._next.column, f"write at most {DEEPEST} parentheses and NOTs within each other")
        if self._take("NOT"):
            return Not(self._opposite(depth + 1))
        if self._take_sign("("):
            inner = self._either(depth + 1)
            if not self._take_sign(")"):
                self._expected(")")
            return inner
        return self._leaf()

    def _leaf(self) -> Condition:
        token, after = self._next, self._tokens[min(self._at + 1, len(self._tokens) - 1)]
        is_compared = after.keyword == "IN" or (after.kind == "sign" and after.value in _COMPARED)
        if token.kind == "name" or (token.kind == "word" and is_compared):
            return self._comparison()
        if token.kind == "text" and after.kind == "sign" and is_compared:
            refuse(token.column, f"expected a field before {after}, and found a quoted text; a field is written bare")
        if token.kind not in ("word", "text") or token.keyword in ("AND", "OR", "IN", "ORDER", "LIMIT"):
            self._expected("a field, a word or (")
        return self._words()

    def _comparison(self) -> Condition:
        subject, sign = self._field(), self._advance()
        if sign.keyword == "IN":
            if not self._take_sign("("):
                self._expected('( after IN (to search for the word, write "in")')
            values = [self._value(subject)]
            while self._take_sign(","):
                values.append(self._value(subject))
            if not self._take_sign(")"):
                self._expected(", or )")
            return Comparison(subject, "IN", tuple(values))
        if sign.kind != "sign" or sign.value not in _COMPARED:
            refuse(sign.column, f"expected a comparison such as = or > after {subject.path}, and found {sign}")
        if sign.value == "~" and subject.kind not in ("text", "any"):
            refuse(sign.column, f"{subject.path} isn't text, which ~ looks into: use =, <, > or IN")
        if subject.kind == "truth" and sign.value not in ("=", "!="):
            refuse(sign.column, f"{subject.path} is true or false: compare it with = or !=")
        value = self._value(subject)
        if sign.value == "~" and not isinstance(value, str):
            value = self._tokens[self._at - 1].value  # ~ needs text: an option's text may consist of digits
        if sign.value == "!=":
            return Not(Comparison(subject, "=", (value,)))
        return Comparison(subject, sign.value, (value,))  # type: ignore[arg-type]

    def _field(self) -> Field:
        token = self._advance()
        if token.kind not in ("word", "name"):
            refuse(token.column, f"expected a field, and found {token}")
        result = field(token.value)
        if result is None:
            self._unknown(token)
        return result

    def _unknown(self, token: Token) -> NoReturn:
        if (family := token.value.rstrip(".")) in EXAMPLES:
            refuse(token.column, f"{family} needs a name behind it, such as {EXAMPLES[family]}")
        meant = near(token.value, self._indexed())
        hint = f"did you mean {' or '.join(meant)}?" if meant else f"use one of {', '.join(sorted(FIELDS))}"
        refuse(token.column, f"there is no field {token.value!r}; {hint}")

    def _value(self, subject: Field) -> Value:
        token = self._advance()
        if token.kind not in ("word", "text") or token.keyword in ("AND", "OR", "NOT"):
            refuse(token.column, f"expected a value for {subject.path}, and found {token}")
        self._counted(token)
        if subject.kind == "text" or (subject.kind == "any" and token.kind == "text"):
            return token.value
        if subject.kind == "instant":
            return _instant(token)
        number = _number(token)
        truth = _TRUTHS.get(token.keyword)
        if subject.kind == "truth" and truth is None:
            refuse(token.column, f"{subject.path} is true or false, and {token} is neither")
        if subject.kind == "number" and number is None:
            refuse(token.column, f"{subject.path} is a number, and {token} isn't")
        if subject.kind == "any" and number is None and truth is None:
            return token.value
        return truth if truth is not None and subject.kind != "number" else number  # type: ignore[return-value]

    def _words(self) -> Words:
        token = self._advance()
        self._counted(token)
        if token.kind == "word" and token.value.startswith("-"):
            refuse(token.column, f"to leave a word out, write NOT {token.value.lstrip('-') or 'word'}")
        if not any(character.isalnum() for character in token.value):
            refuse(token.column, f"{token} holds no word to look for")
        if token.kind == "word" and token.value.endswith("*"):
            return Words((Phrase(token.value.rstrip("*"), is_prefix=True),))
        return Words((Phrase(token.value),))

    def _order(self) -> tuple[Field, bool]:
        column = self._next.column
        order = self._field()
        if order.is_set:
            refuse(column, f"{order.path} may have several values: order by a field with one")
        if self._take("DESC"):
            return order, True
        self._take("ASC")
        return order, False

    def _limit(self) -> int:
        token = self._advance()
        if not re.fullmatch(r"[1-9][0-9]{0,8}", token.value) or token.kind != "word":
            refuse(token.column, f"expected a count from 1 after LIMIT, and found {token}")
        return int(token.value)

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _ends(self) -> bool:
        return self._next.kind == "end" or self._next.keyword in ("ORDER", "LIMIT")

    def _advance(self) -> Token:
        token = self._next
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def _take(self, keyword: str) -> bool:
        is_next = self._next.keyword == keyword
        self._at += is_next
        return is_next

    def _take_sign(self, sign: str) -> bool:
        is_next = self._next.kind == "sign" and self._next.value == sign
        self._at += is_next
        return is_next

    def _counted(self, token: Token) -> None:
        self._count += 1
        if self._count > MOST:
            refuse(token.column, f"a search has at most {MOST} words and values: ask in several searches")

    def _expected(self, what: str) -> None:
        refuse(self._next.column, f"expected {what}, and found {self._next}")


def _number(token: Token) -> int | float | None:
    if token.kind != "word" or not _NUMBER.fullmatch(token.value):
        return None
    value = float(token.value)
    if not math.isfinite(value):
        refuse(token.column, "the number is too large")
    is_integer = re.fullmatch(r"[+-]?\d{1,18}", token.value, re.ASCII)  # fits SQLite's 64-bit integers
    return int(token.value) if is_integer else value


def _instant(token: Token) -> int:
    try:
        return microseconds(as_of_instant(token.value))
    except BadInstant as error:
        refuse(token.column, str(error).replace("as_of=", "").replace("as_of as ", "a date as "))
