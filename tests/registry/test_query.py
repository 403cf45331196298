"""The language of search: what it means, what it refuses and at which column."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub_fin_registry import BadQuery
from adapterhub_fin_registry.search.parser import DEEPEST, MOST, parse
from adapterhub_fin_registry.search.query import (
    FIELDS,
    All,
    Comparison,
    Condition,
    Either,
    Not,
    Operator,
    Phrase,
    Query,
    Value,
    Words,
    conjuncts,
    field,
    pushed_down,
)
from adapterhub_fin_registry.search.tokenizer import LONGEST

DAY = 86_400_000_000


def compare(path: str, operator: Operator, *values: Value) -> Comparison:
    subject = field(path)
    assert subject is not None
    return Comparison(subject, operator, values)


def word(text: str, is_prefix: bool = False) -> Words:
    return Words((Phrase(text, is_prefix),))


A, B, C = (compare("name", "=", f"x/{each}") for each in "abc")


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("", All()),
        ("task = sentiment", compare("task", "=", "sentiment")),
        ("task = 'it''s'", compare("task", "=", "it's")),
        ('task="a ""b"""', compare("task", "=", 'a "b"')),
        ("task = '3'", compare("task", "=", "3")),
        ("task = 3", compare("task", "=", "3")),
        ("name != x/a", Not(A)),
        ("metrics.f1>=.8", compare("metrics.f1", ">=", 0.8)),
        ("version < 3", compare("version", "<", 3)),
        ("metrics.loss < -1.5e-3", compare("metrics.loss", "<", -0.0015)),
        ("`metrics.f1 (macro)` > 1", compare("metrics.f1 (macro)", ">", 1)),
        ("eval.head-lines.test.f1 > 1", compare("eval.head-lines.test.f1", ">", 1)),
        ("yanked = TRUE", compare("yanked", "=", 1)),
        ("method.rank = 8", compare("method.rank", "=", 8)),
        ("method.rank = '8'", compare("method.rank", "=", "8")),
        ("method.dora = true", compare("method.dora", "=", 1)),
        ("method.bias = none", compare("method.bias", "=", "none")),
        ("method.rank ~ 8", compare("method.rank", "~", "8")),
        ("knowledge_end < 1970-01-02", compare("knowledge_end", "<", DAY)),
        ("added_at >= 1970-01-01T00:00:00.5Z", compare("added_at", ">=", 500_000)),
        ("added_at >= '1970-01-01T02:00:00+01:00'", compare("added_at", ">=", DAY // 24)),
        ("name IN (x/a, 'x/b')", compare("name", "IN", "x/a", "x/b")),
        ("name not", None),
        ("name = x/a and name = x/b", All((A, B))),
        ("name = x/a name = x/b", All((A, B))),
        ("name = x/a OR name = x/b AND name = x/c", Either((A, All((B, C))))),
        ("(name = x/a OR name = x/b) AND name = x/c", All((Either((A, B)), C))),
        ("NOT name = x/a AND name = x/b", All((Not(A), B))),
        ("NOT NOT (name = x/a)", Not(Not(A))),
        ("tone head*", All((word("tone"), word("head", True)))),
        ('"profit rose" OR name = x/a', Either((word("profit rose"), A))),
        ("name", word("name")),
    ],
)
def test_what_a_text_means(text: str, condition: Condition | None) -> None:
    if condition is None:
        with pytest.raises(BadQuery):
            parse(text)
    else:
        assert parse(text) == Query(condition)


