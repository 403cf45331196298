"""Train with prefix tuning (Li and Liang, arXiv 2101.00190) on PEFT.

Without a projection it is P-tuning v2 (arXiv 2110.07602).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any

from adapterhub_fin.plugin import AttachContext, BadRecipe, peft_model, stated
from adapterhub_fin_plugins.methods.prompting import PromptMethod, text_tokens

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import Tensor, nn
    from transformers import PretrainedConfig

# The key and value projections of encoders, which have no cache to read keys and values from.
PROJECTIONS = (("key", "value"), ("k_lin", "v_lin"), ("k_proj", "v_proj"), ("key_proj", "value_proj"))


class PrefixTuning(PromptMethod):
    """Prepend trained keys and values to those of every text, in every layer."""

    embedded = False
    checkpointing = False  # recomputing a layer would drop the prefix from its cache

    def check(self, config: PretrainedConfig, task: str | None) -> None:
        """Raise BadRecipe for a base whose layers have no keys and values to prepend a prefix to."""
        super().check(config, task)
        text = config.get_text_config()
        if reason := _reason_against_prefix(text, self.options.tokens):
            raise BadRecipe(f"prefix-tuning sets the keys and values of every layer, and {reason}")

    @classmethod
    def options_from(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        names = {"projection": "prefix_projection"}
        if config.get("prefix_projection"):
            names["hidden"] = "encoder_hidden_size"  # only a projection has it
        return {**super().options_from(config), **stated(config, names)}

    def peft_config(self, model: nn.Module, context: AttachContext) -> PeftConfig:
        from peft import PrefixTuningConfig

        config = getattr(model, "config").get_text_config()  # noqa: B009  (a module's attributes have no types)
        width = config.hidden_size  # PEFT doesn't find it on DistilBERT, for example
        kv_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        size = getattr(config, "head_dim", None) or width // config.num_attention_heads
        return PrefixTuningConfig(
            num_virtual_tokens=self.options.tokens,
            num_layers=config.num_hidden_layers,
            num_attention_heads=kv_heads,
            token_dim=kv_heads * size,
            prefix_projection=self.options.projection,
            encoder_hidden_size=self.options.hidden or width,
            modules_to_save=list(context.modules_to_save) or None,
        )

    def attach(self, model: nn.Module, context: AttachContext) -> nn.Module:
        import torch

        wrapped = super().attach(model, context)
        from_text = self.options.init == "text" or (self.options.init is None and not self.options.projection)
        prefix = peft_model(wrapped).prompt_encoder[context.adapter_name].embedding.weight
        if from_text and context.tokenizer is not None and not prefix.is_meta:
            ids = torch.tensor([text_tokens(context.tokenizer, self.options.text, self.options.tokens)])
            inner = peft_model(wrapped).get_base_model()
            with torch.no_grad():
                prefix.copy_(_keys_and_values(inner, ids.to(prefix.device)).to(prefix))
        return wrapped


def _reason_against_prefix(config: Any, tokens: int) -> str | None:
    """Return why a base supports no prefix of `tokens` tokens and what to do instead, or None if it does."""
    from transformers import MODEL_MAPPING, DynamicCache
    from transformers.cache_utils import DynamicLayer

    kind, instead = config.model_type, "use lora"
    model: Any = MODEL_MAPPING.get(type(config), None)
    if model is not None and "past_key_values" not in signature(model.forward).parameters:
        return f"a {kind} base accepts none: {instead}"
    if getattr(config, "kv_lora_rank", None):  # DeepSeek's latent attention: keys and values of two widths
        return f"a {kind} base computes them from latents: {instead}"
    layers: list[Any] = list(DynamicCache(config=config).layers)
    if any(not isinstance(layer, DynamicLayer) for layer in layers):
        return f"a {kind} base has layers without them: {instead}"
    windows = [layer.sliding_window for layer in layers if layer.is_sliding and hasattr(layer, "sliding_window")]
    if windows and tokens >= min(windows):
        return (
            f"{tokens} tokens do not fit a window of {min(windows)} in this base's attention: lower method.tokens to "
            f"{min(windows) - 1} or less"
        )
    return None


def _keys_and_values(model: nn.Module, ids: Tensor) -> Tensor:
    """Return the base's keys and values of a text, (tokens, layers x 2 x width), from its cache or its projections.

    `ids` has shape (1, tokens). Raises BadRecipe if the base shows neither.
    """
    import torch

    from adapterhub_fin.plugin import backbone

    core, training = backbone(model), model.training
    caches = {"use_cache": True} if "use_cache" in signature(core.forward).parameters else {}
    model.eval()
    try:
        with ExitStack() as hooks:
            recorded = _record_projections(core, hooks)
            out = core(input_ids=ids, attention_mask=torch.ones_like(ids), **caches)
    finally:
        model.train(training)
    cache = getattr(out, "past_key_values", None)
    if cache is not None:
        states = [
            states[0].transpose(0, 1).flatten(1) for layer in cache.layers for states in (layer.keys, layer.values)
        ]
        return torch.cat(states, -1)
    if not recorded:
        raise BadRecipe(f"prefix-tuning finds no keys and values in {type(core).__name__}: set method.init to random")
    return torch.cat([states[0] for states in recorded.values()], -1)


def _record_projections(core: nn.Module, hooks: ExitStack) -> dict[str, Tensor]:
    """Record the outputs of each layer's key and value projections, (rows, tokens, width), keys before values."""
    import torch

    recorded: dict[str, Tensor] = {}
    for keys, values in PROJECTIONS:
        for name, _ in core.named_modules():
            if name.endswith(f".{keys}"):
                layer = name.rpartition(".")[0]
                for projection in (name, f"{layer}.{values}"):
                    recorded[projection] = torch.empty(0)
                    hook = core.get_submodule(projection).register_forward_hook(partial(_record, recorded, projection))
                    hooks.callback(hook.remove)
        if recorded:
            break
    return recorded


def _record(
    recorded: dict[str, Tensor], name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
) -> None:
    recorded[name] = output.detach()
