"""Which rows a base is made of, how each of its inputs is dated, and how many of their tokens it is trained on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import adapterhub_fin as ahf
from adapterhub_fin.engine.pretraining.cut import TextCut
from adapterhub_fin.errors import BadCorpus
from adapterhub_fin.testing.tiny_base import DECODER, ENCODER, base_recipe, dated_rows

DATED = {"data": dated_rows(), "available_at": "available_at"}
SMITH = "Every man lives by exchanging, and becomes in some measure a merchant."


def with_row(available_at: str) -> dict[str, Any]:
    """Return the rows of a day each, and one more."""
    return {**DATED, "data": [*dated_rows(), {"text": "One more row.", "available_at": available_at}]}


def mixed(*corpora: Mapping[str, Any], **changed: Any) -> dict[str, Any]:
    recipe = base_recipe(**changed, corpora=list(corpora))
    del recipe["corpus"]
    return recipe


def train_texts(recipe: dict[str, Any]) -> Sequence[str]:
    cut = ahf.preview_pretrain(recipe).cut
    assert isinstance(cut, TextCut)
    return cut.texts("train")


@pytest.mark.parametrize(
    ("instant", "read"),
    [
        ("2010-06-30T23:59:59.999999+00:00", True),
        ("2010-07-01T00:00:00+00:00", False),
        ("2010-07-01T00:00:00.000000001+00:00", False),
        ("2010-07-01T01:00:00+02:00", True),
        ("2010-06-30T20:00:00-04:00", False),
    ],
)
def test_a_row_counts_until_the_end_of_the_last_day_in_utc(instant: str, read: bool) -> None:
    planned = ahf.preview_pretrain(base_recipe(corpus=with_row(instant)))
    assert sum(planned.cut.counts.values()) == 181 + read
    assert planned.known["corpus:table"].at < planned.recipe.cutoff


def test_the_first_day_begins_at_midnight_in_utc() -> None:
    for instant, read in (("2010-01-02T00:00:00+00:00", 1), ("2010-01-01T23:59:59.999999+00:00", 0)):
        planned = ahf.preview_pretrain(base_recipe(corpus=with_row(instant), since="2010-01-02"))
        assert sum(planned.cut.counts.values()) == 180 + read, instant


def test_held_out_rows_are_measured_once_however_often_training_repeats_them(declared: dict[str, Any]) -> None:
    cut = ahf.preview_pretrain(mixed({**DATED, "repeat": 3}, declared)).cut
    assert isinstance(cut, TextCut)
    assert len(cut.texts("validation")) == cut.counts["validation"]
    assert len(cut.texts("train")) == 3 * (cut.counts["train"] - 1) + 1, "the book once"


def test_a_date_without_a_zone_is_refused() -> None:
    with pytest.raises(BadCorpus, match="has no time zone"):
        ahf.preview_pretrain(base_recipe(corpus=with_row("2010-06-30")))


@pytest.fixture
def declared(tmp_path: Path) -> dict[str, Any]:
    """Return a corpus of text whose date is stated for all of it."""
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "smith.txt").write_text(SMITH)
    return {"name": "text", "path": str(tmp_path / "book"), "knowledge_end": "1776-12-31", "evidence": "title page"}


def test_each_corpus_of_a_mixture_is_an_input_of_its_own(declared: dict[str, Any]) -> None:
    prepared = ahf.preview_pretrain(mixed(DATED, declared))
    known = {name: (f"{each.at:%Y-%m-%d}", each.kind) for name, each in prepared.known.items()}
    assert known["corpus:table"] == ("2010-06-30", "observed")
    assert known["corpus:text"] == ("1777-01-01", "asserted"), "where 1776 ended last"
    assert known["tokenizer:mixture"][1] == "asserted", "what it was trained on is known as well as the weakest of it"
    assert "title page" in prepared.known["tokenizer:mixture"].evidence
    assert prepared.known["corpus:text"].evidence == "title page"
    assert sum(prepared.cut.counts.values()) == 182
    assert f"{prepared.cut.record['available'][0]:%Y-%m-%d}" == "1777-01-01"


def test_corpora_of_other_columns_are_mixed_and_each_counted_as_often_as_it_says(declared: dict[str, Any]) -> None:
    rows = [
        {**row, "text": f"Again: {row['text']}", "topic": "rates", "id": str(n)} for n, row in enumerate(dated_rows())
    ]
    other = {"data": rows, "available_at": "available_at", "label": "topic", "group": "id", "repeat": 2}
    prepared = ahf.preview_pretrain(mixed(DATED, {**declared, "repeat": 3}, other))
    assert set(prepared.known) == {"corpus:table", "corpus:text", "corpus:table 2", "tokenizer:mixture"}
    texts = train_texts(mixed(DATED, {**declared, "repeat": 3}, other))
    assert texts.count(dated_rows()[0]["text"]) == 1 and texts.count(SMITH) == 3
    assert texts.count(rows[0]["text"]) == 2 == texts.count(rows[160]["text"])
    nested = mixed({"name": "mixture", "corpora": [DATED, {**declared, "repeat": 3}]}, other)
    assert train_texts(nested) == texts


def test_a_mixture_with_a_corpus_that_nobody_dates_is_refused(declared: dict[str, Any]) -> None:
    with pytest.raises(BadCorpus, match="is undated"):
        ahf.preview_pretrain(mixed(DATED, {"data": [{"text": "Nobody knows when."}]}))


def test_a_copy_that_is_dated_later_is_a_row_of_its_own_date() -> None:
    # A text in two corpora is read where it comes early; the late copy is in no part before its date.
    early, late = dated_rows()[:170], [{**row, "available_at": "2010-07-05T12:00:00+00:00"} for row in dated_rows()[:9]]
    parts = ({**DATED, "data": early}, {**DATED, "data": late})
    once, twice = (ahf.preview_pretrain(mixed(*parts, test_until=until)) for until in (None, "2010-07-31"))
    assert sum(once.cut.counts.values()) == 170 and twice.cut.counts["test"] == 9
    assert set(once.known) == {"corpus:table", "tokenizer:mixture"}, "the other corpus has no row that counts"
    assert once.cut.record["digest"] == twice.cut.record["digest"]
    assert twice.cut.record["notes"]["of test that are copies of train or validation"] == 9


def test_a_mixture_stands_against_its_corpora(declared: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({**row, "id": n}) + "\n" for n, row in enumerate(dated_rows())))
    other = {"name": "table", "path": str(path), "available_at": "available_at", "group": "id"}
    made = ahf.pretrain(mixed(other, declared, training={"max_steps": 1}))
    assert ahf.verify_against(made.version, path, declared["path"]).agrees
    path.write_text(path.read_text().replace("basis", "Basis", 1))
    assert not ahf.verify_against(made.version, path, declared["path"]).agrees


@pytest.mark.parametrize(
    "training", [{}, {"batch_size": 100}, {"batch_size": 512}, {"packing": False, "batch_size": 30}, {"accumulate": 2}]
)
@pytest.mark.parametrize("tokens", [1, 1_000, 9_000, 16_000, 20_000])
def test_a_budget_of_tokens_is_reached_by_its_last_step_and_not_by_the_one_before(
    tokens: int, training: dict[str, Any]
) -> None:
    planned = ahf.preview_pretrain(base_recipe(training={**training, "tokens": tokens, "max_steps": None}))
    blocks = planned.parts["train"].blocks
    step = planned.recipe.training.batch_size * blocks.block
    assert planned.tokens(planned.steps) >= tokens > planned.tokens(planned.steps - 1)
    assert tokens <= planned.tokens(planned.steps) <= tokens + step
    assert planned.tokens(10 * -(-len(blocks) // planned.recipe.training.batch_size)) == 10 * blocks.tokens


@pytest.mark.parametrize("shape", [DECODER, ENCODER])
def test_a_text_that_spells_a_special_token_neither_ends_nor_masks_anything(shape: dict[str, Any]) -> None:
    rows = dated_rows()
    rows[3]["text"] = "He wrote </s> and <pad>, <s> and [MASK], [SEP] and [CLS], and [PAD]"
    planned = ahf.preview_pretrain(base_recipe(base=shape, corpus={**DATED, "data": rows}))
    special = list(planned.tokenizer.all_special_ids)
    blocks = planned.parts["train"].blocks
    tokens = np.concatenate([blocks[number].tokens[: blocks[number].length] for number in range(len(blocks))])
    assert np.isin(tokens, special).sum() == 2 * planned.cut.counts["train"], "each document's first and last"
