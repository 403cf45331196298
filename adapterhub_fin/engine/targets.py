"""Choose the layers that a method adapts, by name, never a head's."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from torch import nn
from transformers.pytorch_utils import Conv1D

from adapterhub_fin.engine.pin import backbone, unwrapped
from adapterhub_fin.errors import BadRecipe


def linear_layers(model: nn.Module, wanted: Sequence[str] | None, head_modules: Collection[str]) -> list[str]:
    """Names of the backbone's linear layers, all or those that end in a wanted name, as short as they can be.

    A head is left out: LoRA on `classifier` would save its update and never its weight. Raises BadRecipe where a
    wanted layer does not exist.
    """
    inner, core = unwrapped(model), backbone(model)
    prefix = next((f"{name}." for name, module in inner.named_modules() if module is core and name), "")
    linear = [
        f"{prefix}{name}"
        for name, module in core.named_modules()
        if isinstance(getattr(module, "base_layer", module), nn.Linear | Conv1D)
        and not name.endswith(".base_layer")
        and not any(f"{prefix}{name}.".startswith(f"{head}.") for head in head_modules)
        and not any(part.startswith("lora_") for part in name.split("."))
    ]
    short = sorted({name.rpartition(".")[2] for name in linear})
    if wanted is None:
        return short
    for name in wanted:
        if not any(layer == name or layer.endswith(f".{name}") for layer in linear):
            raise BadRecipe(
                f"method targets: no linear layer of this base ends in {name!r}; there are {', '.join(short)}"
            )
    return list(wanted)
