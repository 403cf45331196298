"""Pin a base: what tells one model from another, read from the model itself.

The structure digest covers names and logical shapes of the backbone's parameters; the weight probe holds eight
elements of each, and sums over all rows of the embeddings. Both leave out heads, and whatever an adapter has added
(docs/reference/format.md, `base`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.row_sums import row_sums
from adapterhub_fin.errors import WrongBase
from adapterhub_fin.plugin.backbone import (
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
# Of a configuration, what says how a model is run or displayed and not what it computes.
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
    """Yield the parameters of the backbone by their name in a bare base, without what an adapter added.

    `leave_out` names modules of the model whose weights travel with a version.
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
    for name, parameter in module.named_parameters(recurse=False):
        if not ADAPTER_NAME.fullmatch(name):
            yield prefix + name, parameter
    for name, child in module.named_children():
        if not ADAPTER_NAME.fullmatch(name):
            yield from _bare_parameters(child, f"{prefix}{name}.")


def logical_shape(parameter: Tensor) -> tuple[int, ...]:
    """The shape before quantization, so that a four-bit base and its fp32 twin agree."""
    state = getattr(parameter, "quant_state", None)
    return tuple(int(size) for size in (state.shape if state is not None else parameter.shape))


def structure_digest(model: nn.Module, leave_out: Collection[str] = ()) -> str:
    """sha256 over the sorted (name, logical shape) of the backbone; the vocabulary's size is left open."""
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
    """Return the tables with a row for each token: the input's, by its name in a bare base, and the output's.

    The output's has its name in the model, such as `lm_head.weight`; it is left out where the input's is tied to it,
    and where the model has none.
    """
    table = input_embedding(model)
    found = {name: each for name, each in base_parameters(model, leave_out) if each is table}
    head = model_part(model, "get_output_embeddings")
    output = weight_of(head)
    if output is not None and output is not table:
        name = next(name for name, module in unwrapped(model).named_modules() if module is head)
        if not f"{name}.".startswith(tuple(f"{each}." for each in leave_out)):
            found[f"{name}.weight"] = output
    return found


def weight_probe(
    model: nn.Module,
    leave_out: Collection[str] = (),
    parameters: Iterable[tuple[str, Tensor]] | None = None,
    rows: int | None = None,
) -> dict[str, Any]:
    """Return eight seeded elements of each backbone tensor, sums over the rows of embeddings, and the dtype of all.

    Quantized tensors are dequantised. The elements are chosen by sha256 of the tensor's name, so that any machine picks
    the same ones. `parameters` are the model's files', by the names that `fingerprinted` gives them, for a model on the
    meta device. Of embeddings, the first `rows` alone are read: those that the base had before its vocabulary grew.
    """
    tables, values, sums = embeddings(model, leave_out), {}, {}
    dtype = torch.float64  # of all, the one with the coarsest grid: it sets the tolerance
    with torch.no_grad():
        for name, parameter in parameters or fingerprinted(model, leave_out):
            if parameter.is_meta:
                raise WrongBase(f"{name} holds no weights (it is on the meta device): load the base whole first")
            if 0 in parameter.shape:
                continue
            dense = _dequantised(parameter)
            if name in tables:
                dense = dense[:rows]
                if dense.is_floating_point() and not hasattr(parameter, "quant_state"):
                    sums[name] = row_sums(name, dense)
            if name in tables and tables[name] is not input_embedding(model):
                continue  # no part of the backbone
            if parameter.is_floating_point() and torch.finfo(parameter.dtype).eps > torch.finfo(dtype).eps:
                dtype = parameter.dtype
            flat = dense.reshape(-1)
            index = torch.tensor(probed_elements(name, flat.numel()), device=flat.device)
            values[name] = [float(f"{value:.9g}") for value in flat[index].float().tolist()]
    return {"dtype": str(dtype).removeprefix("torch."), "values": values, "rows": sums or None}


def fingerprinted(model: nn.Module, leave_out: Collection[str] = ()) -> Iterator[tuple[str, Tensor]]:
    """Yield what `weight_probe` reads of a model: its backbone's parameters, and its output embedding."""
    yield from base_parameters(model, leave_out)
    for name, table in embeddings(model, leave_out).items():
        if table is not input_embedding(model):
            yield name, table


def probed_elements(name: str, count: int) -> list[int]:
    """Which elements of a tensor the probe holds, by their place in row-major order."""
    stream = hashlib.sha256(name.encode()).digest()
    return [int.from_bytes(stream[4 * k : 4 * k + 4], "big") % count for k in range(PROBED)]


def _dequantised(parameter: Tensor) -> Tensor:
    state = getattr(parameter, "quant_state", None)
    if state is None:
        return parameter.detach()
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(parameter.data, state)


def config_digest(config: PretrainedConfig) -> str:
    """Return the sha256 over what a configuration says of the computation, and not over the type of its weights."""
    return _config_digest(config, None)


def config_digests(config: PretrainedConfig) -> frozenset[str]:
    """Return `config_digest` and what it was before: over the type of the weights too, where a part names it."""
    before = (_config_digest(config, dtype) for dtype in ("float32", "bfloat16", "float16", "float64"))
    return frozenset([config_digest(config), *before])


def _config_digest(config: PretrainedConfig, dtype: str | None) -> str:
    """Digest a configuration whose parts, such as `text_config`, all name this type of weights, or none."""

    def part(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        found = {key: part(inner) for key, inner in value.items()}
        for key in found.keys() & {"dtype", "torch_dtype"}:
            if dtype is None:
                del found[key]
            else:
                found[key] = dtype
        return found

    return _digest({key: part(value) for key, value in config.to_diff_dict().items() if key not in VOLATILE})


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """sha256 over the vocabulary, added tokens included, and the special tokens but the one that pads.

    Which token pads is a choice of whoever batches, and masked out of every answer.
    """
    named = tokenizer.special_tokens_map.items()
    special = {key: value for key, value in named if isinstance(value, str) and key != "pad_token"}
    return _digest([sorted(tokenizer.get_vocab().items()), sorted(special.items())])


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
