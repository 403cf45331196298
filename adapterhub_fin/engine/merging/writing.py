"""Write changes as a plain PEFT folder of type LORA, each module with the rank of its change."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.merging.parameters import AdaptedParameter
from adapterhub_fin.engine.peft.adapter_io import write_tensors
from adapterhub_fin.plugin.adapter_files import CONFIG, PREFIX, WEIGHTS
from adapterhub_fin.plugin.low_rank import LowRank

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = Lazy("torch")


def write_lora(
    folder: Path,
    parameters: Mapping[str, AdaptedParameter],
    changes: Mapping[str, LowRank],
    *,
    dtype: torch.dtype,
    full_weights: Mapping[str, Tensor] | None = None,
    modules_to_save: Sequence[str] = (),
    task: str | None = None,
    base: str | None = None,
    fan_in_fan_out: bool = False,
    alike: bool = False,
) -> dict[str, Any]:
    """Write a folder that `PeftModel.from_pretrained` loads, and return its configuration.

    `changes` and `parameters` are by parameter name, and so is `full_weights`, which holds the weights of
    `modules_to_save`. The scale of every module is 1: a change's scale goes into its factors. `alike` says that the
    base may have other modules whose names end like those of the parameters.
    """
    tensors, ranks = {}, {}
    for name, parameter in parameters.items():
        if parameter.kind != "bias":
            down, up = _factors(changes[name], parameter, dtype)
            ending = "lora_embedding_{}" if parameter.kind == "embedding" else "lora_{}.weight"
            tensors[f"{PREFIX}{parameter.module}.{ending.format('A')}"] = down
            tensors[f"{PREFIX}{parameter.module}.{ending.format('B')}"] = up
            ranks[parameter.module] = down.shape[0]
    biases = {parameter.module: name for name, parameter in parameters.items() if parameter.kind == "bias"}
    for parameter in parameters.values() if biases else ():  # PEFT wants one at every layer, or none
        if parameter.kind in ("linear", "convolution"):
            bias_name = biases.get(parameter.module)
            value = changes[bias_name].dense()[:, 0] if bias_name else torch.zeros(parameter.shape[0])
            tensors[f"{PREFIX}{parameter.module}.lora_B.bias"] = value.to(dtype)
    tensors |= {f"{PREFIX}{name}": value for name, value in (full_weights or {}).items()}
    config = _config(ranks, modules_to_save, bool(biases)) | {
        "task_type": task,
        "base_model_name_or_path": base,
        "fan_in_fan_out": fan_in_fan_out,
    }
    if alike:  # PEFT would adapt those too
        config["exclude_modules"] = f"(?!(?:{'|'.join(map(re.escape, sorted(ranks)))})$).*"
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(tensors, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return config


def _factors(change: LowRank, parameter: AdaptedParameter, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return A and B in PEFT's shapes for that kind of layer; a zero change has rank 1, PEFT's smallest."""
    rows, columns = parameter.matrix
    left, right = change.left if change.scale == 1 else change.scale * change.left, change.right
    if change.rank == 0:
        left, right = left.new_zeros(rows, 1), right.new_zeros(1, columns)
    if parameter.kind == "embedding":
        return left.T.to(dtype), right.T.to(dtype)
    kernel = parameter.shape[2:]
    return right.reshape(-1, *parameter.shape[1:]).to(dtype), left.reshape(rows, -1, *(1 for _ in kernel)).to(dtype)


def _config(ranks: Mapping[str, int], modules_to_save: Sequence[str], biased: bool) -> dict[str, Any]:
    """Return PEFT's configuration; alpha equals the rank everywhere, so that the scale is 1."""
    usual = Counter(ranks.values()).most_common(1)[0][0] if ranks else 1
    # PEFT reads a key as a regular expression for the end of a name; one that begins with ^ matches the whole name.
    others = {f"^{re.escape(module)}": rank for module, rank in sorted(ranks.items()) if rank != usual}
    return {
        "peft_type": "LORA",
        "r": usual,
        "lora_alpha": usual,
        "rank_pattern": others,
        "alpha_pattern": others,
        "target_modules": sorted(ranks),
        "modules_to_save": sorted(modules_to_save) or None,
        "lora_bias": biased,
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
        "init_lora_weights": True,
        "inference_mode": True,
    }
