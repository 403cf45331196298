"""A run's model without its memory: fake tensors have shapes, types and a device, and PyTorch computes with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from adapterhub_fin.engine.base.load_base import spare_head
from adapterhub_fin.engine.base.locks import on_meta
from adapterhub_fin.engine.base.padding import align_padding
from adapterhub_fin.engine.base.tensor_file import FLOAT_DTYPES
from adapterhub_fin.errors import BadRecipe, NotAnAdapter
from adapterhub_fin.plugin.backbone import outside_backbone
from adapterhub_fin_registry.io.safetensors_header import read_header

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PretrainedConfig

    from adapterhub_fin.engine.training.prepare import PreparedRun

FLOATS: dict[str, torch.dtype] = {kind: getattr(torch, name) for kind, name in FLOAT_DTYPES.items()}
FOUR_BIT = "Params4bit"  # by name: bitsandbytes need not be installed


def shadow_model(draft: PreparedRun, fake: FakeTensorMode) -> nn.Module:
    """The adapted model as training would have it, in its types and quantization, of fake tensors on the CPU.

    Raises BadRecipe for a quantization other than four bits of bitsandbytes.
    """
    asked = draft.method.loading().get("dtype")
    dtype = asked or loaded_dtype(draft.config, draft.source.folder) or torch.float32
    with on_meta():
        skeleton: Any = draft.head.skeleton(draft.config)
        skeleton = skeleton.to(dtype)
        drawn = tuple(outside_backbone(skeleton)) if draft.head.task == "SEQ_CLS" else ()
        _quantize(skeleton, draft)
        site = dataclasses.replace(draft.site, modules_to_save=drawn, tokenizer=None)  # without values, no text helps
        model = draft.method.attach(skeleton, site)
    align_padding(model, draft.tokenizer)
    with fake:
        _materialise(model, dtype)
    return model


def loaded_dtype(config: PretrainedConfig, folder: Path) -> torch.dtype | None:
    """The type that Transformers loads a base in: the configuration's, else that of its file's first floats.

    Of the file the header alone is read; None where neither says it.
    """
    stated = getattr(config, "dtype", None)
    if stated is not None:
        found: torch.dtype = stated if isinstance(stated, torch.dtype) else getattr(torch, str(stated))
        return found
    for path in sorted(folder.glob("*.safetensors")):
        try:
            kinds = [FLOATS[each.dtype] for each in read_header(path.resolve()).values() if each.dtype in FLOATS]
        except (NotAnAdapter, OSError):
            continue  # training will say what is wrong with the file; a plan needs none
        if kinds:
            return kinds[0]
    return None


def _quantize(skeleton: Any, draft: PreparedRun) -> None:
    """Put the layers that hold quantized weights in place of the linear ones, as Transformers does before loading."""
    wanted = draft.method.loading().get("quantization_config")
    stored = getattr(draft.config, "quantization_config", None)
    if stored is not None or (wanted is not None and not getattr(wanted, "load_in_4bit", False)):
        raise BadRecipe("plan knows four bits of bitsandbytes and no other quantization: try ahf train --dry-run")
    if wanted is None:
        return
    from transformers.quantizers.auto import AutoHfQuantizer

    build: Any = AutoHfQuantizer
    spare_head(wanted, draft.head, draft.source.folder)
    quantizer = build.from_config(wanted)
    quantizer.preprocess_model(skeleton, device_map={"": "cpu"}, dtype=skeleton.dtype)
    quantizer.postprocess_model(skeleton)


def _materialise(model: nn.Module, dtype: torch.dtype) -> None:
    """Fake tensors in place of all meta ones: parameters, buffers and plain attributes; what is shared stays shared."""
    made: dict[int, Tensor] = {}
    for module in model.modules():
        for holder in (vars(module), *(value for value in vars(module).values() if isinstance(value, dict))):
            for name, value in list(holder.items()):
                if isinstance(value, Tensor) and value.is_meta:
                    if id(value) not in made:
                        made[id(value)] = _fake(value, dtype)
                    holder[name] = made[id(value)]


def _fake(value: Tensor, dtype: torch.dtype) -> Tensor:
    if type(value).__name__ == FOUR_BIT:
        return _four_bit(value, dtype)
    empty = torch.empty(value.shape, dtype=value.dtype, device="cpu")
    return nn.Parameter(empty, requires_grad=value.requires_grad) if isinstance(value, nn.Parameter) else empty


def _four_bit(value: Any, dtype: torch.dtype) -> Tensor:
    """Packed values and their constants, as bitsandbytes holds them; its own class can't hold a fake tensor.

    Its own function can't be called: it would keep a fake table for every later use in this process.
    """
    from bitsandbytes.functional import QuantState

    packed, scales = torch.ops.bitsandbytes.quantize_4bit(
        torch.empty(value.shape, dtype=dtype), value.blocksize, value.quant_type, value.quant_storage
    )
    build: Any = QuantState
    nested: dict[str, Any] = {}
    if value.compress_statistics:
        table, size = torch.empty(256), 256
        scales, outer = torch.ops.bitsandbytes.quantize_blockwise(scales, table, size)
        state = build(absmax=outer, code=table, blocksize=size, dtype=torch.float32)
        nested = {"offset": torch.empty(()), "state2": state}
    weight: Any = nn.Parameter(packed, requires_grad=False)
    weight.quant_state = build(
        absmax=scales,
        shape=value.shape,
        dtype=dtype,
        blocksize=value.blocksize,
        code=torch.empty(16),
        quant_type=value.quant_type,
        **nested,
    )
    weight.bnb_quantized = True
    found: Tensor = weight
    return found


@contextmanager
def shadow_experts() -> Iterator[None]:
    """Let Transformers compute fused experts by its own fallback: torch's kernel takes no fake float32 (torch 2.13)."""
    from transformers.integrations import moe

    before = getattr(moe, "_can_use_grouped_mm", None)
    if before is None:
        yield
        return
    setattr(moe, "_can_use_grouped_mm", lambda *tensors: False)  # noqa: B010 - it is private there
    try:
        yield
    finally:
        setattr(moe, "_can_use_grouped_mm", before)  # noqa: B010


def held(model: nn.Module) -> list[Tensor]:
    """All that a model holds in memory: parameters, buffers, and the constants of quantized weights."""
    tensors = [*model.parameters(), *model.buffers()]
    for state in (getattr(parameter, "quant_state", None) for parameter in model.parameters()):
        for each in (state, getattr(state, "state2", None)):
            tensors += [value for value in vars(each or object).values() if isinstance(value, Tensor)]
    return tensors
