"""Read whole embeddings that a version stores beside its adapter, and give a base the rows that they need.

PEFT writes the embeddings and the output layer whole where the vocabulary grew or where they are adapted themselves,
and its loader writes them into the base. Unsloth and LLaMA-Factory write them as `modules_to_save`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import safe_open

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.errors import WrongBase
from adapterhub_fin.plugin.adapter_files import CONFIG, WEIGHTS, bare_name, head_modules
from adapterhub_fin.plugin.backbone import unwrapped, vocabulary_size
from adapterhub_fin_registry.io.safetensors_header import read_header

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
else:
    torch, nn = Lazy("torch"), Lazy("torch.nn")

ADAPTED = {"lora_embedding_A": 1, "lora_B.weight": 0}  # LoRA of the embeddings and of the output: which axis is rows


@dataclass(frozen=True)
class StoredEmbeddings:
    """What a folder holds of a model's vocabulary."""

    whole: Mapping[str, str]  # parameters of the base that are written over, by the tensor's name in the file
    modules: tuple[str, ...]  # all whose values are stored whole, those of modules_to_save too
    rows: int  # that the base must have; 0 where the folder says nothing of them
    trained: frozenset[int]  # single rows that are stored

    def rows_before(self, size: int | None) -> int | None:
        """Return how many rows of a vocabulary come before those at its end that are stored one by one."""
        while size and size - 1 in self.trained:
            size -= 1
        return size

    def brings_rows(self, known: int | None, size: int | None) -> bool:
        """Return whether all rows that a model has beyond those of its recorded base are stored one by one."""
        return known is not None and size is not None and self.trained.issuperset(range(known, size))


def stored_embeddings(model: nn.Module, folder: Path) -> StoredEmbeddings:
    """Find what a folder stores of the model's input and output embeddings."""
    if not (folder / CONFIG).is_file():
        return StoredEmbeddings({}, (), 0, frozenset())  # a method of a third party's, with files of its own
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    shapes = {name: tuple(info.shape) for name, info in read_header(folder / WEIGHTS).items()}
    saved = head_modules(config, {bare_name(name, config): shape for name, shape in shapes.items()})
    trained = frozenset(_trained_rows(config))
    whole, modules, rows = {}, set(), max((row + 1 for row in trained), default=0)
    for name, shape in shapes.items():
        for module, _ in _embeddings(model):
            inside = bare_name(name, config).removeprefix(f"{module}.")
            if inside in ("weight", "bias", "base_layer.weight", "base_layer.bias"):
                modules.add(module)
                rows = max(rows, shape[0])
                if module not in saved:
                    whole[name] = f"{module}.{inside.removeprefix('base_layer.')}"
            elif inside in ADAPTED:
                rows = max(rows, shape[ADAPTED[inside]])
    return StoredEmbeddings(whole, tuple(sorted(modules)), rows, trained)


def _embeddings(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The model's input and output embeddings by their names, the adapter's wrapping left aside."""
    inner = unwrapped(model)
    for ask in ("get_input_embeddings", "get_output_embeddings"):
        found = getattr(inner, ask, None)
        module = found() if callable(found) else None
        if module is not None:
            yield from ((name, each) for name, each in inner.named_modules() if each is module)


def embedding_modules(model: nn.Module) -> tuple[str, ...]:
    """Return the names of a model's input and output embeddings."""
    return tuple(name for name, _ in _embeddings(model))


def _trained_rows(config: Mapping[str, Any]) -> Iterator[int]:
    """Rows of the embeddings that are trained one by one."""
    for value in (config.get("trainable_token_indices"), config.get("token_indices")):
        for rows in value.values() if isinstance(value, dict) else [value]:
            yield from (row for row in rows or () if type(row) is int and row >= 0)


def fit_vocabulary(model: nn.Module, stored: StoredEmbeddings, whose: str, *, private: bool) -> None:
    """Grow a base of this load's own to the rows that a version brings; it is never shrunk.

    Raises WrongBase for a base of the caller's, which others may answer with, and where nobody knows the new rows.
    """
    size = vocabulary_size(model)
    if size is None or stored.rows <= size:
        return
    more = f"{whose} was trained with {stored.rows} tokens, and the base has {size}"
    if not private:
        raise WrongBase(
            f"{more}: a model that is given is never resized, since others may answer with it; name the base by its "
            f"folder or id, or call resize_token_embeddings({stored.rows}) on one of its own"
        )
    for name, module in _embeddings(model):
        new = range(size, stored.rows)
        if name not in stored.modules and not stored.trained.issuperset(new) and not _tied(model, module, stored):
            raise WrongBase(f"{more}, and it brings no values for the new rows of {name}: load it on the resized base")
    resize: Any = unwrapped(model).resize_token_embeddings
    resize(stored.rows, mean_resizing=False)


def _tied(model: nn.Module, module: nn.Module, stored: StoredEmbeddings) -> bool:
    """Whether a module's weight is that of another whose rows are stored."""
    both = dict(_embeddings(model))
    return any(both[name].weight is module.weight for name in stored.modules if name in both)


def live_embeddings(model: nn.Module, stored: StoredEmbeddings) -> dict[str, Tensor]:
    """Return the base's own parameters that a file's whole tensors go to, by their names in the file."""
    inner, found = unwrapped(model), {}
    for name, parameter in stored.whole.items():
        path, _, last = parameter.rpartition(".")
        module: Any = inner.get_submodule(path)
        while (below := getattr(module, "base_layer", getattr(module, "original_module", None))) is not None:
            module = below
        found[name] = getattr(module, last)
    return found


def changed_embeddings(live: Mapping[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """Return the stored tensors that are not what the base has already, by their names in the file."""
    found = {}
    with safe_open(folder / WEIGHTS, "pt") as file:
        for name, parameter in live.items():
            value: Tensor = file.get_tensor(name)
            if value.shape != parameter.shape or not torch.equal(value.to(parameter), parameter):
                found[name] = value
    return found
