"""Put a layer that also reads numbers in place of a classifier's last one."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from functools import wraps
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from adapterhub_fin.plugin import BadRecipe, outside_backbone

# The numbers of the batch that is being answered, (rows, 2 * numbers): of this thread, since PEFT copies the layer and
# several threads may share a model.
_NUMBERS: Final[ContextVar[Tensor | None]] = ContextVar("numbers", default=None)


class FusedLayer(nn.Module):
    """Return the outputs of text states (rows, hidden) or (rows, tokens, hidden) beside the batch's numbers."""

    def __init__(self, states: int, numbers: int, outputs: int, hidden: int, dropout: float, reads: str) -> None:
        super().__init__()
        self.reads = reads
        width = 0 if reads == "numbers" else states
        if reads != "text":
            self.numbers = nn.Sequential(
                nn.Linear(2 * numbers, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Dropout(dropout)
            )
            width += hidden
        self.outputs = nn.Linear(width, outputs)

    def forward(self, states: Tensor) -> Tensor:
        outputs: Tensor = self.outputs(states if self.reads == "text" else self._beside_numbers(states))
        return outputs

    def _beside_numbers(self, states: Tensor) -> Tensor:
        given = _NUMBERS.get()
        if given is None:
            raise RuntimeError(
                "the head fusion got no numbers: the method calls the last layer by itself, as prefix-tuning does on "
                "an encoder; choose another method, such as lora"
            )
        read: Tensor = self.numbers(given.to(states.device, states.dtype))
        if states.dim() == 3:  # a decoder's layer answers at each token, and its class picks one
            read = read[:, None].expand(-1, states.shape[1], -1)
        return read if self.reads == "numbers" else torch.cat([states, read], -1)


def fuse(model: PreTrainedModel, missing: Sequence[str], numbers: int, options: Any) -> list[str]:
    """Replace the last linear layer of a classifier in place; return the parameters that the base's file lacks.

    Raises BadRecipe where the base's head has no linear layer.
    """
    name, last = _last_layer(model)
    layer = FusedLayer(last.in_features, numbers, last.out_features, options.hidden, options.dropout, options.reads).to(
        last.weight.device, last.weight.dtype
    )
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, layer)
    model.__class__ = _reading_numbers(type(model))
    kept = [key for key in missing if not key.startswith(f"{name}.")]
    return sorted([*kept, *(f"{name}.{inner}" for inner, _ in layer.named_parameters())])


def _last_layer(model: PreTrainedModel) -> tuple[str, nn.Linear]:
    for top in reversed(outside_backbone(model)):
        layers = [
            (f"{top}.{inner}".rstrip("."), module)
            for inner, module in model.get_submodule(top).named_modules()
            if isinstance(module, nn.Linear)
        ]
        if layers:
            return layers[-1]
    raise BadRecipe(
        f"the head fusion needs a base whose classifier ends in a linear layer, unlike {type(model).__name__}"
    )


def _reading_numbers(plain: type[PreTrainedModel]) -> type[PreTrainedModel]:
    @wraps(plain.forward)  # whose signature PEFT and the Trainer ask for
    def forward(self: PreTrainedModel, *args: Any, features: Tensor | None = None, **kwargs: Any) -> Any:
        token = _NUMBERS.set(features)
        try:
            return plain.forward(self, *args, **kwargs)
        finally:
            _NUMBERS.reset(token)

    return type(f"Fused{plain.__name__}", (plain,), {"forward": forward})
