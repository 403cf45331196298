"""Read an adapter's tensors out of a PEFT model whatever its runtime name is.

PEFT finds tensors by the adapter's name within their keys, so that an adapter named "weight" saves its siblings' and
one named "q_proj" loses its own (peft 3584, 2252, 2699). Here the set of tensors is read from a twin without values
that carries the same configuration under a name of ours, and each is then taken from its own place.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from peft import PeftModel, get_peft_model_state_dict
from torch import Tensor

from adapterhub_fin.engine.peft_folder import CONFIG, WEIGHTS
from adapterhub_fin.engine.peft_method import plain
from adapterhub_fin.engine.slots import meta_twin, new_slot
from adapterhub_fin.engine.weights import write_tensors
from adapterhub_fin.errors import BadRecipe, WrongTensors


def active_adapter(model: PeftModel) -> str:
    """The one active adapter of a PEFT model."""
    if not isinstance(model, PeftModel):
        raise BadRecipe(f"save takes a PeftModel, not {type(model).__name__}: wrap the model with peft.get_peft_model")
    if len(model.active_adapters) != 1:
        raise BadRecipe(
            f"one adapter is saved at a time, and {', '.join(model.active_adapters)} are active: use set_adapter"
        )
    return str(model.active_adapters[0])


def adapter_tensors(model: PeftModel, adapter: str) -> dict[str, Tensor]:
    """Tensors of one adapter by their name in a PEFT file; WrongTensors where the model lacks one."""
    slot = new_slot()
    twin: Any = meta_twin(model)  # untyped, as PEFT is
    config = copy.deepcopy(model.peft_config[adapter])
    twin.add_adapter(slot, config)
    for other in [name for name in twin.peft_config if name != slot]:
        twin.delete_adapter(other)
    keys = dict(twin.state_dict())
    named = get_peft_model_state_dict(twin, state_dict=keys, adapter_name=slot, save_embedding_layers=False)
    place = {id(tensor): key for key, tensor in keys.items()}
    live = dict(model.state_dict())
    found = {}
    for name, tensor in sorted(named.items()):
        key = ".".join(adapter if part == slot else part for part in place[id(tensor)].split("."))
        if key not in live:
            raise WrongTensors(
                f"the model has no {key}, which its adapter {adapter!r} needs: save it before it is merged"
            )
        found[name] = live[key]
    return found


def write_peft_folder(model: PeftModel, adapter: str, folder: Path, base: str | None) -> None:
    """Write one adapter as a plain PEFT folder that names its base by id."""
    config = plain(model.peft_config[adapter].to_dict()) | {"inference_mode": True, "base_model_name_or_path": base}
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    write_tensors(adapter_tensors(model, adapter), folder / WEIGHTS)