def test_order_and_limit() -> None:
    assert parse("ORDER BY metrics.f1 DESC LIMIT 3") == Query(All(), field("metrics.f1"), True, 3)
    assert parse("tone order by name asc") == Query(word("tone"), field("name"), False, None)
    assert parse("tone LIMIT 1").limit == 1


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("task =", 7, "expected a value for task, and found the end"),
        ("task = AND", 8, "expected a value"),
        ("task sentiment AND", 19, "expected a field, a word or ("),
        ("(task = a", 10, "expected ), and found the end"),
        ("task = a)", 9, "expected AND, OR, ORDER BY, LIMIT or the end, and found )"),
        ("task = 'a", 8, "expected a closing '"),
        ("task ! a", 6, "expected !="),
        ("task IN a", 9, "expected ( after IN"),
        ("task IN (a", 11, "expected , or )"),
        ("tsak = a", 1, "there is no field 'tsak'; did you mean task?"),
        ("pin = verified", 1, "there is no field 'pin'; did you mean fingerprint?"),
        ("zzzz = a", 1, "use one of added_at, "),
        ("accuracy > 1", 1, "did you mean metrics.accuracy?"),
        ("metrics > 1", 1, "metrics needs a name behind it, such as metrics.accuracy"),
        ("eval. > 1", 1, "eval needs a name"),
        ("metrics.f1 > high", 14, "metrics.f1 is a number, and high isn't"),
        ("metrics.f1 > '1'", 14, "metrics.f1 is a number"),
        ("metrics.f1 > 1e999", 14, "too large"),
        ("metrics.f1 ~ 1", 12, "metrics.f1 isn't text"),
        ("knowledge_end < soon", 17, "'soon' isn't a date"),
        ("knowledge_end < 2021-02-30", 17, "isn't on the calendar"),
        ("added_at < 2021-06-30T00:00:00", 12, "no time zone"),
        ("yanked = maybe", 10, "yanked is true or false"),
        ("yanked > true", 8, "compare it with = or !="),
        ("'task' = a", 1, "a field is written bare"),
        ("tone -noise", 6, "write NOT noise"),
        ("tone --- ", 6, "write NOT word"),
        ("***", 1, "holds no word"),
        ("ORDER name", 7, "expected BY, and found name"),
        ("ORDER BY", 9, "expected a field"),
        ("ORDER BY tag", 10, "tag may have several values"),
        ("LIMIT 0", 7, "a count from 1"),
        ("LIMIT", 6, "a count from 1"),
        ("tone LIMIT 3 LIMIT 4", 14, "expected"),
        ("= 3", 1, "expected a field"),
        ("tone \ud800", 6, "isn't a character"),
        ("(" * (DEEPEST + 2), DEEPEST + 2, "at most"),
        ("a " * (MOST + 1), 2 * MOST + 1, "at most"),
    ],
)
def test_a_slip_is_told_with_its_column(text: str, column: int, said: str) -> None:
    with pytest.raises(BadQuery) as caught:
        parse(text, lambda: ["metrics.accuracy"])
    assert f"at column {column}: " in str(caught.value) and said in str(caught.value)
    assert caught.value.column == column and isinstance(caught.value, ValueError)


def test_a_search_of_any_length_ends() -> None:
    with pytest.raises(BadQuery, match="characters"):
        parse("a" * (LONGEST + 1))


PIECES = st.sampled_from(
    [
        *sorted(FIELDS),
        *"()=<>~,'\"`!*-",
        "!=",
        "<=",
        "AND",
        "OR",
        "NOT",
        "IN",
        "ORDER BY",
        "LIMIT",
        "metrics.f1",
        "3",
        "1e9",
        "2021-06-30",
        "true",
        "DESC",
        "tone",
        "\x00",
        "é",
        "�",
        "%",
        "_",
        ";--",
        "NULL",
    ]
)


@settings(max_examples=500)
@given(st.text() | st.lists(PIECES).map(" ".join) | st.lists(PIECES).map("".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse(text)
    except BadQuery as error:
        assert error.column is None or 1 <= error.column <= len(text) + 1


def leaves(condition: Condition) -> list[Condition]:
    if isinstance(condition, All | Either):
        return [leaf for part in condition.conditions for leaf in leaves(part)]
    return [condition.condition if isinstance(condition, Not) else condition]


def test_not_is_pushed_to_the_leaves() -> None:
    condition = Not(All((A, Either((Not(B), C)))))
    assert pushed_down(condition) == Either((Not(A), All((B, Not(C)))))
    assert all(isinstance(leaf, Comparison) for leaf in leaves(pushed_down(condition)))


def test_words_that_must_all_stand_are_looked_for_at_once() -> None:
    found = conjuncts(All((word("a"), A, All((word("b"), B)))))
    assert found == [Words((Phrase("a"), Phrase("b"))), A, B]
