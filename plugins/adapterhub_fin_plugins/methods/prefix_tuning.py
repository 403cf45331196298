"""Prefix tuning (Li and Liang, arXiv 2101.00190), through PEFT; without projection it is P-tuning v2 (2110.07602)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any

from adapterhub_fin.errors import BadRecipe
from adapterhub_fin.plugin.interfaces import AttachContext
from adapterhub_fin.plugin.peft_fields import stated
from adapterhub_fin.plugin.peft_method import peft_model
from adapterhub_fin_plugins.methods.prompting import PromptMethod, text_tokens

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import Tensor, nn
    from transformers import PretrainedConfig

# The key and value projections of encoders, which keep no cache that they could be read from.
PROJECTIONS = (("key", "value"), ("k_lin", "v_lin"), ("k_proj", "v_proj"), ("key_proj", "value_proj"))


class PrefixTuning(PromptMethod):
    """Trained keys and values before those of every text, in every layer."""

    embedded = False
    checkpointing = False  # recomputing a layer would throw the prefix in its cache away

    def check(self, config: PretrainedConfig, task: str | None) -> None:
        """Raise BadRecipe for a base whose layers have no keys and values that a prefix could stand before."""
        super().check(config, task)
        text = config.get_text_config()
        if reason := _no_place_for_a_prefix(text, self.options.tokens):
            raise BadRecipe(f"prefix-tuning needs keys and values of its own, and {reason}")

    @classmethod
    def options_from(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        names = {"projection": "prefix_projection"}
        if config.get("prefix_projection"):
            names["hidden"] = "encoder_hidden_size"  # of the projection, which there may not be
        return {**super().options_from(config), **stated(config, names)}

    def peft_config(self, model: nn.Module, site: AttachContext) -> PeftConfig:
        from peft import PrefixTuningConfig

        config = getattr(model, "config").get_text_config()  # noqa: B009  (a module's attributes have no types)
        width = config.hidden_size  # also where PEFT finds no name for it, as on DistilBERT
        kv_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        size = getattr(config, "head_dim", None) or width // config.num_attention_heads
        return PrefixTuningConfig(
            num_virtual_tokens=self.options.tokens,
            num_layers=config.num_hidden_layers,
            num_attention_heads=kv_heads,
            token_dim=kv_heads * size,
            prefix_projection=self.options.projection,
            encoder_hidden_size=self.options.hidden or width,
            modules_to_save=list(site.modules_to_save) or None,
        )

    def attach(self, model: nn.Module, site: AttachContext) -> nn.Module:
        import torch

        wrapped = super().attach(model, site)
        from_text = self.options.init == "text" or (self.options.init is None and not self.options.projection)
        prefix = peft_model(wrapped).prompt_encoder[site.adapter_name].embedding.weight
        if from_text and site.tokenizer is not None and not prefix.is_meta:
            ids = torch.tensor([text_tokens(site.tokenizer, self.options.text, self.options.tokens)])
            inner = peft_model(wrapped).get_base_model()
            with torch.no_grad():
                prefix.copy_(_keys_and_values(inner, ids.to(prefix.device)).to(prefix))
        return wrapped


def _no_place_for_a_prefix(config: Any, tokens: int) -> str | None:
    """Return why a base takes no prefix of so many tokens and what to do, or None if it does."""
    from transformers import MODEL_MAPPING, DynamicCache
    from transformers.cache_utils import DynamicLayer

    kind, instead = config.model_type, "use lora"
    model: Any = MODEL_MAPPING.get(type(config), None)
    if model is not None and "past_key_values" not in signature(model.forward).parameters:
        return f"a {kind} base takes none: {instead}"
    if getattr(config, "kv_lora_rank", None):  # DeepSeek's latent attention: keys and values of two widths
        return f"a {kind} base makes them from latents: {instead}"
    layers: list[Any] = list(DynamicCache(config=config).layers)
    if any(not isinstance(layer, DynamicLayer) for layer in layers):
        return f"a {kind} base has layers that keep none: {instead}"
    windows = [layer.sliding_window for layer in layers if layer.is_sliding and hasattr(layer, "sliding_window")]
    if windows and tokens >= min(windows):
        return (
            f"{tokens} tokens do not fit a window of {min(windows)} in this base's attention: lower method.tokens to "
            f"{min(windows) - 1} or less"
        )
    return None


def _keys_and_values(model: nn.Module, ids: Tensor) -> Tensor:
    """What the base makes of a text, (tokens, layers x 2 x width): its cache, or its key and value projections."""
    import torch

    from adapterhub_fin.plugin.model_parts import backbone

    core, training = backbone(model), model.training
    caches = {"use_cache": True} if "use_cache" in signature(core.forward).parameters else {}
    model.eval()
    try:
        with ExitStack() as hooks:
            seen = _watch(core, hooks)
            out = core(input_ids=ids, attention_mask=torch.ones_like(ids), **caches)
    finally:
        model.train(training)
    cache = getattr(out, "past_key_values", None)
    if cache is not None:
        states = [
            states[0].transpose(0, 1).flatten(1) for layer in cache.layers for states in (layer.keys, layer.values)
        ]
        return torch.cat(states, -1)
    if not seen:
        raise BadRecipe(f"prefix-tuning finds no keys and values in {type(core).__name__}: set method.init to random")
    return torch.cat([states[0] for states in seen.values()], -1)


def _watch(core: nn.Module, hooks: ExitStack) -> dict[str, Tensor]:
    """Record what the key and value projections of each layer give, (rows, tokens, width), keys before values."""
    import torch

    seen: dict[str, Tensor] = {}
    for keys, values in PROJECTIONS:
        for name, _ in core.named_modules():
            if name.endswith(f".{keys}"):
                layer = name.rpartition(".")[0]
                for each in (name, f"{layer}.{values}"):
                    seen[each] = torch.empty(0)
                    hook = core.get_submodule(each).register_forward_hook(partial(_record, seen, each))
                    hooks.callback(hook.remove)
        if seen:
            break
    return seen


def _record(seen: dict[str, Tensor], name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    seen[name] = output.detach()
