"""Match a stored file and a model's slots one to one, before the model is touched."""

from __future__ import annotations

import copy
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.errors import WrongBase, WrongTensors
from adapterhub_fin.plugin.adapter_files import WEIGHTS
from adapterhub_fin.plugin.backbone import backbone, unwrapped
from adapterhub_fin_registry.io.safetensors_header import read_header

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
else:
    torch, nn = Lazy("torch"), Lazy("torch.nn")

QUANTIZED = ("quant_type", "quant_state", "quant_storage", "compress_statistics", "blocksize")


def new_adapter_name() -> str:
    """A runtime name that no user chose: some of theirs corrupt what PEFT saves (peft 3584, 2252)."""
    return f"ahf_{secrets.token_hex(4)}"


def check_unchanged(model: nn.Module, changes: str | None, whose: str) -> None:
    """Raise WrongBase where an adapter on the model has changed the base, or this one would under others' feet.

    `changes` says what of the adapter's configuration changes the base itself; None where nothing does.
    """
    state = backbone(model).__dict__
    if owner := state.get("_ahf_changed_by"):
        raise WrongBase(
            f"{owner} is on this model and has changed the base's own weights: load {whose} onto a base of its own"
        )
    if changes and (state.get("_ahf_slots") or getattr(model, "peft_config", None)):
        raise WrongBase(
            f"{whose} changes the base's own weights ({changes}), and other adapters are on this model, which would "
            "answer otherwise: load it onto a base of its own"
        )


def take_adapter_name(model: nn.Module, adapter_name: str, method: str, changes: str | None = None) -> None:
    """Note on the backbone that one of its adapters is a method's; WrongBase where another method has one.

    Each method turns its own slots on and off, so that two methods on one model would answer as a mixture. `changes`
    names the version whose adapter changes the base itself.
    """
    core = backbone(model)
    taken: dict[str, str] = core.__dict__.setdefault("_ahf_slots", {})
    if others := sorted(set(taken.values()) - {method}):
        raise WrongBase(
            f"the model carries an adapter of the method {others[0]!r}, and one of {method!r} beside it would answer "
            "as a mixture of both: load this one onto a base of its own"
        )
    taken[adapter_name] = method
    if changes:
        core.__dict__["_ahf_changed_by"] = changes


def note_wrapper(model: nn.Module, adapted: nn.Module) -> None:
    """Note on a Transformers model what a method wrapped around it, for the next adapter that is put onto the model."""
    if adapted is not (inner := unwrapped(model)):
        inner.__dict__["_ahf_wrapper"] = adapted  # as no submodule of its own: both go when neither is used


def wrapper_of(model: nn.Module) -> nn.Module:
    """Return what an earlier load has wrapped around a model, and the model where none has."""
    wrapper = model.__dict__.get("_ahf_wrapper")
    return wrapper if isinstance(wrapper, nn.Module) and unwrapped(wrapper) is model else model


def meta_twin(model: nn.Module) -> nn.Module:
    """A copy of a model's structure that holds no values and takes no memory."""
    memo: dict[int, Tensor] = {}
    for parameter in model.parameters():
        twin = nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=False)
        for name in QUANTIZED:  # what PEFT reads off a four-bit weight when it wraps its layer
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


def check_bijection(slots: Mapping[str, Tensor], folder: Path, whose: str) -> None:
    """Raise WrongTensors unless stored tensors and the adapter's parameters match one to one, by name and shape."""
    stored = {name: tuple(info.shape) for name, info in read_header(folder / WEIGHTS).items()}
    wanted = {name: tuple(tensor.shape) for name, tensor in slots.items()}
    missing, unexpected = sorted(wanted.keys() - stored.keys()), sorted(stored.keys() - wanted.keys())
    reshaped = sorted(name for name in wanted.keys() & stored.keys() if wanted[name] != stored[name])
    parts = [
        f"{len(names)} {word} (first {names[0]})"
        for word, names in (("missing in the file", missing), ("unexpected in the file", unexpected))
        if names
    ]
    if reshaped:
        name = reshaped[0]
        parts.append(f"{len(reshaped)} of another shape (first {name}: file {stored[name]}, model {wanted[name]})")
    if parts:
        raise WrongTensors(
            f"{whose} does not fit this model: of {len(wanted)} slots and {len(stored)} stored tensors, "
            f"{', '.join(parts)}; load it on the base and head it was trained with"
        )
