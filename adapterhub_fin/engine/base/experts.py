"""Find the base weights that a method can't reach, such as fused experts, which aren't layers.

Transformers stores the experts of a mixture in one parameter of shape (experts, rows, columns). Methods adapt layers
and skip it, so that most of such a base stays unchanged whatever the targets.
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
    """Count the parameters of fused experts that a method doesn't adapt, and name them."""

    parameters: int
    total: int  # of the base
    names: tuple[str, ...]  # as PEFT's target_parameters takes them

    @property
    def share(self) -> float:
        """Return them as a fraction of the base's parameters."""
        return self.parameters / self.total

    def sentence(self, method: str) -> str:
        """Return a warning that names a method which does reach them."""
        listed = ", ".join(self.names)
        return (
            f"{self.share:.0%} of the base's parameters are out of reach of the method {method} and stay as they are: "
            f"the fused experts ({listed}) aren't layers; the method peft:lora reaches them with "
            f"target_parameters: [{listed}]"
        )


class Reach:
    """List a base's layers and fused experts; make it before a method is attached and ask it afterwards."""

    def __init__(self, base: nn.Module) -> None:
        self._fused = list(_fused(base))
        linear = (module for module in base.modules() if isinstance(module, nn.Linear | Conv1D))
        self._layers = [*linear, *(owner for owner, *_ in self._fused)]
        self._total = sum(parameter.numel() for parameter in base.parameters())

    def out_of(self, adapted: nn.Module) -> OutOfReach | None:
        """Return what the attached method leaves out; None if that is nothing, or if it adapts no layers at all."""
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
    """Yield the weights with one matrix per expert: the module, the path, the name in the module, and the tensor.

    Biases are skipped, since no low-rank method adapts them.
    """
    for path, module in base.named_modules():
        if isinstance(module, _LAYERS):
            continue
        for name, parameter in module.named_parameters(recurse=False):
            stacked = parameter.ndim == 3 and parameter.shape[0] > 1
            if stacked or (parameter.ndim == 2 and "experts" in path.split(".") and not name.endswith("bias")):
                yield module, f"{path}.{name}", name, parameter


def _inner(module: nn.Module) -> nn.Module | None:
    inner = getattr(module, "base_layer", None)
    return inner if isinstance(inner, nn.Module) else None


def _adapts(wrapped: dict[int, nn.Module], owner: nn.Module, name: str) -> bool:
    """Return whether a wrapper around a module adapts its parameter `name`, as PEFT's ParamWrapper does."""
    module = owner
    while (outer := wrapped.get(id(module))) is not None:
        if getattr(outer, "parameter_name", None) == name:
            return True
        module = outer
    return False


def _target(path: str) -> str:
    """Return a parameter's path after its last number, which is the layer's: `mlp.experts.down_proj`."""
    parts = path.split(".")
    numbers = [index for index, part in enumerate(parts) if part.isdigit()]
    return ".".join(parts[numbers[-1] + 1 :] if numbers else parts)
