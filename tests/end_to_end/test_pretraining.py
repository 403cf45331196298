"""A base of one's own: made from dated text, stored, gone on from, and the same whatever way it is computed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import adapterhub_fin as ahf
from adapterhub_fin.testing.killed import train_and_be_killed
from adapterhub_fin.testing.tiny_base import ENCODER, base_recipe, dated_rows, stored_weights

RESUMED: dict[str, dict[str, Any]] = {
    "llama": {},
    "muon": {"training": {"optimizer": "muon"}},
    "modernbert": {"base": ENCODER},
}


def test_a_base_is_stored_with_the_end_of_its_rows_and_plain_transformers_loads_it() -> None:
    made = ahf.pretrain(base_recipe(test_until="2010-07-31"))
    manifest = made.version.manifest
    assert manifest.kind == "base" and manifest.method.name == "pretraining" and made.reference == "acme/fin@1"
    inputs = {entry.input: (entry.at, entry.kind) for entry in manifest.knowledge.inputs}
    assert inputs["corpus:table"] == ("2010-06-30T12:00:00Z", "observed")
    assert inputs["tokenizer:table"] == ("2010-06-12T12:00:00Z", "observed"), "the last row of training"
    assert manifest.knowledge.end == "2010-06-30T12:00:00Z"
    assert manifest.corpus is not None and manifest.corpus.rows == {"train": 163, "validation": 18, "test": 31}
    assert manifest.corpus.available == ("2010-01-01T12:00:00Z", "2010-06-30T12:00:00Z")
    assert manifest.measured_on is not None and (manifest.measured_on.split, manifest.measured_on.rows) == ("test", 31)
    tokenizer = AutoTokenizer.from_pretrained(made.folder)
    model = AutoModelForCausalLM.from_pretrained(made.folder).eval()
    assert len(tokenizer) == model.config.vocab_size == 300 and model.config.use_cache
    assert made.perplexity == pytest.approx(math.exp(made.metrics["loss"]))


def test_the_recorded_loss_is_that_of_plain_transformers_document_by_document() -> None:
    made = ahf.pretrain(base_recipe(test_until="2010-07-31", training={"packing": False, "block": 96}))
    tokenizer = AutoTokenizer.from_pretrained(made.folder)
    model = AutoModelForCausalLM.from_pretrained(made.folder).eval()
    nats, tokens, size = 0.0, 0, 0
    for row in dated_rows()[181:212]:
        ids = torch.tensor([*tokenizer(row["text"])["input_ids"], tokenizer.eos_token_id])
        assert len(ids) <= 96
        with torch.no_grad():
            logits = model(input_ids=ids[None]).logits[0, :-1]
        nats += float(torch.nn.functional.cross_entropy(logits, ids[1:], reduction="sum"))
        tokens, size = tokens + len(ids) - 1, size + len(row["text"].encode())
    assert made.metrics["loss"] == pytest.approx(nats / tokens, rel=1e-5)
    assert made.metrics["bits_per_byte"] == pytest.approx(nats / math.log(2) / size, rel=1e-5)


@pytest.mark.parametrize(("kind", "step"), [("llama", 1), ("muon", 5), ("modernbert", 4)])
def test_killed_and_resumed_is_uninterrupted_to_the_last_bit(kind: str, step: int, tmp_path: Path) -> None:
    # Two passes and a half: the order and the masks of a second epoch are drawn anew.
    changed = RESUMED[kind]
    training = {
        "max_steps": 7,
        "batch_size": 64,
        "checkpoint_steps": 2,
        "validation": 0.2,
        **changed.get("training", {}),
    }
    plan = base_recipe(**{**changed, "training": training, "until": "2010-04-30"})
    registries = [ahf.Registry(tmp_path / name) for name in ("whole", "killed")]
    whole = ahf.pretrain(plan, registry=registries[0])
    train_and_be_killed(plan, registries[1].root, step)
    if step == 1:
        assert not registries[1].names()
    resumed = ahf.pretrain(plan, registry=registries[1], resume=step > 1)
    wanted, found = stored_weights(whole.folder), stored_weights(resumed.folder)
    assert wanted.keys() == found.keys()
    assert [name for name in wanted if not torch.equal(wanted[name], found[name])] == []
    assert resumed.version.digest == whole.version.digest
    assert resumed.history["training"]["loss"] == whole.history["training"]["loss"]
