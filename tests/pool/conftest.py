"""Adapters with random weights on tiny bases, for what a pool answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import adapterhub_fin as ahf
from adapterhub_fin_registry import Version

LABELS = ["bad", "good", "none", "other"]


@pytest.fixture(scope="session")
def save_adapter() -> Callable[..., Version]:
    """Store an adapter of random weights, far from those of every other; `plan` holds options of LoraConfig."""

    def save(
        name: str,
        base: Path,
        registry: Any,
        *,
        task: str = "SEQ_CLS",
        labels: int = 3,
        until: str = "2015-01-01",
        size: float = 0.2,
        **plan: Any,
    ) -> Version:
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

        classes: dict[str, Any] = {
            "SEQ_CLS": AutoModelForSequenceClassification,
            "CAUSAL_LM": AutoModelForCausalLM,
            "FEATURE_EXTRACTION": AutoModel,
        }
        fields = {"num_labels": labels, "pad_token_id": 0} if task == "SEQ_CLS" else {}
        model = classes[task].from_pretrained(base, **fields)
        kind = plan.pop("config", LoraConfig)
        chosen = {"r": 4, "target_modules": "all-linear"} if kind is LoraConfig else {}
        adapted: Any = get_peft_model(model, kind(task_type=task, **(chosen | plan)))
        generator = torch.Generator().manual_seed(sum(map(ord, name)) + int(until[:4]) + int(until[5:7]))
        with torch.no_grad():
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * size)
        known = {"knowledge_end": until, "evidence": "the test"}
        return ahf.save(
            adapted,
            name,
            base={"path": str(base), "knowledge_end": "2010-01-01", "evidence": "the test"},
            corpus={"name": "drawn", "license": "Apache-2.0", **known},
            labels=LABELS[:labels] if task == "SEQ_CLS" else None,
            tokenizer=AutoTokenizer.from_pretrained(base),
            registry=registry,
        )

    return save


@pytest.fixture(scope="module")
def stock(
    encoder: Path, decoder: Path, save_adapter: Callable[..., Version], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """A registry with classifiers, embedders, writers and adapters that are no low-rank sum."""
    from peft import IA3Config, PromptTuningConfig

    root = tmp_path_factory.mktemp("pool")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AHF_CACHE", str(root / "cache"))
        registry = ahf.Registry(root / "home")
        for number in range(6):
            save_adapter(f"t/tone-{number}", encoder, registry, labels=2 + number % 3, r=1 + number)
        save_adapter("t/vectors", encoder, registry, task="FEATURE_EXTRACTION")
        save_adapter("t/dora", encoder, registry, use_dora=True)
        save_adapter("t/biases", encoder, registry, bias="all")
        save_adapter(
            "t/scales", encoder, registry, config=IA3Config, target_modules=["key", "value"], feedforward_modules=[]
        )
        for number in range(3):
            save_adapter(f"t/writer-{number}", decoder, registry, task="CAUSAL_LM")
        save_adapter("t/said", decoder, registry)
        save_adapter("t/prompted", decoder, registry, task="CAUSAL_LM", config=PromptTuningConfig, num_virtual_tokens=3)
        yield registry
