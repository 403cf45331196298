"""Read an adapter's tensors out of a PEFT model, whatever the adapter's name is.

PEFT finds tensors by the adapter's name inside their keys, so that an adapter named "weight" saves its siblings' and
one named "q_proj" loses its own (peft issues 3584, 2252, 2699). So PEFT reads a copy of the model's structure, which
shares every weight, and in which the adapters have safe names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from peft.utils import AuxiliaryTrainingWrapper
from torch import Tensor, nn

from adapterhub_fin.engine.base.adapter_names import new_adapter_name, sharing_copy
from adapterhub_fin.engine.peft.adapter_io import write_tensors
from adapterhub_fin.engine.peft.changed_rows import stored_names
from adapterhub_fin.errors import BadRecipe, WrongTensors
from adapterhub_fin.plugin.adapter_files import CONFIG, WEIGHTS, is_prompt
from adapterhub_fin.plugin.peft_method import plain

MODULE_ATTRIBUTES = frozenset(vars(nn.Module()))  # attributes of every module, none of which is keyed by adapters


def active_adapter(model: PeftModel) -> str:
    """Return the name of a PEFT model's one active adapter.

    Raises BadRecipe for another model, for several active adapters, and for one that is merged or replicated layers.
    """
    if not isinstance(model, PeftModel):
        raise BadRecipe(f"save takes a PeftModel, not {type(model).__name__}: wrap the model with peft.get_peft_model")
    if len(model.active_adapters) != 1:
        raise BadRecipe(
            f"one adapter is saved at a time, and {', '.join(model.active_adapters)} are active: use set_adapter"
        )
    merged = (module for module in model.modules() if isinstance(module, BaseTunerLayer) and module.merged)
    if (layer := next(merged, None)) is not None:
        names = ", ".join(map(str, layer.merged_adapters))
        raise BadRecipe(
            f"{names} is merged into the base's weights: call unmerge_adapter() first, or save before merging"
        )
    adapter = str(model.active_adapters[0])
    if getattr(model.peft_config[adapter], "layer_replication", None):
        raise BadRecipe(
            f"{adapter} replicated its base's layers, so that the original base isn't in memory any more: write "
            "it with save_pretrained, and take the folder in with `ahf import`"
        )
    return adapter


def read_adapter(model: PeftModel, adapter: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return one adapter's configuration and its tensors, by their names in a PEFT file.

    Raises WrongTensors if there is nothing to save.
    """
    safe_names = {name: new_adapter_name() for name in model.peft_config}
    twin: Any = renamed(sharing_copy(model), safe_names)  # untyped, as PEFT is
    with torch.no_grad():
        tensors = get_peft_model_state_dict(twin, adapter_name=safe_names[adapter], save_embedding_layers=False)
    if not tensors:
        raise WrongTensors(f"the adapter {adapter!r} has no tensor to save: it adapts no layer of this model")
    config = plain(twin.peft_config[safe_names[adapter]].to_dict())  # after the call above, which cleans its names
    return config, {name: tensors[name] for name in sorted(tensors)}


def renamed(model: Any, names: Mapping[str, str]) -> Any:
    """Rename the adapters of a PEFT model in place, and return the model; `names` maps each old name to its new one."""
    owners = (BaseTunerLayer, AuxiliaryTrainingWrapper, BaseTuner, PeftModel)
    seen: set[int] = set()
    modules: list[nn.Module] = list(model.modules())
    for module in modules:
        if isinstance(module, owners):
            own = {key: value for key, value in vars(module).items() if key not in MODULE_ATTRIBUTES}
            for key, value in {**own, **module._modules}.items():
                _rename(module, key, value, names, seen)
    for config in model.peft_config.values():
        if pattern := getattr(config, "rank_pattern", None):  # AdaLoRA's keys end in the adapter's name
            config.rank_pattern = {_ending(key, names): rank for key, rank in pattern.items()}
    return model


def _rename(owner: Any, key: str, value: Any, names: Mapping[str, str], seen: set[int]) -> None:
    if isinstance(value, str) and value in names and key.endswith(("active_adapter", "adapter_name")):
        setattr(owner, key, names[value])
    elif isinstance(value, list) and value and set(map(str, value)) <= names.keys():
        value[:] = [names[name] for name in value]
    elif isinstance(value, set) and value and value <= names.keys():
        setattr(owner, key, {names[name] for name in value})
    elif hasattr(value, "keys") and id(value) not in seen:
        seen.add(id(value))
        _rename_keys(value, names)


def _rename_keys(table: Any, names: Mapping[str, str]) -> None:
    """Rename the keys of a dict, a ModuleDict and the like if all of them are adapters."""
    keys = list(table.keys())
    if keys and all(isinstance(key, str) and key in names for key in keys):
        renamed_items = {names[key]: table[key] for key in keys}
        for key in keys:
            del table[key]
        for key, value in renamed_items.items():
            table[key] = value


def _ending(key: str, names: Mapping[str, str]) -> str:
    head, _, last = key.rpartition(".")
    return f"{head}.{names[last]}" if last in names else key


def write_peft_folder(
    model: PeftModel, adapter: str, folder: Path, base: str | None, embeddings: Mapping[str, Tensor]
) -> None:
    """Write one adapter as a plain PEFT folder; `base` is the id that its configuration names.

    `embeddings` are the base's parameters with new or changed rows, by their names in the base. Raises WrongTensors if
    there is nothing to save and WriteFailed if the file can't be written.
    """
    config, tensors = read_adapter(model, adapter)
    saved = stored_names(model, embeddings, is_prompt(config))
    config |= {"inference_mode": True, "base_model_name_or_path": base}
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    write_tensors({**saved, **tensors}, folder / WEIGHTS)
