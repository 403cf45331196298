"""As a property: a mixed batch is PEFT's to 1e-6 and each adapter's alone to 1e-5, whatever LoRA and whatever base."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DistilBertConfig,
    DistilBertModel,
    GPT2Config,
    GPT2LMHeadModel,
    ModernBertConfig,
    ModernBertModel,
    RobertaConfig,
    RobertaModel,
)

import adapterhub_fin as ahf

CASES = int(os.environ.get("AHF_CASES", "0"))  # where `make properties` asks for more
TEXTS = ["Arlo: profit rose.", "Gant: profit fell, and a longer sentence follows.", "Nyx meets.", "No.", "Up 3 %."]
COUNTER = itertools.count()
EMBEDDINGS = {"bert": "word_embeddings", "roberta": "word_embeddings", "gpt2": "wte", "llama": "embed_tokens"}


@pytest.fixture(scope="module")
def bases(encoder: Path, decoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Bases of six kinds: Linear and Conv1D, poolers and none, learned and rotary positions."""
    tokenizer, root = AutoTokenizer.from_pretrained(encoder), tmp_path_factory.mktemp("kinds")
    size: Any = {"vocab_size": len(tokenizer), "initializer_range": 0.2, "pad_token_id": 0}
    wide: Any = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends: Any = {"bos_token_id": 2, "eos_token_id": 3}
    torch.manual_seed(5)
    built = {
        "roberta": RobertaModel(RobertaConfig(**size, **wide, max_position_embeddings=130)),
        "distilbert": DistilBertModel(DistilBertConfig(**size, dim=32, hidden_dim=64, n_layers=2, n_heads=2)),
        "modernbert": ModernBertModel(ModernBertConfig(**size, **wide, **ends, global_attn_every_n_layers=2)),
        "gpt2": GPT2LMHeadModel(GPT2Config(**size, **ends, n_embd=32, n_layer=2, n_head=2, n_positions=128)),
    }
    for name, model in built.items():
        model.save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)
    return {"bert": encoder, "llama": decoder, **{name: root / name for name in built}}


@st.composite
def plans(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    """Options of one LoRA: rank, alpha, scaling, patterns, layers, biases of its own, embeddings."""
    plan: dict[str, Any] = {
        "r": draw(st.integers(1, 9)),
        "lora_alpha": draw(st.sampled_from([1, 3, 16, 64])),
        "use_rslora": draw(st.booleans()),
        "lora_dropout": draw(st.sampled_from([0.0, 0.1])),
    }
    if draw(st.booleans()):
        plan["rank_pattern"] = {r".*\.0\..*": draw(st.integers(1, 5))}
        plan["alpha_pattern"] = {r".*\.1\..*": draw(st.integers(1, 40))}
    if kind in EMBEDDINGS and draw(st.booleans()):
        inner = {"bert": ["query"], "roberta": ["query", "dense"], "gpt2": ["c_attn", "c_fc"], "llama": ["q_proj"]}
        plan["target_modules"] = [*inner[kind], EMBEDDINGS[kind]]
        if draw(st.booleans()):
            plan["exclude_modules"] = [inner[kind][0]]
    else:
        plan["lora_bias"] = draw(st.booleans())
        if kind == "distilbert":  # PEFT takes its pre_classifier for a `classifier`, and adapts it too
            plan["target_modules"] = ["q_lin", "v_lin", "lin1", "lin2"]
        if kind == "modernbert":
            plan |= {"target_modules": ["Wqkv", "Wo", "Wi"], "modules_to_save": ["head", "classifier"]}
    return plan


@settings(
    max_examples=CASES or 12,
    deadline=None,
    derandomize=not CASES,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # a smaller case would be of another base
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_a_mixed_batch_is_pefts(
    bases: Mapping[str, Path], save_adapter: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    kind = data.draw(st.sampled_from(sorted(bases)))
    drawn = data.draw(st.lists(plans(kind), min_size=2, max_size=4))
    registry = ahf.Registry(tmp_path_factory.mktemp("property"))
    names = [f"p/{next(COUNTER)}" for _ in drawn]
    versions = [
        save_adapter(name, bases[kind], registry, size=0.05, **plan) for name, plan in zip(names, drawn, strict=True)
    ]
    rows = [(text, data.draw(st.sampled_from(names))) for text in TEXTS]
    pool = ahf.pool(bases[kind], registry=registry)
    made = torch.stack(pool.logits(rows))
    assert not any(each.apart for each in pool.resident())
    for number, (text, name) in enumerate(rows):
        alone = ahf.load(name, base=bases[kind], registry=registry).logits([text])[0]
        assert float((made[number] - alone).abs().max()) < 1e-5 * max(1.0, float(alone.abs().max()))
    if kind in ("roberta", "modernbert"):  # two layers in a head: "Mixed batching is only supported for ... Linear"
        return
    theirs = _mixed_by_peft(bases[kind], dict(zip(names, versions, strict=True)), rows)
    assert float((made - theirs).abs().max()) < 1e-6 * max(1.0, float(theirs.abs().max()))


def _mixed_by_peft(base: Path, versions: Mapping[str, Any], rows: list[tuple[str, str]]) -> Tensor:
    """What PEFT answers for the rows in one batch, (rows, labels)."""
    from peft import PeftModel

    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=3, pad_token_id=0)
    short = {name: f"a{number}" for number, name in enumerate(versions)}
    adapted: Any = None
    for name, version in versions.items():
        if adapted is None:
            adapted = PeftModel.from_pretrained(model, version.files, adapter_name=short[name])
        else:
            adapted.load_adapter(version.files, adapter_name=short[name])
    batch = AutoTokenizer.from_pretrained(base)([text for text, _ in rows], return_tensors="pt", padding=True)
    read = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.inference_mode():
        logits: Tensor = adapted.eval()(**read, adapter_names=[short[name] for _, name in rows]).logits
    return logits


def test_in_sixteen_bits_a_pool_is_no_farther_from_float32_than_peft(
    bases: Mapping[str, Path], save_adapter: Callable[..., Any], tmp_path: Path
) -> None:
    registry, off = ahf.Registry(tmp_path / "home"), {"pool": 0.0, "peft": 0.0}
    for kind in ("bert", "llama", "gpt2"):
        wide, folder = bases[kind], tmp_path / kind
        AutoModel.from_pretrained(wide, dtype=torch.bfloat16).save_pretrained(folder)
        AutoTokenizer.from_pretrained(wide).save_pretrained(folder)
        AutoModel.from_pretrained(folder, dtype=torch.float32).save_pretrained(tmp_path / f"{kind}-32")
        AutoTokenizer.from_pretrained(wide).save_pretrained(tmp_path / f"{kind}-32")
        names = [f"{kind}/a{number}" for number in range(3)]
        versions = {name: save_adapter(name, folder, registry) for name in names}
        rows = [(text, name) for text in TEXTS for name in names]
        exact = _mixed_by_peft(tmp_path / f"{kind}-32", versions, rows).double()
        pool = ahf.pool(folder, registry=registry)
        made = torch.stack(pool.logits(rows)).double()
        for resident, _, _ in pool._residents.listed():
            assert {change.down.dtype for change in resident.changes.values()} == {torch.float32}  # type: ignore[attr-defined]
        off["pool"] += float((made - exact).square().mean())
        off["peft"] += float((_mixed_by_peft(folder, versions, rows).double() - exact).square().mean())
    assert 0 < off["pool"] <= 1.05 * off["peft"]  # rounding differs in its last digits, either way
