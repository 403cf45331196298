"""Tell the parts of a Transformers model apart: its backbone, its head, and what an adapter wrapped around them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
else:
    torch = Lazy("torch")

ADAPTER_NAME = re.compile(r"ahf_[0-9a-f]{8}")
WRAPPED = ("base_layer", "original_module", "token_adapter")  # how PEFT names what its layers wrap


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the Transformers model under a PeftModel, or the model itself."""
    inner = getattr(model, "get_base_model", None)
    return inner() if callable(inner) else model


def backbone(model: nn.Module) -> nn.Module:
    """Return the part of a Transformers model that every head shares."""
    inner = unwrapped(model)
    return getattr(inner, "base_model", inner)


def backbone_prefix(model: nn.Module) -> str:
    """Return what the names of a model's backbone begin with, such as `bert.`; empty for a bare backbone."""
    core = backbone(model)
    return next((f"{name}." for name, module in unwrapped(model).named_modules() if module is core and name), "")


def bare(module: nn.Module) -> nn.Module:
    """Return the base's own module under what an adapter wrapped around it; everything else there was added."""
    children = dict(module.named_children())
    names = [*WRAPPED, *(["model"] if hasattr(module, "adaption_prompt") else [])]
    inner = next((children[name] for name in names if name in children), None)
    return module if inner is None else bare(inner)


def input_embedding(model: nn.Module) -> Tensor | None:
    """Return the matrix of the input embedding, (tokens, hidden), if the model has one."""
    return weight_of(model_part(model, "get_input_embeddings"))


def model_part(model: nn.Module, getter: str) -> Any:
    """Return what a Transformers model says of itself; None of a plain module, and where the model doesn't know."""
    part = getattr(unwrapped(model), getter, None)
    try:
        return part() if callable(part) else None
    except NotImplementedError:
        return None


def weight_of(module: Any) -> Tensor | None:
    """Return a module's own weight, in its shape, also under an adapter; None of anything without one."""
    weight = getattr(bare(module), "weight", None) if isinstance(module, torch.nn.Module) else None
    return weight if isinstance(weight, torch.Tensor) else None


def vocabulary_size(model: nn.Module) -> int | None:
    """Count the rows of the input embedding."""
    embedding = input_embedding(model)
    return None if embedding is None else int(embedding.shape[0])


def outside_backbone(model: nn.Module) -> list[str]:
    """Return the top modules of a model beside its backbone that hold parameters: its head."""
    inner, core = unwrapped(model), backbone(model)
    return [
        name for name, module in inner.named_children() if module is not core and any(True for _ in module.parameters())
    ]
