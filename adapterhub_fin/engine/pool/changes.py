"""Add what an adapter changes to a layer's output, for the rows that are the adapter's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding


class Change(Protocol):
    """Define what an adapter adds to one layer."""

    @property
    def tensors(self) -> Iterable[Tensor]:
        """Return what the change keeps in memory."""

    def add(self, layer: nn.Module, inputs: Tensor, output: Tensor) -> None:
        """Add to `output` (rows, ..., out), in place, what belongs to `inputs` (rows, ...)."""


@dataclass(frozen=True, slots=True, eq=False)
class LinearChange:
    """Hold a low-rank change of a linear layer, scale * (inputs @ down @ up + bias).

    `down` is (in, r), `up` (r, out) and `bias` (out,). The scale stays apart, as in PEFT, to round as PEFT does.
    """

    down: Tensor
    up: Tensor
    scale: float
    bias: Tensor | None = None

    @property
    def tensors(self) -> Iterable[Tensor]:
        return (self.down, self.up) if self.bias is None else (self.down, self.up, self.bias)

    def add(self, layer: nn.Module, inputs: Tensor, output: Tensor) -> None:
        """Add the change to `output` (rows, ..., out), in place, computed in the factors' own dtype."""
        small = inputs.reshape(-1, self.down.shape[0]).to(self.down.dtype) @ self.down
        if output.dtype == self.up.dtype and output.is_contiguous():
            output.view(-1, self.up.shape[1]).addmm_(small, self.up, alpha=self.scale)
        else:
            output += (small @ self.up * self.scale).view(output.shape).to(output.dtype)
        if self.bias is not None:
            output += (self.bias * self.scale).to(output.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingChange:
    """Hold a low-rank change of an embedding, scale * table[ids] @ up: `table` is (tokens, r), `up` (r, size)."""

    table: Tensor
    up: Tensor
    scale: float

    @property
    def tensors(self) -> Iterable[Tensor]:
        return self.table, self.up

    def add(self, layer: nn.Module, inputs: Tensor, output: Tensor) -> None:
        """Add the rows of `table` @ up for the token ids `inputs` to `output` (rows, tokens, size), in place."""
        added = embedding(inputs, self.table) @ self.up * self.scale
        scale = getattr(layer, "embed_scale", None)  # as PEFT: some bases multiply an embedding's output
        if scale is not None:
            added = added * torch.as_tensor(scale).to(added)
        output += added.to(output.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class ModuleChange:
    """Hold a module that the adapter brings whole, whose output replaces that of the base's own."""

    module: nn.Module

    @property
    def tensors(self) -> Iterable[Tensor]:
        return self.module.parameters()

    def add(self, layer: nn.Module, inputs: Tensor, output: Tensor) -> None:
        """Replace `output` (rows, ..., out), in place, by what the module makes of `inputs` (rows, ..., in)."""
        output.copy_(self.module(inputs))


def size_of(tensors: Iterable[Tensor]) -> int:
    """Return the bytes of memory that tensors of any shape keep; those of a memory that several share count once."""
    storages = {(storage := tensor.untyped_storage()).data_ptr(): storage.nbytes() for tensor in tensors}
    return sum(storages.values())
