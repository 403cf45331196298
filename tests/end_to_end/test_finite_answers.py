"""An answer that is not finite is an error that names the row, whoever asks for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer, LlamaForCausalLM

import adapterhub_fin as ahf
from adapterhub_fin.engine.inference.adapter import Adapter
from adapterhub_fin.plugin.model_parts import backbone

TEXTS = ["short", "a longer text", "Q"]  # the token of Q is poisoned
ASKS: dict[str, Callable[[Adapter], Any]] = {
    "predict": lambda adapter: adapter.predict(TEXTS),
    "logits": lambda adapter: adapter.logits(TEXTS, batch_size=1),
    "embed": lambda adapter: adapter.embed(TEXTS),
    "generate": lambda adapter: adapter.generate(TEXTS, max_new_tokens=2),
    "sample": lambda adapter: adapter.generate(TEXTS, max_new_tokens=2, temperature=1.0),
    "stream": lambda adapter: list(adapter.stream(TEXTS[2], max_new_tokens=2)),
}


def _poisoned(adapter: Adapter, value: float) -> Adapter:
    """Let the base embed one letter as a value that is not finite."""
    inner: Any = backbone(adapter.model)
    with torch.no_grad():
        inner.get_input_embeddings().weight[adapter.tokenizer("Q")["input_ids"][1]] = value
    return adapter


def _loaded(plain: Any, base: Path, task: str, registry: ahf.Registry) -> Adapter:
    adapted: Any = get_peft_model(plain, LoraConfig(r=2, task_type=task, target_modules="all-linear"))
    labels = ["a", "b"] if task == "SEQ_CLS" else None
    tokenizer = AutoTokenizer.from_pretrained(base)
    name = ahf.save(adapted, "t/x", base=base, labels=labels, tokenizer=tokenizer, registry=registry).reference
    return ahf.load(name, base=base, registry=registry)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_writer_says_so(decoder: Path, tmp_path: Path, value: float) -> None:
    plain = LlamaForCausalLM.from_pretrained(decoder)
    adapter = _poisoned(_loaded(plain, decoder, "CAUSAL_LM", ahf.Registry(tmp_path / "home")), value)
    for ask in ASKS.values():
        with pytest.raises(ahf.NotFinite, match=r"t/x@1 answers (text 2|prompt \d of a batch) with NaN or infinity"):
            ask(adapter)
    assert adapter.generate(TEXTS[:1], max_new_tokens=2) and adapter.predict(TEXTS[:2])


def test_a_classifier_says_so(encoder: Path, tmp_path: Path) -> None:
    plain = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=2)
    adapter = _poisoned(_loaded(plain, encoder, "SEQ_CLS", ahf.Registry(tmp_path / "home")), float("nan"))
    for ask in ("predict", "logits", "embed"):
        with pytest.raises(ahf.NotFinite, match="t/x@1 answers text 2 with NaN or infinity"):
            ASKS[ask](adapter)
    assert len(adapter.predict(TEXTS[:2])) == 2
