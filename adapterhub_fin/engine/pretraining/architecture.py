"""Build a new model of Transformers' own classes, of the shape that a recipe gives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin.errors import BadRecipe

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

    from adapterhub_fin.recipe.pretrain_recipe import PretrainBase

GRAIN = 32  # an MLP's default width is a multiple of it


def new_config(shape: PretrainBase, block: int, vocabulary: int, special: dict[str, int | None]) -> PretrainedConfig:
    """Return the configuration of a new model; `special` are the ids of its special tokens, as `bos_token_id`."""
    import transformers

    common: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": shape.width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "max_position_embeddings": shape.positions or block,
        "tie_word_embeddings": shape.tied,
        **special,
    }
    if shape.new == "llama":
        inner = shape.intermediate or _rounded(8 * shape.width / 3)
        return transformers.LlamaConfig(
            **common, intermediate_size=inner, num_key_value_heads=shape.kv_heads or shape.heads
        )
    return transformers.ModernBertConfig(**common, intermediate_size=shape.intermediate or _rounded(1.5 * shape.width))


def _rounded(width: float) -> int:
    return max(GRAIN, round(width / GRAIN) * GRAIN)


def class_for(config: PretrainedConfig) -> Any:
    """Return the class of a model that predicts its own tokens. Raises BadRecipe for a kind of model without one."""
    import transformers

    causal: Any = transformers.MODEL_FOR_CAUSAL_LM_MAPPING
    masked: Any = transformers.MODEL_FOR_MASKED_LM_MAPPING
    if type(config) in causal and not is_encoder(config):
        return transformers.AutoModelForCausalLM
    if type(config) in masked:
        return transformers.AutoModelForMaskedLM
    raise BadRecipe(f"a {config.model_type} predicts no tokens of its own: go on from a llama or a modernbert")


def is_encoder(config: PretrainedConfig) -> bool:
    """Return whether the model fills in masked tokens, and doesn't write on."""
    names = getattr(config, "architectures", None) or ()
    return any("MaskedLM" in name for name in names) or config.model_type == "modernbert"


def model_class(folder: str | Path) -> Any:
    """Return the class of the model in a folder."""
    from adapterhub_fin.engine.base.load_base import load_config

    return class_for(load_config(Path(folder)))


def build_model(config: PretrainedConfig) -> PreTrainedModel:
    """Return a model with values drawn from torch's generator, in float32."""
    import torch

    model: PreTrainedModel = class_for(config).from_config(config, dtype=torch.float32)
    return model
