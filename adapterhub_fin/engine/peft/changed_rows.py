"""Find the rows of a model's embeddings that its recorded base does not have, so that a save stores them.

PEFT's own `save_embedding_layers="auto"` compares sizes, and takes the vocabulary for unchanged where it can't read the
base's configuration (peft 2898, 1457); rows that were drawn anew or trained in place it never sees.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base import find as bases
from adapterhub_fin.engine.peft.embeddings import embedding_modules
from adapterhub_fin.errors import BadRecipe, BaseNotFound, Refused
from adapterhub_fin.recipe.recipe import BaseChoice

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from torch import Tensor, nn
else:
    torch, nn = Lazy("torch"), Lazy("torch.nn")


def base_folder(choice: BaseChoice | None, base: nn.Module) -> Path | None:
    """Return the folder of the recorded base, or that the model was read from; None if neither is on this machine."""
    config: Any = getattr(base, "config", None)
    origin = getattr(config, "_name_or_path", "")
    for each in (choice, origin):
        if each:
            with suppress(BaseNotFound, BadRecipe):
                return bases.find_base(BaseChoice.read(each) if isinstance(each, str) else each).folder
    return None


def changed_rows(base: nn.Module, folder: Path | None) -> Iterator[tuple[str, Tensor]]:
    """Yield the parameters of a model's embeddings that differ from its base's file, or that the file has not."""
    if folder is None:
        return
    from adapterhub_fin.engine.base.model_tensors import ModelTensors

    try:
        stored = ModelTensors(folder, base).by_key  # type: ignore[arg-type]  # a plain module has no embeddings
    except (Refused, BaseNotFound):  # weights that can't be read without running code: nothing to compare with
        return
    seen: set[int] = set()
    for module in embedding_modules(base):
        for last, parameter in base.get_submodule(module).named_parameters():
            key = f"{module}.{last}"
            if id(parameter) in seen or not parameter.is_floating_point():
                continue  # tied to one that was compared, or quantized and frozen
            seen.add(id(parameter))
            found = stored[key].tensor() if key in stored and stored[key].direct else None
            if found is None or found.shape != parameter.shape or not torch.equal(found.to(parameter), parameter):
                yield key, parameter.detach()


def stored_names(model: PeftModel, changed: Mapping[str, Tensor], prompt: bool) -> dict[str, Tensor]:
    """Return changed parameters by the names under which PEFT stores and loads them."""
    prefix = "base_model." if prompt else "base_model.model."
    wrapped = {name for name, module in model.get_base_model().named_modules() if hasattr(module, "base_layer")}
    found = {}
    for key, value in changed.items():
        module, _, last = key.rpartition(".")
        found[f"{prefix}{module}.base_layer.{last}" if module in wrapped else f"{prefix}{key}"] = value
    return found
