"""Read the full embeddings that a version stores with its adapter, and resize a base for them.

PEFT saves the full input and output embeddings if the vocabulary grew or if they are adapted, and its loader writes
them into the base. Unsloth and LLaMA-Factory save them as `modules_to_save`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.errors import WrongBase
from adapterhub_fin.plugin.adapter_files import CONFIG, WEIGHTS, bare_name, head_modules
from adapterhub_fin.plugin.model_parts import unwrapped, vocabulary_size
from adapterhub_fin.plugin.stored_tensors import StoredTensors
from adapterhub_fin_registry.io.safetensors_header import TensorInfo, read_header

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
else:
    torch, nn = Lazy("torch"), Lazy("torch.nn")

ADAPTED = {"lora_embedding_A": 1, "lora_B.weight": 0}  # LoRA of the input and output embeddings: the axis of the rows


@dataclass(frozen=True)
class StoredEmbeddings:
    """Describe what a folder stores of a model's vocabulary."""

    overwrites: Mapping[str, str]  # tensor name in the file -> the base's parameter that it replaces
    modules: tuple[str, ...]  # stored in full, also as modules_to_save
    rows: int  # that the base must have; 0 if the folder doesn't say
    trained_rows: frozenset[int]  # rows that are stored one by one

    def rows_before(self, size: int | None) -> int | None:
        """Return the number of rows of a vocabulary of `size`, without those at its end that are stored one by one."""
        while size and size - 1 in self.trained_rows:
            size -= 1
        return size

    def brings_rows(self, base_size: int | None, size: int | None) -> bool:
        """Return whether all rows that a model has beyond those of its recorded base are stored one by one."""
        return base_size is not None and size is not None and self.trained_rows.issuperset(range(base_size, size))


def stored_embeddings(
    model: nn.Module, folder: Path, header: Mapping[str, TensorInfo] | None = None
) -> StoredEmbeddings:
    """Find what a folder stores of the model's input and output embeddings; `header` is its file's, if it was read."""
    if not (folder / CONFIG).is_file():
        return StoredEmbeddings({}, (), 0, frozenset())  # a third party's method, with its own files
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    shapes = {name: tuple(info.shape) for name, info in (header or read_header(folder / WEIGHTS)).items()}
    saved = head_modules(config, {bare_name(name, config): shape for name, shape in shapes.items()})
    trained = frozenset(_trained_rows(config))
    overwrites, modules, rows = {}, set(), max((row + 1 for row in trained), default=0)
    embedding_names = embedding_modules(model)
    for name, shape in shapes.items():
        for module in embedding_names:
            inside = bare_name(name, config).removeprefix(f"{module}.")
            if inside in ("weight", "bias", "base_layer.weight", "base_layer.bias"):
                modules.add(module)
                rows = max(rows, shape[0])
                if module not in saved:
                    overwrites[name] = f"{module}.{inside.removeprefix('base_layer.')}"
            elif inside in ADAPTED:
                rows = max(rows, shape[ADAPTED[inside]])
    return StoredEmbeddings(overwrites, tuple(sorted(modules)), rows, trained)


def _embeddings(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the input and output embeddings of the model under the adapter, with their names."""
    inner = unwrapped(model)
    for getter in ("get_input_embeddings", "get_output_embeddings"):
        method = getattr(inner, getter, None)
        embedding = method() if callable(method) else None
        if embedding is not None:
            yield from ((name, module) for name, module in inner.named_modules() if module is embedding)


def embedding_modules(model: nn.Module) -> tuple[str, ...]:
    """Return the names of a model's input and output embeddings."""
    return tuple(name for name, _ in _embeddings(model))


def _trained_rows(config: Mapping[str, Any]) -> Iterator[int]:
    """Yield the rows of the embeddings that are trained one by one."""
    for value in (config.get("trainable_token_indices"), config.get("token_indices")):
        for rows in value.values() if isinstance(value, dict) else [value]:
            yield from (row for row in rows or () if type(row) is int and row >= 0)


def fit_vocabulary(model: nn.Module, stored: StoredEmbeddings, whose: str, *, private: bool) -> None:
    """Resize a base to the rows that a version stores, if it has fewer; `private` says that only this load uses it.

    Raises WrongBase for a base that the caller passed, since it may be shared, and if new rows would have no values.
    """
    size = vocabulary_size(model)
    if size is None or stored.rows <= size:
        return
    more = f"{whose} was trained with {stored.rows} tokens, and the base has {size}"
    if not private:
        raise WrongBase(
            f"{more}: a model that is passed in is never resized, since it may be shared; name the base by its folder "
            f"or id, or call resize_token_embeddings({stored.rows}) on a model of its own"
        )
    for name, module in _embeddings(model):
        new = range(size, stored.rows)
        if name not in stored.modules and not stored.trained_rows.issuperset(new) and not _tied(model, module, stored):
            raise WrongBase(f"{more}, and it brings no values for the new rows of {name}: load it on the resized base")
    resize: Any = unwrapped(model).resize_token_embeddings
    resize(stored.rows, mean_resizing=False)


def _tied(model: nn.Module, module: nn.Module, stored: StoredEmbeddings) -> bool:
    """Return whether a module shares its weight with another one whose rows are stored."""
    both = dict(_embeddings(model))
    return any(both[name].weight is module.weight for name in stored.modules if name in both)


def live_embeddings(model: nn.Module, stored: StoredEmbeddings) -> dict[str, Tensor]:
    """Return the base's parameters that a file's tensors replace, by the tensors' names in the file."""
    inner, live = unwrapped(model), {}
    for name, parameter in stored.overwrites.items():
        path, _, last = parameter.rpartition(".")
        module: Any = inner.get_submodule(path)
        while (below := getattr(module, "base_layer", getattr(module, "original_module", None))) is not None:
            module = below
        live[name] = getattr(module, last)
    return live


def changed_embeddings(live: Mapping[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """Return the stored tensors whose values differ from the base's, by their names in the file."""
    if not live:
        return {}
    changed, stored = {}, StoredTensors.open(folder / WEIGHTS)
    for name, parameter in live.items():
        value = stored[name]
        if value.shape != parameter.shape or not torch.equal(value.to(parameter), parameter):
            changed[name] = value
    return changed
