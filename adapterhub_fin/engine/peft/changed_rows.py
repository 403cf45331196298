"""Find the embeddings of a model that differ from its recorded base's, so that a save stores them.

PEFT's own `save_embedding_layers="auto"` only compares sizes, and assumes an unchanged vocabulary if it can't read the
base's configuration (peft issues 2898, 1457). It never notices rows that were reinitialised or trained in place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base import find as bases
from adapterhub_fin.engine.peft.embeddings import embedding_modules
from adapterhub_fin.errors import BadRecipe, BaseNotFound, NotFound, Refused
from adapterhub_fin.recipe.choices import BaseChoice

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from torch import Tensor, nn

    from adapterhub_fin_registry import Registry
else:
    torch, nn = Lazy("torch"), Lazy("torch.nn")


def base_folder(choice: BaseChoice | None, base: nn.Module, registry: Registry) -> Path | None:
    """Return the folder of the chosen base, else of the one the model was loaded from; None if it isn't here."""
    config: Any = getattr(base, "config", None)
    origin = getattr(config, "_name_or_path", "")
    for source in (choice, origin):
        if source:
            with suppress(BaseNotFound, BadRecipe, NotFound):
                named = BaseChoice.read(source) if isinstance(source, str) else source
                return bases.find_base(named, registry=registry).folder
    return None


def changed_rows(base: nn.Module, folder: Path | None) -> Iterator[tuple[str, Tensor]]:
    """Yield the parameters of a model's embeddings that its base's file lacks or has other values for.

    Yields nothing if `folder` is None or its weights can't be read without running code.
    """
    if folder is None:
        return
    from adapterhub_fin.engine.base.model_tensors import ModelTensors

    try:
        stored = ModelTensors(folder, base).by_key  # type: ignore[arg-type]  # a plain module has no embeddings
    except (Refused, BaseNotFound):
        return
    seen: set[int] = set()
    for module in embedding_modules(base):
        for last, parameter in base.get_submodule(module).named_parameters():
            key = f"{module}.{last}"
            if id(parameter) in seen or not parameter.is_floating_point():
                continue  # tied to one that was compared already, or quantized and frozen
            seen.add(id(parameter))
            value = stored[key].tensor() if key in stored and stored[key].direct else None
            if value is None or value.shape != parameter.shape or not torch.equal(value.to(parameter), parameter):
                yield key, parameter.detach()


def stored_names(model: PeftModel, changed: Mapping[str, Tensor], prompt: bool) -> dict[str, Tensor]:
    """Return changed parameters under the names that PEFT stores and loads them by."""
    prefix = "base_model." if prompt else "base_model.model."
    wrapped = {name for name, module in model.get_base_model().named_modules() if hasattr(module, "base_layer")}
    renamed = {}
    for key, value in changed.items():
        module, _, last = key.rpartition(".")
        renamed[f"{prefix}{module}.base_layer.{last}" if module in wrapped else f"{prefix}{key}"] = value
    return renamed
