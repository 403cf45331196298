"""What a base's configuration tells of a method or a head is refused by a dry run, before any weight is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model

import adapterhub_fin as ahf
from adapterhub_fin.engine.base.positions import position_limit
from adapterhub_fin.plugin.target_layers import linear_layers
from adapterhub_fin.testing import tiny_corpus
from adapterhub_fin.testing.tiny import tiny_tokenizer

SPECIAL: dict[str, Any] = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
VOCABULARY = 260
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 128,
    **SPECIAL,
}
MOE: dict[str, Any] = {"num_experts_per_tok": 2, "moe_intermediate_size": 16, "n_routed_experts": 4}
LATENT: dict[str, Any] = {
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 16,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
}
BASES: dict[str, tuple[str, dict[str, Any]]] = {
    "roberta": ("RobertaConfig", {**SHAPE, "pad_token_id": 1}),
    "xlm-roberta": ("XLMRobertaConfig", {**SHAPE, "pad_token_id": 1}),
    "mpnet": ("MPNetConfig", {**SHAPE, "pad_token_id": 1}),
    "bert": ("BertConfig", SHAPE),
    "distilbert": (
        "DistilBertConfig",
        {"vocab_size": VOCABULARY, "dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 2},
    ),
    "deberta-v2": ("DebertaV2Config", SHAPE),
    "bart": (
        "BartConfig",
        {"vocab_size": VOCABULARY, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, **SPECIAL}
        | {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64},
    ),
    "t5": (
        "T5Config",
        {"vocab_size": VOCABULARY, "d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2},
    ),
    "mamba": ("MambaConfig", {"vocab_size": VOCABULARY, "hidden_size": 32, "state_size": 4, "num_hidden_layers": 2}),
    "jamba": (
        "JambaConfig",
        {**SHAPE, "num_key_value_heads": 1, "num_experts": 2, "attn_layer_period": 2, "attn_layer_offset": 1}
        | {"use_mamba_kernels": False, "mamba_d_state": 4},
    ),
    "mistral": ("MistralConfig", {**SHAPE, "num_key_value_heads": 1, "sliding_window": 8}),
    "gemma3": ("Gemma3TextConfig", {**SHAPE, "num_key_value_heads": 1, "head_dim": 16, "sliding_window": 8}),
    "deepseek": ("DeepseekV3Config", {**SHAPE, **MOE, **LATENT}),
    "xlnet": (
        "XLNetConfig",
        {"vocab_size": VOCABULARY, "d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64, **SPECIAL},
    ),
}


def folder_of(kind: str, folder: Path, weights: bool = False) -> Path:
    """A folder of a base's configuration and tokenizer; its weights only where they are read."""
    name, values = BASES[kind]
    config = getattr(transformers, name)(**values)
    if weights:
        torch.manual_seed(0)
        transformers.AutoModel.from_config(config).save_pretrained(folder)
    else:
        config.save_pretrained(folder)
    tiny_tokenizer("[CLS] $A").save_pretrained(folder)
    return folder


def preview(folder: Path, method: dict[str, Any], head: str = "classify", max_length: int = 32) -> Any:
    return ahf.preview(
        base={"id": "acme/base", "path": str(folder)},
        method=method,
        head={"name": head},
        corpus={"name": tiny_corpus()},
        training={"epochs": 1, "batch_size": 8, "max_length": max_length},
    )


LORA = {"name": "lora", "rank": 4}
PREFIX = {"name": "prefix-tuning", "tokens": 12}
REFUSED = [
    ("bart", LORA, "classify", "a bart base has both"),
    ("t5", LORA, "classify", "a t5 base has both"),
    ("bart", LORA, "regress", "a bart base has both"),
    ("t5", LORA, "causal-lm", "a t5 base reads with an encoder first"),
    ("bart", LORA, "causal-lm", "a bart base reads with an encoder first"),
    ("mamba", LORA, "classify", "for mamba it has none: choose another base, or the head causal-lm"),
    ("mamba", PREFIX, "causal-lm", "a mamba base .*: use lora"),
    ("mamba", {**LORA, "targets": ["dt_proj"]}, "causal-lm", "reads the weights of dt_proj without calling it"),
    ("jamba", PREFIX, "classify", "a jamba base has layers without them"),
    ("deepseek", PREFIX, "classify", "a deepseek_v3 base computes them from latents"),
    ("deepseek", LORA, "classify", "set method.dropout to 0"),
    ("mistral", PREFIX, "causal-lm", "12 tokens do not fit a window of 8 .* lower method.tokens to 7"),
    ("gemma3", PREFIX, "classify", "12 tokens do not fit a window of 8 .* lower method.tokens to 7"),
    ("distilbert", PREFIX, "classify", "a distilbert base accepts none"),
    ("mpnet", PREFIX, "classify", "a mpnet base accepts none"),
    ("deberta-v2", PREFIX, "classify", "a deberta-v2 base accepts none"),
]


