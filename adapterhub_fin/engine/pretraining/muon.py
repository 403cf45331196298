"""Optimize the matrices of the layers with Muon, and all other parameters with AdamW."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer


class MuonWithAdamW(Optimizer):
    """Hold both optimizers' groups and states as one, so that schedules and checkpoints see a single optimizer.

    Muon's steps are scaled to the size of AdamW's (arXiv 2502.16982), so that one learning rate serves both. Embeddings
    and the output layer are not Muon's, as its author advises.
    """

    def __init__(self, matrices: Any, decayed: Any, rest: Any, *, lr: float, weight_decay: float) -> None:
        muon = Muon(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
        adamw = AdamW([group for group in groups if group["params"]], lr=lr)
        super().__init__(
            [
                *({**group, "optimizer": "muon"} for group in muon.param_groups),
                *({**group, "optimizer": "adamw"} for group in adamw.param_groups),
            ],
            {"lr": lr},
        )
        self._parts: dict[str, Optimizer] = {"muon": muon, "adamw": adamw}

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Run a step of both optimizers; return the closure's value."""
        value = None
        if closure is not None:
            with torch.enable_grad():
                value = closure()
        for name, part in self._parts.items():
            part.param_groups = [group for group in self.param_groups if group["optimizer"] == name]
            part.state = self.state  # by parameter; a restored checkpoint puts another one in its place
            part.step()
        return value

    @classmethod
    def of(cls, model: nn.Module, decayed: set[str], *, lr: float, weight_decay: float) -> MuonWithAdamW:
        """Return the optimizer of a model; `decayed` names the parameters with weight decay."""
        embeddings = {id(parameter) for parameter in _token_parameters(model)}
        trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
        matrices = [each for _, each in trained if each.ndim == 2 and id(each) not in embeddings]
        taken = {id(each) for each in matrices}
        others = [(name, each) for name, each in trained if id(each) not in taken]
        return cls(
            matrices,
            [each for name, each in others if name in decayed],
            [each for name, each in others if name not in decayed],
            lr=lr,
            weight_decay=weight_decay,
        )


def _token_parameters(model: Any) -> list[nn.Parameter]:
    """Return the parameters of the input and output embeddings."""
    layers = (model.get_input_embeddings(), model.get_output_embeddings())
    return [parameter for layer in layers if layer is not None for parameter in layer.parameters()]
