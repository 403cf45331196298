"""What a base can't be made of is refused in a sentence, before torch is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import adapterhub_fin as ahf
from adapterhub_fin.errors import BadRecipe
from adapterhub_fin.recipe.pretrain_recipe import PretrainRecipe
from adapterhub_fin.testing.tiny_base import DECODER, ENCODER, base_recipe, dated_rows

UNDATED = {"data": [{"text": row["text"]} for row in dated_rows(20)]}
WITHOUT_TORCH = """
import json, sys
import adapterhub_fin as ahf
from adapterhub_fin.errors import AdapterHubError
for recipe in json.load(sys.stdin):
    try:
        ahf.pretrain(recipe)
    except AdapterHubError as error:
        print(json.dumps([type(error).__name__, str(error), "torch" in sys.modules]))
    else:
        print(json.dumps(["nothing", "", False]))
"""


def refused(recipes: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return the error of each recipe, all tried in one process that must not import torch."""
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], input=json.dumps(recipes), capture_output=True, text=True, check=True
    )
    answers = [json.loads(line) for line in ran.stdout.splitlines()]
    assert not any(torch for _, _, torch in answers), "torch was imported to refuse a recipe"
    return [(name, message) for name, message, _ in answers]


def test_what_can_be_known_without_torch_is_refused_without_it() -> None:
    cases: list[tuple[dict[str, Any], str, list[str]]] = [
        (base_recipe(corpus=UNDATED), "BadCorpus", ["is undated", "available_at"]),
        (base_recipe(until="2009-12-31"), "BadCorpus", ["has 0 rows up to the end of 2009-12-31", "2010-01-01"]),
        (base_recipe(until="2010-01-01"), "BadCorpus", ["has 1 row up to", "two or more"]),
        (base_recipe(test_until="2011-01-01", until="2010-12-31"), "BadCorpus", ["no row after 2010-12-31"]),
        (
            base_recipe(base={**DECODER, "tokenizer": {"train": 9000}}),
            "BadCorpus",
            ["tokens at most", "9,000", "lower"],
        ),
        (base_recipe(base={**DECODER, "width": 18, "heads": 4}), "BadRecipe", ["no multiple of heads 4", "choose 24"]),
        (base_recipe(base="acme/nothing@1"), "NotFound", ["acme/nothing"]),
        (base_recipe(name=None), "BadRecipe", ["has no name"]),
        (base_recipe(corpus={"name": "tabel", "path": "x"}), "UnknownName", ["tabel", "table"]),
        (base_recipe(corpus={"name": "table", "path": "gone.csv"}), "BadCorpus", ["gone.csv", "does not exist"]),
    ]
    answers = refused([{key: value for key, value in recipe.items() if value is not None} for recipe, _, _ in cases])
    for (_, error, parts), (name, message) in zip(cases, answers, strict=True):
        assert name == error, message
        assert all(part in message for part in parts), message
        assert "\n" not in message


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"until": None}, "give until"),
        ({"schedule": {"windows": "yearly", "start": "2010-03-01"}}, "one of the two"),
        ({"until": None, "schedule": {"windows": "yearly", "start": "2010-03-01", "embargo": "5d"}}, "embargo"),
        ({"until": "2010-06-30T12:00:00"}, "until"),
        ({"since": "2010-07-01"}, "lies after until"),
        ({"test_until": "2010-06-30"}, "must lie after until"),
        ({"shards": "tokens"}, "one of the two"),
        ({"corpus": {"data": dated_rows(9), "splitter": {"by": "time"}}}, "corpus.splitter"),
        ({"base": {"new": "llama", "version": "acme/x@1"}}, "give new"),
        ({"base": {"version": "acme/x@1", "layers": 2}}, "leave layers out"),
        ({"base": {**DECODER, "heads": 4, "kv_heads": 3}}, "kv_heads 3"),
        ({"base": {**DECODER, "new": "modernbert", "kv_heads": 1}}, "kv_heads are a llama's"),
        ({"base": {**DECODER, "width": 12, "heads": 4}}, "even number"),
        ({"base": {**DECODER, "positions": 16}}, "fewer than training.block 32"),
        ({"base": {**DECODER, "tokenizer": {}}}, "give train"),
        ({"base": {**DECODER, "layer": 2}}, "did you mean layers"),
        ({"training": {"tokens": 10, "epochs": 1, "max_steps": None}}, "how long to train"),
        ({"training": {"optimizer": "moun"}}, "training.optimizer"),
        ({"training": {"attn_implementation": "flash_attention_2"}}, "lets packed documents see each other: use sdpa"),
        (
            {"base": ENCODER, "training": {"attn_implementation": "flash_attention_3", "packing": False}},
            "doesn't take a modernbert's masks",
        ),
        ({"name": "acme/fin@2"}, "NAMESPACE/NAME"),
    ],
)
def test_a_recipe_that_contradicts_itself_is_refused(changed: dict[str, Any], message: str) -> None:
    recipe = base_recipe(**changed)
    with pytest.raises(BadRecipe, match=message):
        PretrainRecipe.read({key: value for key, value in recipe.items() if value is not None})


def test_its_document_reads_as_the_same_recipe() -> None:
    for changed in ({}, {"base": "acme/fin@1"}, {"until": None, "schedule": {"windows": "6mo", "start": "2010-03-01"}}):
        recipe = PretrainRecipe.read({k: v for k, v in base_recipe(**changed).items() if v is not None})
        assert PretrainRecipe.read(recipe.document()) == recipe
        assert json.loads(json.dumps(recipe.document())) == recipe.document()


def test_an_epoch_is_the_default() -> None:
    read = PretrainRecipe.read(base_recipe(training={"max_steps": None}))
    assert (read.training.for_trainer().epochs, read.training.for_trainer().max_steps) == (1.0, None)


def test_attention_that_has_no_backward_on_a_cpu_is_refused(home: Path) -> None:
    with pytest.raises(BadRecipe, match=r"flex_attention has no backward pass on a CPU: use sdpa"):
        ahf.pretrain(base_recipe(training={"attn_implementation": "flex_attention"}))


def test_neither_tokenizer_nor_record_depends_on_later_or_validation_rows() -> None:
    """Two corpora that differ after the training rows give the same tokenizer; after the cut, the same record."""
    changed = [dated_rows() for _ in range(3)]
    for row in changed[1][181:]:  # after the cut
        row["text"] = "zyzzyva " * 9
    for row in changed[2][163:]:  # validation too
        row["text"] = "zyzzyva " * 9
    first, later, validated = (
        ahf.preview_pretrain(
            base_recipe(corpus={"data": rows, "available_at": "available_at"}, test_until="2010-07-31")
        )
        for rows in changed
    )
    assert first.tokenizer.get_vocab() == later.tokenizer.get_vocab() == validated.tokenizer.get_vocab()
    assert first.cut.record["digest"] == later.cut.record["digest"] != validated.cut.record["digest"]
    assert first.known == later.known
