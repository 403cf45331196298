"""Name an adapter on a model, and match a stored file with its parameters one to one before any weight is written."""

from __future__ import annotations

import copy
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.errors import WrongBase, WrongTensors
from adapterhub_fin.plugin.adapter_files import WEIGHTS
from adapterhub_fin.plugin.model_parts import backbone, unwrapped
from adapterhub_fin.plugin.other_adapters import ADAPTERS
from adapterhub_fin_registry.io.safetensors_header import read_header

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
else:
    torch, nn = Lazy("torch"), Lazy("torch.nn")

POOLED = "_ahf_pooled"  # the backbone's attribute that says that it belongs to a pool
QUANTIZED = (
    "SCB",
    "CB",
    "has_fp16_weights",
    "quant_type",
    "quant_state",
    "quant_storage",
    "compress_statistics",
    "blocksize",
)


def new_adapter_name() -> str:
    """Return a random adapter name: some names that users choose corrupt what PEFT saves (peft issues 3584, 2252)."""
    return f"ahf_{secrets.token_hex(4)}"


def check_unchanged(model: nn.Module, changes: str | None, whose: str) -> None:
    """Check that a model still has its base's own weights, and that a new adapter won't change them for others.

    `changes` names the setting by which the new adapter changes the base itself; None if it doesn't. Raises WrongBase
    if an adapter on the model has changed the base, if the new one would and other adapters are on the model, and if
    the model is a pool's.
    """
    state = backbone(model).__dict__
    if state.get(POOLED):
        raise WrongBase(f"this model belongs to a pool, whose answers {whose} would change: load it onto another base")
    if owner := state.get("_ahf_changed_by"):
        raise WrongBase(
            f"{owner} is on this model and has changed the base's own weights: load {whose} onto a base of its own"
        )
    if changes and (state.get(ADAPTERS) or getattr(model, "peft_config", None)):
        raise WrongBase(
            f"{whose} changes the base's own weights ({changes}), and with them the answers of the other adapters on "
            "this model: load it onto a base of its own"
        )


def take_adapter_name(
    model: nn.Module, adapter_name: str, method: str, changes: str | None = None, *, apart: bool = False
) -> None:
    """Record on the backbone which method owns an adapter name.

    A method turns only its own adapters on and off, so that adapters of two methods on one model would answer as a
    mixture. `changes` names the version whose adapter changes the base itself, and `apart` says that the adapter makes
    no difference to those that are loaded after it. Raises WrongBase if an adapter of another method is on the model.
    """
    core = backbone(model)
    method_of: dict[str, str] = core.__dict__.setdefault(ADAPTERS, {})
    if other_methods := sorted(set(method_of.values()) - {method}):
        raise WrongBase(
            f"the model carries an adapter of the method {other_methods[0]!r}, and one of {method!r} beside it would "
            "answer as a mixture of both: load this one onto a base of its own"
        )
    method_of[adapter_name] = method
    if apart:
        core.__dict__.setdefault("_ahf_apart", set()).add(adapter_name)
    if changes:
        core.__dict__["_ahf_changed_by"] = changes


def adapters_apart(model: nn.Module) -> frozenset[str]:
    """Return the names of the adapters on a model that make no difference to those that are loaded after them."""
    return frozenset(backbone(model).__dict__.get("_ahf_apart", ()))


def note_wrapper(model: nn.Module, adapted: nn.Module) -> None:
    """Record on a Transformers model what a method wrapped around it, for the next adapter on the model."""
    if adapted is not (inner := unwrapped(model)):
        inner.__dict__["_ahf_wrapper"] = adapted  # not as a submodule, which would contain its own owner


def wrapper_of(model: nn.Module) -> nn.Module:
    """Return what an earlier load wrapped around a model, or the model itself."""
    wrapper = model.__dict__.get("_ahf_wrapper")
    return wrapper if isinstance(wrapper, nn.Module) and unwrapped(wrapper) is model else model


def meta_twin(model: nn.Module) -> nn.Module:
    """Return a copy of a model's structure on the meta device, which holds no values and takes no memory."""
    memo: dict[int, Tensor] = {}
    for parameter in model.parameters():
        twin = nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=False)
        for name in QUANTIZED:  # PEFT reads these from a four-bit weight when it wraps its layer
            if hasattr(parameter, name):
                setattr(twin, name, getattr(parameter, name))
        memo[id(parameter)] = twin
    for buffer in model.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(model, memo)


def sharing_copy(model: nn.Module) -> nn.Module:
    """Return a copy of a model's structure that shares its parameters and buffers."""
    memo = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, memo)


def check_bijection(parameters: Mapping[str, Tensor], folder: Path, whose: str) -> None:
    """Check that stored tensors and an adapter's parameters match one to one, by name and shape.

    Raises WrongTensors if they don't.
    """
    stored = {name: tuple(info.shape) for name, info in read_header(folder / WEIGHTS).items()}
    expected = {name: tuple(tensor.shape) for name, tensor in parameters.items()}
    missing, unexpected = sorted(expected.keys() - stored.keys()), sorted(stored.keys() - expected.keys())
    reshaped = sorted(name for name in expected.keys() & stored.keys() if expected[name] != stored[name])
    parts = [
        f"{len(names)} {word} (first {names[0]})"
        for word, names in (("missing in the file", missing), ("unexpected in the file", unexpected))
        if names
    ]
    if reshaped:
        name = reshaped[0]
        parts.append(f"{len(reshaped)} of another shape (first {name}: file {stored[name]}, model {expected[name]})")
    if parts:
        raise WrongTensors(
            f"{whose} does not fit this model: of {len(expected)} parameters and {len(stored)} stored tensors, "
            f"{', '.join(parts)}; load it on the base and head it was trained with"
        )
