"""Take the fingerprint of a base from the model itself, so that two models can be told apart.

The structure digest covers the names and logical shapes of the backbone's parameters. The weight probe holds eight
elements of each parameter, and sums over all rows of the embeddings. Both leave out heads and whatever an adapter has
added (docs/reference/format.md, `base`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.row_sums import row_sums
from adapterhub_fin.errors import WrongBase
from adapterhub_fin.plugin.model_parts import (
    ADAPTER_NAME,
    backbone,
    backbone_prefix,
    bare,
    input_embedding,
    model_part,
    unwrapped,
    weight_of,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from transformers import PretrainedConfig, PreTrainedTokenizerBase
else:
    torch = Lazy("torch")

PROBED = 8
# Keys of a configuration that say how a model is run or displayed, and not what it computes.
VOLATILE = frozenset(
    [
        "_name_or_path",
        "transformers_version",
        "architectures",
        "dtype",
        "torch_dtype",
        "id2label",
        "label2id",
        "num_labels",
        "problem_type",
        "use_cache",
        "output_attentions",
        "output_hidden_states",
        "return_dict",
        "return_dict_in_generate",
        "gradient_checkpointing",
        "pad_token_id",
        "pretraining_tp",
        "quantization_config",
        "finetuning_task",
        "attn_implementation",
        "_attn_implementation_autoset",
        "experts_implementation",
        "vocab_size",
    ]
)


def base_parameters(model: nn.Module, leave_out: Collection[str] = ()) -> Iterator[tuple[str, Tensor]]:
    """Yield the backbone's parameters with their names in a bare base, without what an adapter added.

    `leave_out` names modules whose weights are stored with a version.
    """
    core, prefix = backbone(model), backbone_prefix(model)
    skipped = tuple(f"{name.removeprefix(prefix)}." for name in leave_out)
    seen: set[int] = set()
    for name, parameter in _bare_parameters(core, ""):
        if id(parameter) not in seen and not name.startswith(skipped):
            yield name, parameter
        seen.add(id(parameter))


def _bare_parameters(module: nn.Module, prefix: str) -> Iterator[tuple[str, Tensor]]:
    module = bare(module)
    scales = getattr(getattr(module, "state", None), "SCB", None)
    if scales is not None and getattr(weight := weight_of(module), "SCB", scales) is None:
        # An eight-bit layer of bitsandbytes takes the scales from its weight when it first computes.
        setattr(weight, "SCB", scales)  # noqa: B010 - mypy knows no such attribute of a tensor
    for name, parameter in module.named_parameters(recurse=False):
        if not ADAPTER_NAME.fullmatch(name):
            yield prefix + name, parameter
    for name, child in module.named_children():
        if not ADAPTER_NAME.fullmatch(name):
            yield from _bare_parameters(child, f"{prefix}{name}.")


def logical_shape(parameter: Tensor) -> tuple[int, ...]:
    """Return the shape before quantization, so that a four-bit base and its fp32 twin agree."""
    state = getattr(parameter, "quant_state", None)
    return tuple(int(size) for size in (state.shape if state is not None else parameter.shape))


def structure_digest(model: nn.Module, leave_out: Collection[str] = ()) -> str:
    """Return the sha256 over the backbone's sorted (name, logical shape) pairs; the vocabulary's size is masked."""
    embedding = input_embedding(model)
    table = sorted(
        [
            name,
            [
                -1 if parameter is embedding and axis == 0 else size
                for axis, size in enumerate(logical_shape(parameter))
            ],
        ]
        for name, parameter in base_parameters(model, leave_out)
    )
    return _digest(table)


def embeddings(model: nn.Module, leave_out: Collection[str] = ()) -> dict[str, Tensor]:
    """Return the input and output embeddings, each of shape (tokens, width).

    The input embedding has its name in a bare base. The output embedding has its name in the model, such as
    `lm_head.weight`, and is left out if the model has none or it is tied to the input embedding.
    """
    table = input_embedding(model)
    tables = {name: parameter for name, parameter in base_parameters(model, leave_out) if parameter is table}
    head = model_part(model, "get_output_embeddings")
    output = weight_of(head)
    if output is not None and output is not table:
        name = next(name for name, module in unwrapped(model).named_modules() if module is head)
        if not f"{name}.".startswith(tuple(f"{module}." for module in leave_out)):
            tables[f"{name}.weight"] = output
    return tables


def weight_probe(
    model: nn.Module,
    leave_out: Collection[str] = (),
    parameters: Iterable[tuple[str, Tensor]] | None = None,
    rows: int | None = None,
) -> dict[str, Any]:
    """Return eight elements of each backbone tensor, sums over the rows of embeddings, and the coarsest dtype of all.

    Quantized tensors are dequantised. The sha256 of the tensor's name chooses the elements, so that any machine picks
    the same ones. `parameters` are the tensors of the model's files, with the names that `fingerprinted` gives them,
    for a model on the meta device. Of embeddings only the first `rows` rows are read: those from before the vocabulary
    grew. Raises WrongBase for a parameter without values.
    """
    tables, values, sums = embeddings(model, leave_out), {}, {}
    dtype = torch.float64  # the coarsest of all sets the tolerance
    with torch.no_grad():
        for name, parameter in parameters or fingerprinted(model, leave_out):
            if parameter.is_meta:
                raise WrongBase(f"{name} holds no weights (it is on the meta device): load the base whole first")
            if 0 in parameter.shape:
                continue
            dense = dequantised(parameter)
            if name in tables:
                dense = dense[:rows]
                if dense.is_floating_point() and not is_quantized(parameter):
                    sums[name] = row_sums(name, dense)
            if name in tables and tables[name] is not input_embedding(model):
                continue  # the output embedding isn't part of the backbone
            if parameter.is_floating_point() and torch.finfo(parameter.dtype).eps > torch.finfo(dtype).eps:
                dtype = parameter.dtype
            flat = dense.reshape(-1)
            index = torch.tensor(probed_elements(name, flat.numel()), device=flat.device)
            values[name] = [float(f"{value:.9g}") for value in flat[index].float().tolist()]
    return {"dtype": str(dtype).removeprefix("torch."), "values": values, "rows": sums or None}


def fingerprinted(model: nn.Module, leave_out: Collection[str] = ()) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors that `weight_probe` reads: the backbone's parameters and the output embedding."""
    yield from base_parameters(model, leave_out)
    for name, table in embeddings(model, leave_out).items():
        if table is not input_embedding(model):
            yield name, table


