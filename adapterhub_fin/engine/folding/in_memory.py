"""Fold a version into a copy of its base in memory, with any head, in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from adapterhub_fin.engine.base.load_base import check_covered, load_base
from adapterhub_fin.engine.base.padding import align_padding
from adapterhub_fin.engine.base.quiet import quiet_loading
from adapterhub_fin.engine.folding.loss import FoldedChange, Loss
from adapterhub_fin.engine.importing.read_folder import task_of
from adapterhub_fin.engine.merging.changes import changes_of
from adapterhub_fin.errors import Unsupported, WrongTensors

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

    from adapterhub_fin.engine.inference.find import ResolvedVersion
    from adapterhub_fin.engine.merging.changes import StoredChanges


def fold_in_memory(resolved: ResolvedVersion, base: Path, tokenizer: PreTrainedTokenizerBase) -> Any:
    """Return the base in a folder with the version's changes added and its head, without an adapter, to answer alone.

    The base is that of `resolved`, which loading the version checked. Raises BadMerge for a version that is no sum of
    low-rank matrices, WrongTensors for a parameter that the base lacks, and Unsupported for NaN or infinite sums.
    """
    changes = changes_of(resolved.version, base_at_hand=True)
    whose = resolved.version.reference
    with quiet_loading():
        model, drawn = load_base(base, resolved.head, resolved.method, *task_of(resolved.folder))
    check_covered(drawn, resolved.modules_to_save, whose)
    align_padding(model, tokenizer)
    model.float()
    fold(model, changes, whose)
    return model.eval()


def fold(model: nn.Module, changes: StoredChanges, whose: str) -> None:
    """Add each change to a model's parameter, and replace those that are stored in full; ties are cut there.

    Each sum is rounded once, to the type of the parameter.

    Raises WrongTensors for a parameter that the model lacks, and Unsupported for NaN or infinite sums.
    """
    loss = Loss(None)
    for key, parameter in changes.parameters.items():
        owner, own = _owner(model, parameter.module, whose), key.rpartition(".")[2]
        transposed = parameter.kind == "linear" and isinstance(owner, Conv1D)
        weight = getattr(owner, own, None)
        if weight is None and own == "bias":  # as PEFT adds one to a layer without it
            weight = torch.zeros(parameter.shape).to(next(owner.parameters()))
        shape = parameter.shape[::-1] if transposed else parameter.shape
        weight = _of_shape(weight, shape, key, whose)
        change = FoldedChange(parameter, changes.change(key), changes.magnitude(key), transposed)
        _replace(owner, own, loss.fold(key, change, weight.cpu(), weight.cpu(), weight.dtype).to(weight.device))
    for key, shape in changes.full_shapes.items():
        module, _, own = key.rpartition(".")
        owner = _owner(model, module, whose)
        weight = _of_shape(getattr(owner, own, None), shape, key, whose)
        _replace(owner, own, changes.values(key).to(weight))


def _owner(model: nn.Module, module: str, whose: str) -> nn.Module:
    try:
        return model.get_submodule(module)
    except AttributeError as error:
        raise _missing(whose, module) from error


def _of_shape(weight: Any, shape: tuple[int, ...], key: str, whose: str) -> Tensor:
    """Return a parameter's values. Raises WrongTensors where it is none, or of another shape."""
    if not isinstance(weight, Tensor) or tuple(weight.shape) != shape:
        raise _missing(whose, f"{key} of {shape}")
    return weight.detach()


def _missing(whose: str, what: str) -> WrongTensors:
    return WrongTensors(
        f"{whose} changes {what}, and its base has no such parameter: name the base it was trained on with --base "
        "(base=...)"
    )


def _replace(owner: nn.Module, name: str, values: Tensor) -> None:
    """Put new values in place of a module's parameter. Raises Unsupported for NaN or infinity."""
    if not bool(torch.isfinite(values).all()):
        raise Unsupported(
            f"{name} of {type(owner).__name__} would hold NaN or infinite values: check alpha and weights"
        )
    setattr(owner, name, nn.Parameter(values, requires_grad=False))
