"""Write an adapter as a plain folder, with its tensors in safetensors, and read such a folder into a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from adapterhub_fin.engine.peft.embeddings import live_embeddings, stored_embeddings
from adapterhub_fin.errors import WriteFailed, WrongTensors
from adapterhub_fin.plugin.adapter_files import WEIGHTS
from adapterhub_fin.plugin.stored_tensors import StoredTensors

if TYPE_CHECKING:
    from torch import Tensor, nn

    from adapterhub_fin.plugin.interfaces import MethodImplementation


def write_adapter(method: MethodImplementation, model: nn.Module, adapter_name: str, folder: Path) -> None:
    """Write the adapter's tensors and configuration into a folder.

    Raises WrongTensors if the method returns no tensors, or names with the runtime adapter name in them, and
    WriteFailed if the file can't be written.
    """
    tensors = method.tensors(model, adapter_name)
    if not tensors:
        raise WrongTensors("the method names no tensor to save: its `tensors` must return the adapter's parameters")
    if leaked := sorted(name for name in tensors if adapter_name in name):
        raise WrongTensors(f"the runtime name {adapter_name} is part of a stored tensor's name ({leaked[0]})")
    folder.mkdir(parents=True, exist_ok=True)
    method.write_config(model, adapter_name, folder)
    write_tensors(tensors, folder / WEIGHTS)


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors to a safetensors file as PEFT does. Raises WriteFailed if the file can't be written."""
    from safetensors.torch import save_file

    ready = {name: tensor.detach().contiguous().cpu() for name, tensor in sorted(tensors.items())}
    try:
        save_file(unshared(ready), path, metadata={"format": "pt"})
    except (SafetensorError, OSError) as error:  # a full disk is a SafetensorError
        raise WriteFailed(f"{path} can't be written ({error}): make room there") from error


def unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with copies of those that share memory: like PEFT, a file stores shared weights per layer."""
    seen: set[int] = set()
    separate = {}
    for name, tensor in tensors.items():
        memory = tensor.untyped_storage().data_ptr()
        separate[name] = tensor.clone() if memory in seen else tensor
        seen.add(memory)
    return separate


def fill_adapter(method: MethodImplementation, model: nn.Module, adapter_name: str, folder: Path) -> None:
    """Copy a folder's tensors into an adapter of the same structure, and its full embeddings into the base."""
    import torch

    stored = StoredTensors.open(folder / WEIGHTS)
    live = live_embeddings(model, stored_embeddings(model, folder))
    method.fill(model, adapter_name, {name: value for name, value in stored.items() if name not in live})
    with torch.no_grad():
        for name, parameter in live.items():
            parameter.copy_(stored[name])