def probed_elements(name: str, count: int) -> list[int]:
    """Return the row-major indices of the elements that the probe holds of a tensor with `count` elements."""
    stream = hashlib.sha256(name.encode()).digest()
    return [int.from_bytes(stream[4 * k : 4 * k + 4], "big") % count for k in range(PROBED)]


def is_quantized(parameter: Tensor) -> bool:
    """Return whether bitsandbytes stores a parameter, of any shape, in four or eight bits."""
    return hasattr(parameter, "quant_state") or hasattr(parameter, "SCB")


def dequantised(parameter: Tensor) -> Tensor:
    """Return a parameter's values, in its logical shape, without gradients."""
    if (scales := getattr(parameter, "SCB", None)) is not None:
        from bitsandbytes.functional import int8_vectorwise_dequant

        dense: Tensor = int8_vectorwise_dequant(parameter.data, scales)
        return dense
    state = getattr(parameter, "quant_state", None)
    if state is None:
        return parameter.detach()
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(parameter.data, state)


def config_digest(config: PretrainedConfig) -> str:
    """Return the sha256 over the settings that change the computation; the dtype of the weights is left out."""
    return _config_digest(config.to_diff_dict(), None)


def config_digests(config: PretrainedConfig) -> frozenset[str]:
    """Return `config_digest` and its older forms, which included the dtype of the weights where a part names one."""
    settings = config.to_diff_dict()
    return frozenset(_config_digest(settings, dtype) for dtype in (None, "float32", "bfloat16", "float16", "float64"))


def _config_digest(stated: Mapping[str, Any], dtype: str | None) -> str:
    """Digest a configuration with `dtype` in each part (such as `text_config`) that names a dtype; None removes it."""

    def part(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        settings = {key: part(inner) for key, inner in value.items()}
        for key in settings.keys() & {"dtype", "torch_dtype"}:
            if dtype is None:
                del settings[key]
            else:
                settings[key] = dtype
        return settings

    return _digest({key: part(value) for key, value in stated.items() if key not in VOLATILE})


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the sha256 over the vocabulary, added tokens included, and the special tokens without the padding token.

    The padding token changes no answer, since padding is masked.
    """
    tokens = tokenizer.special_tokens_map.items()
    special = {key: value for key, value in tokens if isinstance(value, str) and key != "pad_token"}
    return _digest([sorted(tokenizer.get_vocab().items()), sorted(special.items())])


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
