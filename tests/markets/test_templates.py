"""Instructions: mixed by weight, the same for a seed, answered by what the document holds, known when it was."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub_fin.engine.data.corpus import corpus_digest
from adapterhub_fin.errors import BadCorpus, BadRecipe
from adapterhub_fin.plugin import KnownAt, corpus_options, load_corpus
from adapterhub_fin.plugin.interfaces import Rows
from adapterhub_fin_markets.corpora import templates
from adapterhub_fin_markets.corpora.template_kinds import KINDS, MAKERS, excerpt, sentences

CASES = int(os.environ.get("AHF_CASES", "0"))  # of each property, where `make properties` asks for more
START = datetime(2024, 1, 1, tzinfo=UTC)


def report(number: int) -> str:
    generator = random.Random(number)
    kinds = [
        "Net sales of unit {a} rose {b}.{c}% to ${a},{d}.{c} million in the quarter.",
        "The Board of Directors met on March {b}, 2024 in New York.",
        "Operating income of the segment fell by 1-{c}/4 percent to {a} in all.",
        "Management expects that demand will stay weak for some time.",
    ]
    return " ".join(
        generator.choice(kinds).format(
            a=generator.randint(1, 9),
            b=generator.randint(1, 28),
            c=generator.randint(1, 3),
            d=generator.randint(100, 999),
        )
        for _ in range(30)
    )


def news(folder: Path, texts: list[str]) -> dict[str, Any]:
    path = folder / "reports.jsonl"
    rows = [{"text": text, "at": (START + timedelta(days=n)).isoformat()} for n, text in enumerate(texts)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return {"name": "news", "path": str(path), "published": "at"}


def load(**options: Any) -> Rows:
    return load_corpus(*corpus_options({"name": "templates", **options}))


def test_the_kinds_are_mixed_by_weight_and_dated_by_their_document(tmp_path: Path) -> None:
    corpus = news(tmp_path, [report(number) for number in range(300)])
    rows = load(corpus=corpus, per_document=4, system="Be exact.")
    counts = Counter(row["slices"]["task"] for row in rows.table)
    assert len(rows.table) == 1200 and {task: rows.notes[task] for task in counts} == counts
    for task, share in {"understanding": 40, "completion": 30, "summary": 20, "questions": 10}.items():
        assert abs(counts[task] / 12 - share) < 4, counts
    assert rows.table[5]["available_at"] >= START + timedelta(days=1) and rows.table[5]["origin"] == "reports.jsonl:2"
    assert [turn["role"] for turn in rows.table[0]["messages"]] == ["system", "user", "assistant"]
    only = load(corpus=corpus, weights={"summary": 1})
    assert {row["slices"]["task"] for row in only.table} == {"summary"}


def test_a_seed_gives_the_same_rows_and_a_later_document_changes_none(tmp_path: Path) -> None:
    texts = [report(number) for number in range(20)]
    first = load(corpus=news(tmp_path, texts), seed=3)
    assert corpus_digest(first.table) == corpus_digest(load(corpus=news(tmp_path, texts), seed=3).table)
    assert corpus_digest(first.table) != corpus_digest(load(corpus=news(tmp_path, texts), seed=4).table)
    more = load(corpus=news(tmp_path, [*texts, report(99)]), seed=3)
    assert corpus_digest(more.table.select(range(20))) == corpus_digest(first.table)


PIECES = "Acme sales rose to 5.2% $1,234.50 1-3/4 percent on January 31, 2024 EUR 12 bn (3)%"
words = st.sampled_from(PIECES.split(" "))
texts = st.lists(st.lists(words, min_size=4, max_size=12).map(lambda each: "The " + " ".join(each) + "."), max_size=12)


@settings(max_examples=CASES or 200, deadline=None)
@given(texts.map(" ".join), st.integers(0, 5), st.sampled_from(sorted(MAKERS)))
def test_an_answer_is_made_of_the_document_alone(text: str, seed: int, task: str) -> None:
    generator = random.Random(seed)
    shown = excerpt(sentences(text), 400, generator)
    made = MAKERS[task](shown, generator)
    if made is None:
        return
    assert made.task == task and len(made.answer) <= len(text)
    parts = made.answer.split("; ") if task == "understanding" else [made.answer]
    if task == "summary":
        parts = sentences(made.answer)
    assert all(part in text for part in parts), (made.answer, text)


@pytest.mark.parametrize(
    ("kind", "text", "found"),
    [
        (
            "percentages",
            "rose 1-3/4 percent, fell (5.2)% and 3 %, over 1,000%",
            ["1-3/4 percent", "(5.2)%", "3 %", "1,000%"],
        ),
        ("percentages", "10-15% or 1.5–2.0%, 10%-15%, from 3% to 5%", ["10-15%", "1.5–2.0%", "10%-15%", "3% to 5%"]),
        ("percentages", "-5%, −4%, –3%, minus 2% and +1%", ["-5%", "−4%", "–3%", "minus 2%", "+1%"]),
        ("percentages", "1-1/4 to 1-1/2 percent; 5 to 7 percent", ["1-1/4 to 1-1/2 percent", "5 to 7 percent"]),
        ("percentages", "between 1/4 and 1/2 percent, (5.2%) (up 5%)", ["1/4 and 1/2 percent", "(5.2%)", "5%"]),
        ("percentages", "3, 4 and 5 percent, 1:30%, 5-7-9%, 1 234%", []),
        ("amounts of money", "US$5 million, $1,234.50, EUR 12 bn", ["US$5 million", "$1,234.50", "EUR 12 bn"]),
        ("amounts of money", "$5.2bn, $4M, $500, against €3.5m.", ["$5.2bn", "$4M", "$500", "€3.5m"]),
        (
            "amounts of money",
            "-$3.1 million ($2.5 million) $(0.05) $-0.05",
            "-$3.1 million|($2.5 million)|$(0.05)|$-0.05",
        ),
        (
            "amounts of money",
            "5 million euros, 300 million dollars, 2.5 cents",
            "5 million euros|300 million dollars|2.5 cents",
        ),
        (
            "amounts of money",
            "$5-7 million, $1.2M-$1.5M, $5 to $7 million",
            "$5-7 million|$1.2M-$1.5M|$5 to $7 million",
        ),
        ("amounts of money", "$5.2xyz, $5.2, $3.1 and $2 million, 1 234 million euros", ["$2 million"]),
        ("dates", "on January 31, 2024 or 2024-02-29", ["January 31, 2024", "2024-02-29"]),
        ("dates", "31 January 2024, Jan. 31, 2024, March 2024", ["31 January 2024", "Jan. 31, 2024", "March 2024"]),
        ("dates", "January 30-31, 2024 and 30–31 January 2024", ["January 30-31, 2024", "30–31 January 2024"]),
    ],
)
def test_quantities_are_named_whole(kind: str, text: str, found: list[str] | str) -> None:
    expected = found.split("|") if isinstance(found, str) else found
    assert [match[0] for match in KINDS[kind].finditer(text)] == expected


WHOLE = [
    *("$5.2bn", "$4M", "-$3.1 million", "($2.5 million)", "$500"),
    *("−4%", "–3%", "10-15%", "31 January 2024", "5 million euros"),
    *("C$5 million", "5 bps", "1-1/4 to 1-1/2 percent", "12,000", "3.5 million"),
    *("2023", "5 to 7", "25 basis points", "EUR 12 bn", "January 30-31, 2024"),
]
PARTS = ("$5.2xyz", "12/31/2019", "10:30", "5-year", "10-K", "Q3", "1990s", "3rd")


@settings(max_examples=CASES or 200, deadline=None)
@given(
    st.lists(st.sampled_from([*WHOLE, *PARTS]), min_size=1, max_size=6),
    st.integers(0, 3),
    st.sampled_from([", ", ". ", "; ", " as it was "]),
)
def test_an_answer_is_a_whole_quantity(figures: list[str], seed: int, mark: str) -> None:
    text = "".join(f"The group said that it named {figure}{mark}" for figure in figures) + "and no more."
    for task in ("understanding", "questions"):
        made = MAKERS[task]([text], random.Random(seed))
        assert (made is not None) or task == "understanding" or not set(figures) & set(WHOLE)
        answers = [] if made is None else made.answer.split("; ")
        assert set(answers) <= set(figures) & set(WHOLE), text


HEADER = "origin,question,answer,available_at\n"
GIVEN = {"weights": {"questions": 1}, "max_chars": 10_000}


def test_given_answers_are_known_when_they_were_given(tmp_path: Path) -> None:
    corpus = news(tmp_path, [report(1), report(2)])
    answers = tmp_path / "answers.csv"
    answers.write_text(HEADER + "reports.jsonl:1,Is it up?,Yes.,2024-05-01T12:00:00Z\n")
    rows = load(corpus=corpus, answers=answers, **GIVEN)
    assert len(rows.table) == 1 and rows.notes["without an instruction"] == 1
    assert rows.table[0]["available_at"] == datetime(2024, 5, 1, 12, tzinfo=UTC)
    user, assistant = rows.table[0]["messages"]
    assert user["content"] == f"Is it up?\n\n{report(1)}" and assistant["content"] == "Yes."
    answers.write_text(HEADER + "reports.jsonl:1,Is it up?,Yes.,2024-05-01\n")
    with pytest.raises(BadCorpus, match=r"answers\.csv, line 2: available_at: .* has no time zone"):
        load(corpus=corpus, answers=answers)


def test_an_answer_without_a_date_is_refused_or_has_that_of_the_option(tmp_path: Path) -> None:
    corpus = news(tmp_path, [report(1), report(2)])
    answers = tmp_path / "answers.csv"
    for header, cell in ((HEADER, ","), ("origin,question,answer\n", "")):
        answers.write_text(f"{header}reports.jsonl:1,What came next?,A pandemic.{cell}\n")
        with pytest.raises(BadCorpus, match=r"answers\.csv, line 2 has no available_at: .*set answers_available_at"):
            load(corpus=corpus, answers=answers, **GIVEN)
        for stated, at in (
            ("document", START + timedelta(days=1, microseconds=-1)),
            ("2024-05-01T12:00:00+02:00", datetime(2024, 5, 1, 10, tzinfo=UTC)),
        ):
            rows = load(corpus=corpus, answers=answers, answers_available_at=stated, **GIVEN)
            assert rows.table["available_at"][:] == [at]
    with pytest.raises(BadRecipe, match="answers_available_at"):
        load(corpus=corpus, answers=answers, answers_available_at="2024-05-01T12:00:00", **GIVEN)
    with pytest.raises(BadRecipe, match="name it as answers"):
        load(corpus=corpus, answers_available_at="document")
    with pytest.raises(BadRecipe, match="give questions a weight"):
        load(corpus=corpus, answers=answers, weights={"summary": 1})


def test_dated_answers_date_documents_that_have_no_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = KnownAt(START, "asserted", "invented")
    documents = Rows(Dataset.from_dict({"text": [report(1)] * 2, "origin": ["a", "b"]}), known=published)
    monkeypatch.setattr(templates, "load_corpus", lambda *_: documents)
    answers = tmp_path / "answers.csv"
    for days, expected in (((300, 200), 300), ((-300, -200), 0)):
        first, second = ((START + timedelta(days=each)).isoformat() for each in days)
        answers.write_text(f"{HEADER}a,Up?,Yes.,{first}\nb,Up?,No.,{second}\n")
        known = load(corpus="headlines", answers=answers, **GIVEN).known
        assert known is not None and known.at == START + timedelta(days=expected)


def test_an_answer_whose_document_is_not_there_is_named(tmp_path: Path) -> None:
    answers = tmp_path / "answers.csv"
    rows = ["reports.jsonl:1,Up?,Yes.", "reports.JSONL:2,Up?,Yes.", "reports.jsonl:3,Up?,Yes."]
    answers.write_text(HEADER + "".join(f"{row},2024-05-01T12:00:00Z\n" for row in rows))
    message = r"2 of 3 origins .* of no document: reports\.JSONL:2, reports\.jsonl:3: .*such as reports\.jsonl:1"
    with pytest.raises(BadCorpus, match=message):
        load(corpus=news(tmp_path, [report(1), report(2)]), answers=answers, **GIVEN)


def test_an_answer_to_a_document_that_can_t_be_shown_whole_is_counted(tmp_path: Path) -> None:
    answers = tmp_path / "answers.csv"
    answers.write_text(HEADER + "".join(f"reports.jsonl:{n},Up?,Yes.,2024-05-01T12:00:00Z\n" for n in (1, 2, 2)))
    corpus = news(tmp_path, ["It is up by a lot.", report(2)])
    rows = load(corpus=corpus, answers=answers, weights={"questions": 1}, max_chars=200)
    assert len(rows.table) == 1 and rows.notes["answers to documents over max_chars"] == 2
    with pytest.raises(BadCorpus, match="no document gives an instruction: .*or a max_chars above 200"):
        load(corpus=news(tmp_path, [report(1), report(2)]), answers=answers, weights={"questions": 1}, max_chars=200)


def test_what_gives_no_instruction_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadCorpus, match="no document gives an instruction"):
        load(corpus=news(tmp_path, ["short", "words"]))
    with pytest.raises(BadRecipe, match="one of them is above 0"):
        load(corpus=news(tmp_path, ["short"]), weights={"summary": 0})
    with pytest.raises(BadRecipe, match="nothing"):
        load(corpus="nothing")


def test_the_real_minutes_give_instructions_in_the_asked_shares(shared: Path) -> None:
    folder = shared / "data" / "fomc_minutes"
    corpus = {"name": "fomc", "path": folder, "glob": "2024*.txt", "releases": folder / "release_dates_raw.csv"}
    rows = load(corpus=corpus, per_document=50)
    counts = Counter(row["slices"]["task"] for row in rows.table)
    assert sum(counts.values()) == len(rows.table) == 300 and abs(counts["understanding"] / 3 - 40) < 10
    for row in rows.table:
        if row["slices"]["task"] == "questions":
            assert row["messages"][1]["content"] in row["messages"][0]["content"]
