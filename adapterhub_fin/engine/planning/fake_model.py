"""Build a run's model of fake tensors, which have shapes, dtypes and a device but no memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from adapterhub_fin.engine.base.load_base import set_attention, spare_head
from adapterhub_fin.engine.base.locks import on_meta
from adapterhub_fin.engine.base.model_tensors import DTYPES
from adapterhub_fin.engine.base.padding import align_padding
from adapterhub_fin.engine.base.tensor_file import FLOAT_DTYPES
from adapterhub_fin.engine.planning.private_torch import FakeTensorMode
from adapterhub_fin.errors import BadRecipe, NotAnAdapter
from adapterhub_fin_registry.io.safetensors_header import read_header

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PretrainedConfig

    from adapterhub_fin.engine.training.prepare import PreparedRun

FOUR_BIT, EIGHT_BIT = "Params4bit", "Int8Params"  # by name: bitsandbytes need not be installed


def fake_model(prepared: PreparedRun, fake: FakeTensorMode) -> nn.Module:
    """Return the adapted model that training would have, in its dtypes and quantization, of fake tensors on the CPU.

    Raises BadRecipe for a quantization other than bitsandbytes' four and eight bits.
    """
    requested = prepared.method.loading().get("dtype")
    dtype = requested or loaded_dtype(prepared.config, prepared.source.folder) or torch.float32
    with on_meta():
        skeleton: Any = prepared.head.skeleton(prepared.config)
        skeleton = skeleton.to(dtype)
        if (attention := prepared.recipe.training.attn_implementation) is not None:
            set_attention(skeleton, attention)
        modules_to_save = tuple(prepared.head.new_modules(skeleton))
        _quantize(skeleton, prepared)
        # Without values, a tokenizer is of no use to a method.
        context = dataclasses.replace(prepared.context, modules_to_save=modules_to_save, tokenizer=None)
        model = prepared.method.attach(skeleton, context)
    align_padding(model, prepared.tokenizer)
    with fake:
        _materialise(model, dtype)
    return model


def loaded_dtype(config: PretrainedConfig, folder: Path) -> torch.dtype | None:
    """Return the dtype that Transformers loads a base in: the configuration's, else that of the first float tensor.

    Only the headers of the files are read. Returns None where neither states a dtype.
    """
    stated = getattr(config, "dtype", None)
    if stated is not None:
        dtype: torch.dtype = stated if isinstance(stated, torch.dtype) else getattr(torch, str(stated))
        return dtype
    for path in sorted(folder.glob("*.safetensors")):
        try:
            dtypes = [DTYPES[info.dtype] for info in read_header(path.resolve()).values() if info.dtype in FLOAT_DTYPES]
        except (NotAnAdapter, OSError):
            continue  # training will report what is wrong with the file
        if dtypes:
            return dtypes[0]
    return None


def _quantize(skeleton: Any, prepared: PreparedRun) -> None:
    """Replace linear layers with layers of quantized weights, as Transformers does before loading."""
    requested = prepared.method.loading().get("quantization_config")
    stored = getattr(prepared.config, "quantization_config", None)
    known = getattr(requested, "load_in_4bit", False) or getattr(requested, "load_in_8bit", False)
    if stored is not None or (requested is not None and not known):
        raise BadRecipe(
            "plan knows bitsandbytes' four and eight bits and no other quantization: try ahf train --dry-run"
        )
    if requested is None:
        return
    from transformers.quantizers.auto import AutoHfQuantizer

    build: Any = AutoHfQuantizer
    if known and requested.load_in_8bit:
        requested.llm_int8_threshold = 0.0  # which columns exceed it depends on values
    spare_head(requested, prepared.head, prepared.source.folder)
    quantizer = build.from_config(requested)
    quantizer.preprocess_model(skeleton, device_map={"": "cpu"}, dtype=skeleton.dtype)
    quantizer.postprocess_model(skeleton)


def _materialise(model: nn.Module, dtype: torch.dtype) -> None:
    """Replace all meta tensors with fake ones: parameters, buffers and plain attributes. Shared tensors stay shared."""
    replaced: dict[int, Tensor] = {}
    for module in model.modules():
        for holder in (vars(module), *(value for value in vars(module).values() if isinstance(value, dict))):
            for name, value in list(holder.items()):
                if isinstance(value, Tensor) and value.is_meta:
                    if id(value) not in replaced:
                        replaced[id(value)] = _fake(value, dtype)
                    holder[name] = replaced[id(value)]


def _fake(value: Tensor, dtype: torch.dtype) -> Tensor:
    if type(value).__name__ == FOUR_BIT:
        return _four_bit(value, dtype)
    if type(value).__name__ == EIGHT_BIT:
        return _eight_bit(value)
    empty = torch.empty(value.shape, dtype=value.dtype, device="cpu")
    return nn.Parameter(empty, requires_grad=value.requires_grad) if isinstance(value, nn.Parameter) else empty


def _four_bit(value: Any, dtype: torch.dtype) -> Tensor:
    """Return packed values and their constants, as bitsandbytes holds them.

    Its own class can't hold a fake tensor, and its own function would keep a fake table for every later use in this
    process.
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
    result: Tensor = weight
    return result


def _eight_bit(value: Any) -> Tensor:
    """Return a weight of one byte an element with a float32 scale for each row, as bitsandbytes holds it."""
    weight: Any = nn.Parameter(torch.empty(value.shape, dtype=torch.int8), requires_grad=False)
    weight.SCB, weight.CB = torch.empty(value.shape[0]), weight.data
    weight.has_fp16_weights = False
    result: Tensor = weight
    return result


@contextmanager
def expert_fallback() -> Iterator[None]:
    """Make Transformers compute fused experts by its own fallback.

    torch's kernel takes no fake float32 tensors (torch 2.13).
    """
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


def resident_tensors(model: nn.Module) -> list[Tensor]:
    """Return a model's tensors, of any shape: parameters, buffers, and the constants of quantized weights."""
    tensors = [*model.parameters(), *model.buffers()]
    scales = (getattr(parameter, "SCB", None) for parameter in model.parameters())
    tensors += [value for value in scales if isinstance(value, Tensor)]
    for state in (getattr(parameter, "quant_state", None) for parameter in model.parameters()):
        for constants in (state, getattr(state, "state2", None)):
            tensors += [value for value in vars(constants or object).values() if isinstance(value, Tensor)]
    return tensors
