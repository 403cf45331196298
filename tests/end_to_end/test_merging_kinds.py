"""Adapters of one base that were trained on two kinds of model: what could not be loaded is not merged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

import adapterhub_fin as ahf

Taken = Callable[..., str]
CAUSAL, CLASSIFIER = AutoModelForCausalLM, AutoModelForSequenceClassification


@pytest.fixture
def taken(decoder: Path, tmp_path: Path) -> Taken:
    """An import of what PEFT saves of a LoRA on some layers, drawn at random."""

    def take(name: str, kind: Any, *layers: str, task: str | None = None) -> str:
        torch.manual_seed(len(name))
        plan = LoraConfig(r=2, target_modules=list(layers), task_type=task, init_lora_weights=False)
        model = get_peft_model(kind.from_pretrained(decoder), plan)
        model.save_pretrained(tmp_path / name, save_embedding_layers=False)
        labels = ["down", "up"] if task == "SEQ_CLS" else None
        return ahf.import_folder(tmp_path / name, f"acme/{name}", base="acme/base", labels=labels).version.reference

    return take


def test_a_layer_that_the_model_of_the_head_lacks(taken: Taken, decoder: Path) -> None:
    writes = taken("writes", CAUSAL, "q_proj", "lm_head", task="CAUSAL_LM")
    tells = taken("tells", CLASSIFIER, "v_proj", task="SEQ_CLS")
    for _ in range(2):
        with pytest.raises(ahf.BadMerge, match="acme/writes@1 changes lm_head.weight, which is no part of .*tells@1"):
            ahf.merge([writes, tells], head_from=tells, into="acme/x")
        ahf.load(writes, base=decoder)  # from now on the base's layers are known
    made = ahf.merge([writes, tells], head_from=writes, into="acme/x")
    assert ahf.load("acme/x", base=decoder).logits(["up"]).isfinite().all()
    assert any("score" in warning for warning in made.warnings) and "lm_head.weight" in {m.name for m in made.modules}


def test_a_layer_of_the_backbone_goes_with_any_head(taken: Taken, decoder: Path) -> None:
    writes = taken("writes", CAUSAL, "embed_tokens", "q_proj", task="CAUSAL_LM")
    tells = taken("tells", CLASSIFIER, "v_proj", task="SEQ_CLS")
    ahf.merge([writes, tells], head_from=tells, into="acme/x")
    assert ahf.load("acme/x", base=decoder).logits(["up"]).isfinite().all()


@pytest.mark.parametrize("layer", ["q_proj", "embed_tokens"])
def test_a_declared_base_with_a_head_and_without(layer: str, taken: Taken, decoder: Path) -> None:
    """No weights were read that would say what the backbone's layers are called."""
    writes, bare = taken("writes", CAUSAL, layer, task="CAUSAL_LM"), taken("bare", AutoModel, layer)
    for pair in ([writes, bare], [bare, writes]):
        with pytest.raises(ahf.BadMerge, match=r"acme/bare@1 names the layers .*writes@1 model\..*load both"):
            ahf.merge(pair, head_from=writes, into="acme/x")
    for reference in (writes, bare):
        ahf.load(reference, base=decoder)
    with pytest.raises(ahf.BadMerge, match="names the layers of its base .*two kinds of model; train"):
        ahf.merge([writes, bare], head_from=writes, into="acme/x")
