"""A tokenizer that is trained on the cut: on the texts that are taken, on no others, and on a bounded sample."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import adapterhub_fin as ahf
from adapterhub_fin.engine.base.train_tokenizer import train_tokenizer
from adapterhub_fin.engine.data.shards.documents import Document
from adapterhub_fin.engine.data.shards.tokenizer_sample import _priority, sampled
from adapterhub_fin.errors import BadCorpus, BadRecipe, Corrupted, Refused

Rows = list[dict[str, Any]]
Written = Callable[..., Path]
UNTIL = "2013-12-31"


def vocabulary(folder: Path) -> Any:
    return json.loads((folder / "tokenizer" / "tokenizer.json").read_text())["model"]


def test_it_is_trained_on_the_texts_that_the_shards_take(rows: Rows, written: Written, tmp_path: Path) -> None:
    """Rows after the cut, copies and texts that the filters leave out are not read from."""
    filters = {"min_characters": 30}
    recipe = {"files": written(rows), "until": UNTIL, "tokenizer": {"train": 300}, "filters": filters}
    shards = ahf.tokenize({**recipe, "shard_tokens": 2000}, tmp_path / "shards")
    taken: dict[str, str] = {}
    for row in rows:
        if row["available_at"] < "2014" and len(row["text"]) >= 30:
            taken.setdefault(" ".join(row["text"].casefold().split()), row["text"])
    assert vocabulary(shards.folder) == json.loads(train_tokenizer(taken.values(), 300, "llama").to_str())["model"]
    trained = shards.record["recipe"]["tokenizer"]["trained"]
    assert trained["documents"] == trained["of_documents"] == len(taken) == len(shards) < 140
    assert trained["characters"] == trained["of_characters"] == sum(map(len, taken.values()))
    assert trained["choice"] == {"train": 300, "kind": "llama", "sample": 50_000_000, "seed": 0}
    known = shards.tokenizer_known
    assert known is not None and (known.at, known.kind) == (shards.knowledge_end, "observed")
    assert known.evidence == "the latest available_at of the rows that the tokenizer was trained on"
    shards.verify()
    assert not (shards.folder / "training.sqlite").exists()


def test_its_ids_are_framed_as_pretraining_frames_them(rows: Rows, written: Written, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    recipe = {"files": written(rows[:40]), "until": "2030-01-01"}
    for kind, first, last in (("llama", "<s>", "</s>"), ("modernbert", "[CLS]", "[SEP]")):
        choice = {"train": 280, "kind": kind, "sample": None}
        shards = ahf.tokenize({**recipe, "tokenizer": choice}, tmp_path / kind)
        tokenizer = AutoTokenizer.from_pretrained(shards.tokenizer)
        ends = tokenizer.convert_tokens_to_ids([first, last])
        assert all([int(ids[0]), int(ids[-1])] == ends for ids in shards)
        assert tokenizer.decode(shards[0][1:-1]) == rows[0]["text"]


def test_rows_after_the_cut_change_nothing(rows: Rows, written: Written, tmp_path: Path) -> None:
    later = [{"text": f"what nobody knew {number}", "available_at": "2019-05-01T00:00:01Z"} for number in range(9)]
    recipe = {"until": UNTIL, "tokenizer": {"train": 280, "sample": 2_000}}
    one = ahf.tokenize({**recipe, "files": written(rows)}, tmp_path / "one")
    other = ahf.tokenize({**recipe, "files": written([*later, *rows], "more.jsonl")}, tmp_path / "other")
    assert one.digest == other.digest
    trained = one.record["recipe"]["tokenizer"]["trained"]
    assert 1_000 < trained["characters"] <= 2_000 < trained["of_characters"]
    reseeded = {**recipe, "tokenizer": {"train": 280, "sample": 2_000, "seed": 1}, "files": written(rows)}
    assert vocabulary(ahf.tokenize(reseeded, tmp_path / "reseeded").folder) != vocabulary(one.folder)


@settings(max_examples=int(os.environ.get("AHF_CASES", "100")), deadline=None)
@given(
    texts=st.lists(st.text("ab", min_size=1, max_size=9), min_size=1, max_size=20),
    limit=st.integers(1, 60),
    seed=st.integers(0, 3),
    others=st.integers(0, 3),
)
def test_a_sample_is_bounded_in_order_and_depends_on_its_texts_alone(
    texts: list[str], limit: int, seed: int, others: int
) -> None:
    at = datetime(2010, 1, 1, tzinfo=UTC)
    documents = [Document(row, text, at) for row, text in enumerate(texts)]
    drawn = list(sampled(documents, limit, seed))
    rows = [document.row for document in drawn]
    assert rows == sorted(rows) and drawn
    assert sum(len(document.text) for document in drawn) <= limit or len(drawn) == 1
    order = sorted(documents, key=lambda document: (_priority(document.text, seed), document.row))
    within = [total <= limit for total in accumulate(len(document.text) for document in order)]
    assert rows == sorted(document.row for document in order[: max(1, sum(within))]), "none after the first too many"
    moved = [Document(row + others, text, at) for row, text in enumerate(texts)]
    assert [document.text for document in sampled(moved, limit, seed)] == [document.text for document in drawn]
    assert list(sampled(documents, None, seed)) == documents


def test_a_sample_is_an_even_one() -> None:
    at = datetime(2010, 1, 1, tzinfo=UTC)
    documents = [Document(row, f"text {row:05}", at + timedelta(days=row)) for row in range(4000)]
    rows = [document.row for document in sampled(documents, 10_000, 0)]
    counts = [sum(row // 800 == part for row in rows) for part in range(5)]
    assert len(rows) == 1000 and min(counts) > 150 and max(counts) < 250


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        (
            {"tokenizer": {"train": 8192}},
            BadCorpus,
            "tokens at most, and tokenizer.train asks for 8,192: lower it to",
        ),
        ({"tokenizer": {"train": 100}}, BadRecipe, "tokenizer"),
        ({"tokenizer": {"train": 300, "kind": "gpt"}}, BadRecipe, "tokenizer"),
        ({"until": "1999-12-31"}, BadCorpus, "tokenize: none of 200 rows is left: 200 available after until"),
        (
            {"tokenizer_known": "2010-01-01", "tokenizer_evidence": "its card"},
            BadRecipe,
            "a tokenizer that is trained here is dated by its rows: leave tokenizer_known out",
        ),
    ],
)
def test_what_can_t_be_trained_is_refused(
    rows: Rows, written: Written, tmp_path: Path, changed: Any, error: type[Exception], message: str
) -> None:
    recipe = {"files": written(rows), "until": UNTIL, "tokenizer": {"train": 300}, **changed}
    with pytest.raises(error) as raised:
        ahf.tokenize(recipe, tmp_path / "shards")
    assert message in str(raised.value) and "\n" not in str(raised.value)
    assert not (tmp_path / "shards" / "index.json").exists()


def test_what_can_t_be_trained_deletes_nothing(rows: Rows, written: Written, tmp_path: Path) -> None:
    recipe = {"files": written(rows), "until": UNTIL, "tokenizer": {"train": 300}}
    shards = ahf.tokenize(recipe, tmp_path / "shards")
    with pytest.raises(BadCorpus, match="asks for 8,192"):
        ahf.tokenize({**recipe, "tokenizer": {"train": 8192}}, tmp_path / "shards", restart=True)
    shards.verify()


def test_a_finished_pass_is_taken_up_with_its_tokenizer_and_another_choice_is_refused(
    rows: Rows, written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adapterhub_fin.engine.data.shards import tokenizing_run

    recipe = {"files": written(rows), "until": UNTIL, "tokenizer": {"train": 300}}
    first = ahf.tokenize(recipe, tmp_path / "shards")
    with monkeypatch.context() as patch:
        patch.setattr(tokenizing_run, "train", lambda *given: 1 / 0)  # it isn't trained again
        assert ahf.tokenize(recipe, tmp_path / "shards").digest == first.digest
    for other in ({"train": 290}, {"train": 300, "seed": 1}, {"train": 300, "kind": "modernbert"}, first.tokenizer):
        with pytest.raises(Refused, match="was begun with another tokenizer"):
            ahf.tokenize({**recipe, "tokenizer": other}, tmp_path / "shards")
    (first.tokenizer / "tokenizer.json").unlink()
    with pytest.raises(Corrupted, match=r"tokenizer.json is missing: run again with restart"):
        ahf.tokenize(recipe, tmp_path / "shards")
    assert ahf.tokenize(recipe, tmp_path / "shards", restart=True).digest == first.digest


def test_a_base_takes_it_with_its_date(rows: Rows, written: Written, tmp_path: Path) -> None:
    recipe = {"files": written(rows), "until": UNTIL, "tokenizer": {"train": 300}}
    shards = ahf.tokenize(recipe, tmp_path / "shards")
    base = {"new": "llama", "layers": 1, "width": 16, "heads": 2}
    training = {"max_steps": 1, "block": 32, "batch_size": 4}
    made = ahf.pretrain(name="acme/own", base=base, shards=str(shards.folder), until=UNTIL, training=training)
    inputs = {entry.input: (entry.at, entry.kind) for entry in made.version.manifest.knowledge.inputs}
    assert inputs["tokenizer:shards"] == (made.version.manifest.knowledge.end, "observed")
    assert made.version.manifest.knowledge.end < "2014"
