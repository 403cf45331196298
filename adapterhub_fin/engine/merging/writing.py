"""Write changes as a plain PEFT folder of type LORA, each module with the rank that its change has."""

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
    places: Mapping[str, AdaptedParameter],
    changes: Mapping[str, LowRank],
    *,
    dtype: torch.dtype,
    whole: Mapping[str, Tensor] | None = None,
    modules: Sequence[str] = (),
    task: str | None = None,
    base: str | None = None,
    fan_in_fan_out: bool = False,
    alike: bool = False,
) -> dict[str, Any]:
    """Write a folder that `PeftModel.from_pretrained` loads, and give its configuration.

    `changes` are by the parameter's name, as `places` are; `whole` holds the values of the `modules` that travel whole,
    by the parameter's name too. The scale of every module is 1: what scaled a change is in its factors. `alike` says
    that the base may have other modules whose names end as those of the places do.
    """
    tensors, ranks = {}, {}
    for name, place in places.items():
        if place.kind != "bias":
            down, up = _factors(changes[name], place, dtype)
            ending = "lora_embedding_{}" if place.kind == "embedding" else "lora_{}.weight"
            tensors[f"{PREFIX}{place.module}.{ending.format('A')}"] = down
            tensors[f"{PREFIX}{place.module}.{ending.format('B')}"] = up
            ranks[place.module] = down.shape[0]
    biases = {place.module: name for name, place in places.items() if place.kind == "bias"}
    for place in places.values() if biases else ():  # PEFT wants one at every layer, or none
        if place.kind in ("linear", "convolution"):
            found = biases.get(place.module)
            value = changes[found].dense()[:, 0] if found else torch.zeros(place.shape[0])
            tensors[f"{PREFIX}{place.module}.lora_B.bias"] = value.to(dtype)
    tensors |= {f"{PREFIX}{name}": value for name, value in (whole or {}).items()}
    config = _config(ranks, modules, bool(biases)) | {
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


def _factors(change: LowRank, place: AdaptedParameter, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A and B as PEFT has them for that kind of layer; no change at all has rank 1, since PEFT knows no lower one."""
    rows, columns = place.matrix
    left, right = change.left if change.scale == 1 else change.scale * change.left, change.right
    if change.rank == 0:
        left, right = left.new_zeros(rows, 1), right.new_zeros(1, columns)
    if place.kind == "embedding":
        return left.T.to(dtype), right.T.to(dtype)
    kernel = place.shape[2:]
    return right.reshape(-1, *place.shape[1:]).to(dtype), left.reshape(rows, -1, *(1 for _ in kernel)).to(dtype)


def _config(ranks: Mapping[str, int], modules: Sequence[str], biased: bool) -> dict[str, Any]:
    """PEFT's configuration; alpha is the rank everywhere, so that nothing is scaled."""
    usual = Counter(ranks.values()).most_common(1)[0][0] if ranks else 1
    # PEFT reads a key as a regular expression for a name's end; one that begins with ^ fits the whole name alone.
    others = {f"^{re.escape(module)}": rank for module, rank in sorted(ranks.items()) if rank != usual}
    return {
        "peft_type": "LORA",
        "r": usual,
        "lora_alpha": usual,
        "rank_pattern": others,
        "alpha_pattern": others,
        "target_modules": sorted(ranks),
        "modules_to_save": sorted(modules) or None,
        "lora_bias": biased,
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
        "init_lora_weights": True,
        "inference_mode": True,
    }
