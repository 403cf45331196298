"""Convert an adapter_model.bin, a pickle, to safetensors; nothing but tensors is read from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapterhub_fin.engine.peft.adapter_io import write_tensors
from adapterhub_fin.errors import NotAnAdapter
from adapterhub_fin_registry.model.file_rules import size_limit

SAFE_FROM = (2, 6)  # CVE-2025-32434: in earlier releases, weights_only could be bypassed
AGAIN = "save it again with PeftModel.save_pretrained, which writes safetensors"


def convert_pickle(source: Path, target: Path, called: Path) -> None:
    """Write the tensors of a pickle to a safetensors file; `called` is the pickle's name in messages.

    Raises NotAnAdapter if it contains anything but tensors, and WriteFailed if the target can't be written.
    """
    tensors = _checked(_load(source, called), called)
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if size > size_limit(target.name):  # a view of one element can claim any number of them
        raise NotAnAdapter(f"{called} claims {size} bytes of tensors, beyond what a version may hold: {AGAIN}")
    write_tensors(tensors, target)


def _load(source: Path, called: Path) -> Any:
    release = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if release < SAFE_FROM:
        raise NotAnAdapter(f"{called} is a pickle, and torch {torch.__version__} can't read one safely: upgrade torch")
    try:
        # Without map_location, a tensor that was saved on a GPU would need one.
        return torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile or truncated file may raise anything
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise NotAnAdapter(f"{called} can't be read as tensors alone ({reason}): {AGAIN}") from error


def _checked(loaded: Any, called: Path) -> dict[str, Tensor]:
    if not isinstance(loaded, dict) or not loaded:
        raise NotAnAdapter(f"{called} holds no tensors by name, but a {type(loaded).__name__}: {AGAIN}")
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise NotAnAdapter(f"{called} holds {type(value).__name__} under {name!r} among tensors: {AGAIN}")
        if value.layout is not torch.strided or value.is_quantized or value.is_meta:
            raise NotAnAdapter(f"{called} holds {name} in a form that safetensors can't store: {AGAIN}")
    return loaded