@pytest.mark.parametrize(("kind", "method", "head", "reason"), REFUSED)
def test_a_dry_run_knows_it(kind: str, method: dict[str, Any], head: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ahf.BadRecipe, match=reason) as refused:
        preview(folder_of(kind, tmp_path), method, head)
    assert "\n" not in str(refused.value)


TRAINED = [
    ("mamba", LORA, "causal-lm", 32),
    ("mistral", {**PREFIX, "tokens": 7}, "causal-lm", 32),
    ("deepseek", {**LORA, "dropout": 0.0}, "classify", 32),
    ("xlnet", LORA, "classify", 32),
    ("roberta", LORA, "classify", 126),
    ("mpnet", LORA, "classify", 126),
    ("bert", LORA, "classify", 128),
]


@pytest.mark.parametrize(("kind", "method", "head", "max_length"), TRAINED)
def test_what_a_dry_run_passes_is_trained(
    kind: str, method: dict[str, Any], head: str, max_length: int, tmp_path: Path
) -> None:
    rows = [{"text": f"{tone} " + "word " * 40, "label": tone} for tone in ("up", "down") for _ in range(12)]
    table = tmp_path / "rows.jsonl"
    table.write_text("".join(json.dumps({**row, "text": f"{row['text']}{n}"}) + "\n" for n, row in enumerate(rows)))
    run = ahf.train(
        name="acme/tone",
        base={"id": "acme/base", "path": str(folder_of(kind, tmp_path / "base", weights=True))},
        method=method,
        head={"name": head},
        corpus={"name": "table", "path": str(table), "label": "label"},
        training={"epochs": 1, "batch_size": 8, "max_length": max_length},
    )
    assert len(run.adapter.predict(["word " * 60])) == 1


@pytest.mark.parametrize("kind", ["mamba", "jamba"])
def test_no_default_target_goes_without_a_gradient(kind: str, tmp_path: Path) -> None:
    folder = folder_of(kind, tmp_path)
    model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.from_pretrained(folder))
    config = LoraConfig(r=2, target_modules=linear_layers(model, None, ()), init_lora_weights=False)
    adapted = get_peft_model(model, config)
    tokens = torch.arange(4, 20)[None]
    adapted(input_ids=tokens, labels=tokens).loss.backward()
    idle = [name for name, each in adapted.named_parameters() if each.requires_grad and each.grad is None]
    assert not [name for name in idle if "experts" not in name]  # of which a router may choose none


@pytest.mark.parametrize("kind", ["roberta", "xlm-roberta", "mpnet"])
@pytest.mark.parametrize("max_length", [127, 128])
def test_positions_that_start_past_the_padding(kind: str, max_length: int, tmp_path: Path) -> None:
    with pytest.raises(ahf.BadRecipe, match=f"max_length is {max_length}, and the base has 126 positions"):
        preview(folder_of(kind, tmp_path), LORA, max_length=max_length)


def test_the_positions_of_a_nested_configuration() -> None:
    text = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64}
    assert position_limit(transformers.Gemma3Config(text_config=text)) == 64
    assert position_limit(transformers.XLNetConfig()) is None
    assert position_limit(transformers.RobertaConfig(max_position_embeddings=514, pad_token_id=1)) == 512


CHAT = [
    ("{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}", "system"),
    ("{% if messages[0].role != 'user' %}{{ raise_exception('user comes first') }}{% endif %}", "assistant"),
    ("{{ messages[0].content.missing.deeper }}", "user"),
]


@pytest.mark.parametrize(("template", "first"), CHAT)
def test_a_chat_template_that_refuses_names_the_row(template: str, first: str, tmp_path: Path) -> None:
    turns = [(first, "a"), ("user", "b"), ("assistant", "c")]
    talks = [[{"role": role, "content": f"{text}{n}"} for role, text in turns] for n in range(8)]
    table = tmp_path / "talks.jsonl"
    table.write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in talks))
    folder = folder_of("mistral", tmp_path / "base")
    tokenizer = tiny_tokenizer("[CLS] $A")
    tokenizer.chat_template = template + "{% for m in messages %}{{ m.content }}{% endfor %}"
    tokenizer.save_pretrained(folder)
    with pytest.raises(ahf.BadCorpus, match=r"row \d+.*: the tokenizer's chat template does not take") as refused:
        ahf.preview(
            base={"id": "acme/base", "path": str(folder)},
            head={"name": "causal-lm"},
            corpus={"name": "instructions", "path": str(table)},
            training={"epochs": 1, "batch_size": 2, "max_length": 32},
        )
    assert "\n" not in str(refused.value)
