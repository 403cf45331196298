"""A base of one's own: made from dated text, stored, gone on from, and the same whatever way it is computed."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import adapterhub_fin as ahf

ORDINALS = ("first", "second", "third", "last")
START = datetime(2010, 1, 1, 12, tzinfo=UTC)


def text(day: int) -> str:
    return (
        f"In the {ORDINALS[day % 4]} quarter of {1990 + day % 30} the rate of bond {day * 17 % 97} rose by "
        f"{day * 7 % 13} basis points, and the committee {'raised' if day % 3 else 'held'} its target."
    )


def rows(days: int = 240) -> list[dict[str, Any]]:
    return [{"text": text(day), "available_at": START + timedelta(days=day)} for day in range(days)]


def recipe(**changed: Any) -> dict[str, Any]:
    training = {"max_steps": 6, "block": 32, "batch_size": 4, "learning_rate": 3e-3, "validation": 0.1}
    return {
        "name": "acme/fin",
        "base": {"new": "llama", "layers": 1, "width": 16, "heads": 2, "tokenizer": {"train": 300}},
        "corpus": {"data": rows(), "available_at": "available_at"},
        "until": "2010-06-30",
        "training": {**training, **changed.pop("training", {})},
        **changed,
    }


def weights(base: ahf.Pretrained) -> dict[str, torch.Tensor]:
    return dict(load_file(base.folder / "model.safetensors"))


def test_a_base_is_stored_with_the_end_of_its_rows_and_plain_transformers_loads_it() -> None:
    made = ahf.pretrain(recipe(test_until="2010-07-31"))
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
    made = ahf.pretrain(recipe(test_until="2010-07-31", training={"packing": False, "block": 96}))
    tokenizer = AutoTokenizer.from_pretrained(made.folder)
    model = AutoModelForCausalLM.from_pretrained(made.folder).eval()
    nats, tokens, size = 0.0, 0, 0
    for row in rows()[181:212]:
        ids = torch.tensor([*tokenizer(row["text"])["input_ids"], tokenizer.eos_token_id])
        assert len(ids) <= 96
        with torch.no_grad():
            logits = model(input_ids=ids[None]).logits[0, :-1]
        nats += float(torch.nn.functional.cross_entropy(logits, ids[1:], reduction="sum"))
        tokens, size = tokens + len(ids) - 1, size + len(row["text"].encode())
    assert made.metrics["loss"] == pytest.approx(nats / tokens, rel=1e-5)
    assert made.metrics["bits_per_byte"] == pytest.approx(nats / math.log(2) / size, rel=1e-5)
