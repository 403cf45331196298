"""Filters drop by length, terms and likeness, count what they dropped, and never look ahead."""

from __future__ import annotations

import json
import os
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub_fin.errors import BadCorpus, BadRecipe
from adapterhub_fin.plugin import corpus_options, load_corpus
from adapterhub_fin_markets.corpora.filters import filtered, term_density, words_in
from adapterhub_fin_markets.corpora.options import DocumentOptions, NewsOptions

CASES = int(os.environ.get("AHF_CASES", "0"))  # of each property, where `make properties` asks for more
START = datetime(2024, 1, 1, tzinfo=UTC)
WORDS = [f"word{number}" for number in range(400)]


def table(*texts: str, days: list[int] | None = None) -> Dataset:
    at = [START + timedelta(days=day) for day in days or range(len(texts))]
    return Dataset.from_dict({"text": list(texts), "available_at": at})


def kept(rows: Dataset, **options: Any) -> tuple[list[str], dict[str, int]]:
    found, notes = filtered(rows, DocumentOptions(**options))
    return found["text"][:], notes


def test_words_hold_numbers_together() -> None:
    assert words_in("Sales rose 1,234.50 (5.2%) on 2024-01-31; Acme's") == [
        *("Sales", "rose", "1,234.50", "5.2", "on", "2024-01-31", "Acme's")
    ]


def test_each_reason_is_counted() -> None:
    rows = table("one two", "one two three", "a b c d e f", "net income of the balance sheet")
    assert kept(rows, min_words=3, max_words=5) == (
        ["one two three"],
        {"dropped, under 3 words": 1, "dropped, over 5 words": 2},
    )
    assert kept(rows, min_terms=0.5) == (
        ["net income of the balance sheet"],
        {"dropped, finance terms under 0.5 of the words": 3},
    )
    assert term_density("net income of the balance sheet", 6) == pytest.approx(4 / 6)


def test_of_equal_texts_the_earliest_stays_wherever_it_stands() -> None:
    rows = table("Same, words", "other", "same words", days=[5, 1, 2])
    assert kept(rows, near_duplicates=1) == (["other", "same words"], {"dropped, near-duplicates": 1})


@pytest.mark.parametrize("threshold", [0.5, 1.0])
@pytest.mark.parametrize(
    "texts",
    [
        ("EPS $-0.05", "EPS $0.05", "EPS €0.05", "EPS -$0.05", "EPS ($0.05)", "EPS 0.05", "EPS 0.05%", "EPS $.05"),
        ("\U0001f680", "\U0001f4c9", "!", "?"),
        ("Shares up +5%", "Shares up -5%", "Shares up 5"),
    ],
)
def test_signs_currencies_and_symbols_tell_texts_apart(texts: tuple[str, ...], threshold: float) -> None:
    assert kept(table(*texts), near_duplicates=threshold) == ([*texts], {})


@pytest.mark.parametrize("threshold", [0.5, 1.0])
def test_a_number_that_is_written_otherwise_tells_no_texts_apart(threshold: float) -> None:
    rows = table("Fell -5 % today", "fell \u22125%, today", "\U0001f680 ", " \U0001f680")
    assert kept(rows, near_duplicates=threshold)[1] == {"dropped, near-duplicates": 2}


@pytest.mark.parametrize("threshold", [0.8, 1.0])
def test_copies_are_those_of_a_group(threshold: float) -> None:
    rows = table("one story", "one story", "one story", "one story", "one story")
    rows = rows.add_column("group", ["AAPL", "MSFT", "AAPL", None, None])
    options: Any = {"path": Path("news.csv"), "published": "at", "near_duplicates": threshold}
    found, notes = filtered(rows, NewsOptions(**options, group="ticker"))
    assert found["group"][:] == ["AAPL", "MSFT", None] and notes == {"dropped, near-duplicates": 2}
    assert filtered(rows, DocumentOptions(near_duplicates=threshold))[1] == {"dropped, near-duplicates": 4}


def test_near_duplicates_by_minhash_are_those_of_the_measured_similarity() -> None:
    generator = random.Random(0)
    first = generator.choices(WORDS, k=300)
    close = [*first[:150], "changed", *first[151:]]
    other = generator.choices(WORDS, k=300)
    rows = table(*(" ".join(words) for words in (first, close, other)))
    assert len(kept(rows, near_duplicates=0.8)[0]) == 2 and len(kept(rows, near_duplicates=0.999)[0]) == 3


@settings(max_examples=CASES or 120, deadline=None)
@given(
    texts=st.lists(st.sampled_from(["a b c d e f", "a b c d e f.", "g h i", "G h i", "j"]), min_size=1, max_size=8),
    days=st.lists(st.integers(0, 5), min_size=8, max_size=8),
    future=st.sampled_from(["a b c d e f", "g h i", "new"]),
    threshold=st.sampled_from([0.6, 1.0]),
)
def test_a_future_text_changes_no_earlier_row(texts: list[str], days: list[int], future: str, threshold: float) -> None:
    before = kept(table(*texts, days=days[: len(texts)]), near_duplicates=threshold)[0]
    for place in (0, len(texts)):
        moved = [*texts[:place], future, *texts[place:]]
        dates = [*days[:place], 9, *days[place : len(texts)]]
        rows, _ = filtered(table(*moved, days=dates), DocumentOptions(near_duplicates=threshold))
        limit = START + timedelta(days=9)
        assert [row["text"] for row in rows if row["available_at"] < limit] == before


def test_a_corpus_says_what_it_dropped_and_refuses_to_drop_all(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps({"text": f"sales up {n} %", "at": "2024-01-01"}) for n in range(3)))
    news = {"name": "news", "path": path, "published": "at", "timezone": "UTC"}
    rows = load_corpus(*corpus_options({**news, "near_duplicates": 1}))
    assert len(rows.table) == 3, "texts that differ in a number are no copies"
    with pytest.raises(BadCorpus, match="no text is left .dropped, under 9 words: 3"):
        load_corpus(*corpus_options({**news, "min_words": 9}))
    with pytest.raises(BadRecipe, match="min_words 9 is above max_words 3"):
        corpus_options({**news, "min_words": 9, "max_words": 3})
