"""A base's fingerprint tells any two models apart, and the same model from itself under any wrapping."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import (
    AdaptionPromptConfig,
    IA3Config,
    LNTuningConfig,
    LoraConfig,
    TrainableTokensConfig,
    VeraConfig,
    get_peft_model,
)
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertModel,
    BitsAndBytesConfig,
)

from adapterhub_fin import WrongBase
from adapterhub_fin.engine.base import fingerprint
from adapterhub_fin.engine.base.adapter_names import meta_twin
from adapterhub_fin.engine.base.check import check_base, describe_base
from adapterhub_fin.engine.base.load_base import missing_modules


def lora(model: torch.nn.Module, name: str = "default") -> torch.nn.Module:
    return get_peft_model(model, LoraConfig(r=2, target_modules=["query", "value"], task_type="SEQ_CLS"), name)


def test_heads_and_adapters_change_neither_structure_nor_probe(encoder: Path) -> None:
    bare = AutoModel.from_pretrained(encoder)
    headed = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=3)
    wrapped = lora(AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=5), "weight")
    assert (
        fingerprint.structure_digest(bare)
        == fingerprint.structure_digest(headed)
        == fingerprint.structure_digest(wrapped)
    )
    assert fingerprint.weight_probe(bare) == fingerprint.weight_probe(headed) == fingerprint.weight_probe(wrapped)


def test_a_causal_language_model_and_its_backbone_agree(decoder: Path) -> None:
    whole, bare = AutoModelForCausalLM.from_pretrained(decoder), AutoModel.from_pretrained(decoder)
    assert fingerprint.structure_digest(whole) == fingerprint.structure_digest(bare)


def test_the_probe_holds_eight_elements_of_every_tensor_and_is_the_same_anywhere(encoder: Path) -> None:
    model = AutoModel.from_pretrained(encoder)
    probe = fingerprint.weight_probe(model)
    assert set(probe["values"]) == {name for name, _ in model.named_parameters()}
    assert all(len(values) == fingerprint.PROBED for values in probe["values"].values())
    # Fixed: another choice of elements would orphan every stored version.
    assert fingerprint.probed_elements("encoder.layer.0.output.dense.weight", 1000) == [
        873,
        515,
        763,
        155,
        597,
        132,
        752,
        350,
    ]


def test_a_twin_without_values_has_the_structure_and_no_memory(encoder: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=3)
    twin = meta_twin(model)
    assert fingerprint.structure_digest(twin) == fingerprint.structure_digest(model)
    assert all(parameter.is_meta for parameter in twin.parameters())
    assert not any(parameter.is_meta for parameter in model.parameters())
    with pytest.raises(WrongBase, match="meta device"):
        fingerprint.weight_probe(twin)


def test_a_four_bit_base_and_its_fp32_twin_agree(decoder: Path) -> None:
    """Logical shapes are those before quantization; the dequantised weights are within the grid's step."""
    plain = AutoModelForCausalLM.from_pretrained(decoder)
    four_bit = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    quantized = AutoModelForCausalLM.from_pretrained(decoder, quantization_config=four_bit)
    assert any(hasattr(parameter, "quant_state") for parameter in quantized.parameters())
    assert fingerprint.structure_digest(quantized) == fingerprint.structure_digest(plain)
    tokenizer = AutoTokenizer.from_pretrained(decoder)
    check_base(quantized, tokenizer, describe_base(plain, tokenizer, (), "acme/tiny", None), (), "the quantized base")
    other = copy.deepcopy(plain)
    torch.manual_seed(1)
    for parameter in other.model.layers.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    with pytest.raises(WrongBase, match="other weights than acme/tiny"):
        check_base(
            quantized, tokenizer, describe_base(other, tokenizer, (), "acme/tiny", None), (), "the quantized base"
        )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_narrower_dtype_of_the_same_base_is_accepted(encoder: Path, dtype: torch.dtype) -> None:
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    base = describe_base(AutoModel.from_pretrained(encoder), tokenizer, (), "acme/tiny", None)
    check_base(AutoModel.from_pretrained(encoder, dtype=dtype), tokenizer, base, (), "the narrow base")


