"""Shard a frozen base over processes with FSDP, as accelerate's own configuration says; the adapter stays whole.

What is trained is small: each process holds all of it, so that checkpoints, versions and resuming are those of plain
data-parallel training. Its gradients are averaged here, since FSDP averages only those of what it shards.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.training.distributed import world_size

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import nn


def is_sharded() -> bool:
    """Return whether accelerate's configuration asks for FSDP, and there are processes to shard over."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true" and world_size() > 1


def shard(accelerator: Accelerator, model: nn.Module) -> None:
    """Make an accelerator shard what of a model is frozen when it prepares it.

    Accelerate 1.15 leaves FSDP out on a CPU, where torch has it too.
    """
    from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

    state: Any = accelerator.state
    if getattr(state, "fsdp_plugin", None) is None:
        state.fsdp_plugin = FullyShardedDataParallelPlugin()  # reads accelerate's configuration
    state.distributed_type = DistributedType.FSDP
    state.fsdp_plugin.ignored_modules = _trained(model)


def _trained(model: nn.Module) -> list[nn.Module]:
    """Return the modules with trained parameters of their own."""
    return [
        module
        for module in model.modules()
        if any(parameter.requires_grad for parameter in module.parameters(recurse=False))
    ]


def average_gradients(model: nn.Module) -> None:
    """Replace each gradient, of any shape, by its mean over the processes."""
    import torch.distributed

    for parameter in model.parameters():
        if parameter.requires_grad and parameter.grad is not None:
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= world_size()
