"""Find what of a base a method leaves out of reach: weights that are no layer, as those of fused experts.

Transformers holds the experts of a mixture in one parameter of three dimensions, which no method that adapts layers
touches: most of such a base then stays as it is, whatever the targets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn
from transformers.pytorch_utils import Conv1D

if TYPE_CHECKING:
    from torch import Tensor

_LAYERS = (nn.Linear, Conv1D, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class OutOfReach:
    """The parameters of fused experts that a method doesn't adapt, of all that the base has."""

    parameters: int
    total: int
    names: tuple[str, ...]  # as PEFT's target_parameters takes them

    @property
    def share(self) -> float:
        return self.parameters / self.total

    def sentence(self, method: str) -> str:
        """Say it, with what reaches them."""
        listed = ", ".join(self.names)
        return (
            f"{self.share:.0%} of the base's parameters are out of reach of the method {method} and stay as they are: "
            f"the fused experts ({listed}) are no layers; the method peft:lora reaches them with "
            f"target_parameters: [{listed}]"
        )


class Reach:
    """What of a base can be reached; made before a method is attached, and asked afterwards."""

    def __init__(self, base: nn.Module) -> None:
        self._fused = list(_fused(base))
        linear = (module for module in base.modules() if isinstance(module, nn.Linear | Conv1D))
        self._layers = [*linear, *(owner for owner, *_ in self._fused)]
        self._total = sum(parameter.numel() for parameter in base.parameters())

    def out_of(self, adapted: nn.Module) -> OutOfReach | None:
        """Return what the attached method leaves out; None where it is nothing, or where it adapts no layers at all."""
        wrapped = {id(inner): module for module in adapted.modules() if (inner := _inner(module)) is not None}
        if not any(id(layer) in wrapped for layer in self._layers):
            return None
        left = [
            (path, parameter)
            for owner, path, name, parameter in self._fused
            if not parameter.requires_grad and not _adapts(wrapped, owner, name)
        ]
        if not left:
            return None
        names = sorted({_target(path) for path, _ in left})
        return OutOfReach(sum(parameter.numel() for _, parameter in left), self._total, tuple(names))


def _fused(base: nn.Module) -> Iterator[tuple[nn.Module, str, str, Tensor]]:
    """Yield weights that hold one matrix an expert: the module, the path, the name in the module, and the tensor.

    Biases are left out: no low-rank method is for them, of layers neither.
    """
    for place, module in base.named_modules():
        if isinstance(module, _LAYERS):
            continue
        for name, parameter in module.named_parameters(recurse=False):
            stacked = parameter.ndim == 3 and parameter.shape[0] > 1
            if stacked or (parameter.ndim == 2 and "experts" in place.split(".") and not name.endswith("bias")):
                yield module, f"{place}.{name}", name, parameter


def _inner(module: nn.Module) -> nn.Module | None:
    inner = getattr(module, "base_layer", None)
    return inner if isinstance(inner, nn.Module) else None


def _adapts(wrapped: dict[int, nn.Module], owner: nn.Module, name: str) -> bool:
    """Whether one of the wrappers around a module adapts its parameter of a name, as PEFT's ParamWrapper does."""
    module = owner
    while (outer := wrapped.get(id(module))) is not None:
        if getattr(outer, "parameter_name", None) == name:
            return True
        module = outer
    return False


def _target(path: str) -> str:
    """A parameter's path without the layer's number and what stands before it."""
    parts = path.split(".")
    numbers = [place for place, part in enumerate(parts) if part.isdigit()]
    return ".".join(parts[numbers[-1] + 1 :] if numbers else parts)
