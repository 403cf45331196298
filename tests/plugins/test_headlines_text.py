"""The shipped sentences: the same on every machine, labelled evenly, and not to be read off one word."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from datetime import UTC, date, timedelta

import pytest

from adapterhub_fin_plugins.corpora.headlines_text import Headline, generate

START, END = date(2015, 1, 1), date(2024, 12, 31)
RISES = ("rose", "climbed", "increased", "grew", "advanced", "jumped", "surged", "higher", "up")
FALLS = ("fell", "declined", "dropped", "decreased", "slid", "slipped", "shrank", "sank", "lower", "down")
TURNS = ("more", "less", "above", "below", "ahead", "behind", "rising", "falling", "raised", "lowered", "lifted", "cut")
TONES = ("profit", "loss", "gain", "weak", "strong", "not", "no", "longer", "despite", "although", "than", "expected")


@pytest.fixture(scope="module")
def headlines() -> list[Headline]:
    return list(generate(rows=4_000, seed=0, start=START, end=END))


def test_a_seed_gives_the_same_rows_on_every_machine() -> None:
    rows = generate(rows=200, seed=0, start=START, end=END)
    lines = (f"{row.available_at.isoformat()}\t{row.group}\t{row.label}\t{row.text}\n" for row in rows)
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert digest == "9c75dab9b93e768ab6595ce6d67d2a440e76db1feb5adbbfac9a100c95575210"


def test_another_seed_gives_other_rows() -> None:
    first, second = ({row.text for row in generate(100, seed, START, END)} for seed in (0, 1))
    assert len(first & second) < 5


def test_no_sentence_comes_twice(headlines: list[Headline]) -> None:
    assert len({headline.text for headline in headlines}) == len(headlines) == 4_000


def test_label_shares(headlines: list[Headline]) -> None:
    counts = Counter(headline.label for headline in headlines)
    shares = {label: count / len(headlines) for label, count in counts.items()}
    assert shares == pytest.approx({"neutral": 0.45, "positive": 0.30, "negative": 0.25}, abs=0.03)


def test_every_label_has_many_constructions(headlines: list[Headline]) -> None:
    groups = defaultdict(set)
    for headline in headlines:
        groups[headline.label].add(headline.group)
    assert all(len(groups[label]) >= 40 for label in ("negative", "neutral", "positive"))


def test_a_group_holds_a_construction_in_all_its_moods(headlines: list[Headline]) -> None:
    labels = defaultdict(set)
    for headline in headlines:
        labels[headline.group].add(headline.label)
    assert sum(len(found) >= 2 for found in labels.values()) > 0.6 * len(labels)
    for group in ("from_to", "than_feared", "guidance_change", "no_longer", "loss_width", "streak", "fine"):
        assert labels[group] == {"negative", "neutral", "positive"}


def test_dates_are_sorted_weekday_business_hours_in_utc(headlines: list[Headline]) -> None:
    moments = [headline.available_at for headline in headlines]
    assert moments == sorted(moments)
    assert all(moment.tzinfo is UTC and START <= moment.date() <= END for moment in moments)
    assert all(moment.weekday() < 5 and 8 <= moment.hour < 18 for moment in moments)
    assert all(headline.label_known_at == headline.available_at for headline in headlines)
    assert moments[-1] - moments[0] > timedelta(days=3_500)


def test_a_sentence_names_no_year_its_reader_could_not_know(headlines: list[Headline]) -> None:
    for headline in headlines:
        for year in re.findall(r"(?<![\d,.])20[12]\d(?![\d,.]\d)", headline.text):
            assert abs(int(year) - headline.available_at.year) <= 1, headline


def test_a_range_without_a_weekday_is_refused() -> None:
    with pytest.raises(ValueError, match="no weekday"):
        list(generate(1, 0, date(2024, 6, 1), date(2024, 6, 2)))


@pytest.mark.parametrize(
    "flaw", [r"[{}\[\]|]", r"  ", r" [,.]", r"\b[Aa] [aio]", r"\b[Aa]n [bcdfgjkpqtvwz]", r"s's\b", r"^[a-z]"]
)
def test_sentences_are_well_formed(headlines: list[Headline], flaw: str) -> None:
    assert [headline.text for headline in headlines if re.search(flaw, headline.text)] == []


def test_numbers_agree_with_the_words(headlines: list[Headline]) -> None:
    amounts = re.compile(r" to \D*([\d.,]+) [mb]illion .* from \D*([\d.,]+) [mb]illion")
    rows = [(row.text, match) for row in headlines if row.group == "from_to" if (match := amounts.search(row.text))]
    assert len(rows) >= 5
    for text, match in rows:
        after, before = (float(amount.replace(",", "")) for amount in match.groups())
        words = set(re.split("[;,] ", text)[0].split())  # What follows is how the news was taken.
        assert words & set(RISES if after > before else FALLS), text
        assert not words & set(FALLS if after > before else RISES), text


def test_one_word_does_not_tell_the_label(headlines: list[Headline]) -> None:
    labels = defaultdict(set)
    for headline in headlines:
        for word in re.findall(r"[a-z]+", headline.text.lower()):
            labels[word].add(headline.label)
    words = RISES + FALLS + TURNS + TONES
    telling = [word for word in words if len(labels[word]) < 2]
    assert len(telling) < 0.1 * len(words), telling
