"""A model as a folder that Transformers reads: config.json, model.safetensors, tokenizer.json and a line about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gpt import END, EPSILON, GPT, PAD, START, THETA, Shape
from safetensors.torch import load_file, save_file
from texts import SPECIAL
from tokenizers import Tokenizer


def save(model: GPT, tokenizer: Tokenizer, folder: Path) -> None:
    """Write the folder. Two models of the same weights give the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config(model.shape), indent=2) + "\n")
    weights = {_prefixed(name): tensor.contiguous() for name, tensor in model.state_dict().items()}
    if model.shape.tied:
        del weights["lm_head.weight"]  # it is the embedding's: stored once
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(folder / "tokenizer.json"))
    names = dict(zip(("pad_token", "bos_token", "eos_token"), SPECIAL, strict=True))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **names, "model_max_length": model.shape.context}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")


def load(folder: Path) -> tuple[GPT, Tokenizer]:
    """Read what `save` wrote."""
    sizes = json.loads((folder / "config.json").read_text())
    shape = Shape(
        vocab=sizes["vocab_size"],
        context=sizes["max_position_embeddings"],
        width=sizes["hidden_size"],
        layers=sizes["num_hidden_layers"],
        heads=sizes["num_attention_heads"],
        hidden=sizes["intermediate_size"],
        tied=sizes["tie_word_embeddings"],
    )
    model = GPT(shape)
    weights = {name.removeprefix("model."): tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    if shape.tied:
        weights["lm_head.weight"] = weights["embed_tokens.weight"]
    model.load_state_dict(weights)
    return model.eval(), Tokenizer.from_file(str(folder / "tokenizer.json"))


def config(shape: Shape) -> dict[str, Any]:
    """Return what Transformers wants to know of a Llama, in its words."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float32",
        "vocab_size": shape.vocab,
        "max_position_embeddings": shape.context,
        "hidden_size": shape.width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,  # fewer would share keys and values between heads
        "intermediate_size": shape.hidden,
        "hidden_act": "silu",
        "rms_norm_eps": EPSILON,
        "rope_parameters": {"rope_type": "default", "rope_theta": THETA},
        "tie_word_embeddings": shape.tied,
        "pad_token_id": PAD,
        "bos_token_id": START,
        "eos_token_id": END,
    }


def _prefixed(name: str) -> str:
    return (
        name if name.startswith("lm_head") else f"model.{name}"
    )  # Transformers keeps the layers in a part of their own