def test_every_kind_of_difference_is_refused_by_name(encoder: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    model = AutoModel.from_pretrained(encoder)
    base = describe_base(model, tokenizer, (), "acme/tiny", None)

    nudged = copy.deepcopy(model)
    with torch.no_grad():
        nudged.encoder.layer[1].output.dense.weight.mul_(1.001)
    deeper = AutoModel.from_pretrained(encoder, num_hidden_layers=3)
    larger = copy.deepcopy(model)
    larger.resize_token_embeddings(len(tokenizer) + 8)
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.pooler.dense.bias.fill_(float("nan"))
    reconfigured = AutoModel.from_pretrained(encoder, layer_norm_eps=1e-3)
    for wrong, said in (
        (nudged, "encoder.layer.1.output.dense.weight"),
        (deeper, "adds 16 tensors, first encoder.layer.2"),
        (larger, f"vocabulary of {len(tokenizer) + 8}"),
        (broken, "pooler.dense.bias"),
        (reconfigured, "another configuration"),
    ):
        with pytest.raises(WrongBase, match=said) as caught:
            check_base(wrong, tokenizer, base, (), "the model given")
        assert "the model given" in str(caught.value) and "acme/tiny" in str(caught.value)
    check_base(model, tokenizer, base, (), "the model given")


def test_a_base_held_in_two_dtypes_is_compared_by_the_coarser(encoder: Path) -> None:
    """bf16 matrices with fp32 norms, as a base prepared for four-bit training has them."""
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    base = describe_base(AutoModel.from_pretrained(encoder), tokenizer, (), "acme/tiny", None)
    mixed = AutoModel.from_pretrained(encoder, dtype=torch.bfloat16)
    mixed.pooler.float()
    check_base(mixed, tokenizer, base, (), "the mixed base")


def test_another_tokenizer_is_refused(encoder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    model = AutoModel.from_pretrained(encoder)
    base = describe_base(model, tokenizer, (), "acme/tiny", None)
    padded = AutoTokenizer.from_pretrained(encoder)
    padded.pad_token = padded.sep_token  # which token pads is the caller's choice
    check_base(model, padded, base, (), "the model given")
    other = AutoTokenizer.from_pretrained(encoder)
    other.add_tokens(["EBITDA"])
    with pytest.raises(WrongBase, match="tokenizer"):
        check_base(model, other, base, (), "the model given")


def test_modules_without_weights_in_the_base_are_found_where_peft_misses_one(encoder: Path, tmp_path: Path) -> None:
    """A base that was saved without its pooler gets a random one, which PEFT's own list of heads does not hold."""
    BertModel.from_pretrained(encoder, add_pooling_layer=False).save_pretrained(tmp_path)
    model, info = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    modules = missing_modules(model, sorted(info["missing_keys"]))
    assert modules == ("bert.pooler", "classifier")
    assert "pooler.dense.weight" not in dict(fingerprint.base_parameters(model, modules))


WRAPPING: dict[str, Any] = {
    "trained tokens": lambda: LoraConfig(r=2, target_modules=["q_proj"], trainable_token_indices=[5, 9]),
    "tokens alone": lambda: TrainableTokensConfig(token_indices=[5, 9]),
    "an embedding of its own": lambda: LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["embed_tokens"]),
    "a layer of its own": lambda: LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["mlp"]),
    "adapted embedding": lambda: LoraConfig(r=2, target_modules=["q_proj", "embed_tokens"]),
    "prompts in attention": lambda: AdaptionPromptConfig(adapter_len=4, adapter_layers=2, task_type="CAUSAL_LM"),
    "norms": lambda: LNTuningConfig(task_type="CAUSAL_LM"),
    "a scale": lambda: IA3Config(target_modules=["q_proj"], feedforward_modules=[]),
    "shared projections": lambda: VeraConfig(r=4, target_modules=["q_proj"]),
}


@pytest.mark.parametrize("kind", WRAPPING)
def test_the_base_is_seen_under_whatever_wraps_it(kind: str, decoder: Path) -> None:
    """G 19: a second load onto a model that carries an adapter finds the base that it is."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(decoder), AutoTokenizer.from_pretrained(decoder)
    base = describe_base(model, tokenizer, (), "acme/tiny", None)
    wrapped = get_peft_model(model, WRAPPING[kind](), "ahf_01234567")
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter))
    check_base(wrapped, tokenizer, base, (), "the model that carries an adapter")
    assert describe_base(wrapped, tokenizer, (), "acme/tiny", None) == base
