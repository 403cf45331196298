"""Choose the layers that a method adapts, by name, never a head's."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from adapterhub_fin.errors import BadRecipe

if TYPE_CHECKING:
    from torch import nn

# Layers whose weights a state-space model reads without calling them, so that an adapter there does nothing: dt_proj in
# every implementation, out_proj and conv1d in the fused kernels (PEFT refuses those two).
_FUSED = ("out_proj", "conv1d")
_UNCALLED = {
    "mamba": (*_FUSED, "dt_proj"),
    "falcon_mamba": (*_FUSED, "dt_proj"),
    "mamba2": _FUSED,
    "falcon_h1": _FUSED,
    "nemotron_h": _FUSED,
    "jamba": ("dt_proj",),
}


def linear_layers(model: nn.Module, targets: Sequence[str] | None, head_modules: Collection[str]) -> list[str]:
    """Name the backbone's linear layers, all or those that end in a wanted name; short where short is enough.

    A head is left out: LoRA on `classifier` would save its update and never its weight. Raises BadRecipe where a
    wanted layer does not exist.
    """
    from adapterhub_fin.plugin.model_parts import backbone_prefix, unwrapped

    inner, prefix = unwrapped(model), backbone_prefix(model)
    uncalled = _UNCALLED.get(_model_type(inner), ())
    if idle := sorted(set(uncalled).intersection(targets or ())):
        raise BadRecipe(
            f"method targets: a {_model_type(inner)} base reads the weights of {idle[0]} without calling it, so that "
            "an adapter there would do nothing: leave it out"
        )
    everywhere = [
        name for name, module in inner.named_modules() if _is_linear(name, module) and not _ends_in(name, uncalled)
    ]
    heads = tuple(f"{head}." for head in head_modules)
    linear = [name for name in everywhere if name.startswith(prefix) and not f"{name}.".startswith(heads)]
    short = sorted({name.rpartition(".")[2] for name in linear})
    chosen = [layer for layer in linear if targets is None or _ends_in(layer, targets)]
    for name in targets or ():
        if not any(_ends_in(layer, [name]) for layer in linear):
            raise BadRecipe(
                f"method targets: no linear layer of this base ends in {name!r}; there are {', '.join(short)}"
            )
    names = short if targets is None else list(targets)
    return names if [layer for layer in everywhere if _ends_in(layer, names)] == chosen else chosen


def _model_type(model: nn.Module) -> str:
    return str(getattr(getattr(model, "config", None), "model_type", ""))


def _is_linear(name: str, module: nn.Module) -> bool:
    """Tell whether a module is a linear layer of the base, also one that an adapter wraps; never an adapter's own."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    parts = name.split(".")
    wrapped = getattr(module, "base_layer", module)
    return (
        isinstance(wrapped, nn.Linear | Conv1D) and parts[-1] != "base_layer" and not any("lora_" in p for p in parts)
    )


def _ends_in(layer: str, names: Sequence[str]) -> bool:
    """Apply PEFT's own rule for a list of targets."""
    return any(layer == name or layer.endswith(f".{name}") for name in names)
