"""Compute the hidden states of every layer, pooled per text, of a version's bare base and of the version itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.chat_template import with_chat_template
from adapterhub_fin.engine.base.load_base import load_base, load_tokenizer
from adapterhub_fin.engine.base.locks import computing, tokenizing
from adapterhub_fin.engine.base.padding import align_padding
from adapterhub_fin.engine.base.quiet import quiet_loading
from adapterhub_fin.engine.data.duplicates import INPUTS
from adapterhub_fin.engine.importing.read_folder import task_of
from adapterhub_fin.engine.inference.attach import max_length
from adapterhub_fin.engine.inference.embedding import Embedding
from adapterhub_fin.engine.inference.find import ResolvedVersion, base_source
from adapterhub_fin.engine.inference.in_batches import answer_in_batches
from adapterhub_fin.engine.inference.load import load
from adapterhub_fin.errors import BadCorpus, BadText
from adapterhub_fin.plugin.examples import encode_inputs
from adapterhub_fin.plugin.model_parts import backbone

if TYPE_CHECKING:
    import numpy as np
    import torch
    from datasets import Dataset
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase
else:
    np = Lazy("numpy")
    torch = Lazy("torch")

Layers = Sequence["np.ndarray"]


@dataclass(frozen=True)
class States:
    """Hold the pooled vectors of the embeddings and of each layer, (rows, hidden) float32: of base and version."""

    base: Layers
    tuned: Layers


def pooled_states(
    resolved: ResolvedVersion,
    table: Dataset,
    *,
    base: str | Path | None,
    pooling: Embedding,
    batch_size: int,
    download: bool,
) -> States:
    """Return the vectors of every layer of the bare base and of the version, on the same rows.

    The base is loaded alone, without an adapter or a merge, and is gone when the version is loaded. Each reads the rows
    with its own tokenizer; tokens that a method puts before a text are left out. Raises BadCorpus for a row that gives
    no token, and NotFinite for a vector that holds NaN or infinity.
    """
    rows = _input_rows(table)
    bare = _of_base(resolved, rows, base, pooling, batch_size, download)
    adapter = load(resolved.version, base=base, registry=resolved.registry, download=download)

    def states(batch: Mapping[str, Tensor]) -> Sequence[Tensor]:
        return adapter.method.hidden_states(adapter.model, adapter.adapter_name, batch)

    model, tokenizer, length = adapter.model, adapter.tokenizer, adapter.max_length
    with adapter.answering():
        tuned = _pooled(model, tokenizer, rows, length, states, pooling, batch_size, adapter.reference)
    return States(bare, tuned)


def _of_base(
    resolved: ResolvedVersion,
    rows: Sequence[Mapping[str, Any]],
    base: str | Path | None,
    pooling: Embedding,
    batch_size: int,
    download: bool,
) -> Layers:
    _, source = base_source(resolved, base, download)
    with quiet_loading(), torch.random.fork_rng(devices=[]):
        model, _ = load_base(source.folder, resolved.head, resolved.method, *task_of(resolved.folder))
        tokenizer = load_tokenizer(source.folder)
    align_padding(model, tokenizer)
    read, length = with_chat_template(tokenizer, resolved.head), max_length(resolved.version, tokenizer)

    def states(batch: Mapping[str, Tensor]) -> Sequence[Tensor]:
        layers: Sequence[Tensor] = backbone(model)(**batch, output_hidden_states=True).hidden_states
        return layers

    whose = f"the base of {resolved.version.reference}"
    with computing(model):  # no other thread loads one meanwhile
        return _pooled(model, read, rows, length, states, pooling, batch_size, whose)


def _input_rows(table: Dataset) -> list[dict[str, Any]]:
    """Return each row's text or conversation alone; of rows with a prompt or an anchor, that."""
    column = next(name for name in INPUTS if name in table.column_names)
    cells = table[column][:]
    return [{"text" if isinstance(cell, str) else "messages": cell} for cell in cells]


def _pooled(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Mapping[str, Any]],
    length: int,
    states: Callable[[Mapping[str, Tensor]], Sequence[Tensor]],
    pooling: Embedding,
    batch_size: int,
    whose: str,
) -> Layers:
    """Return the pooled vectors of each layer, (rows, hidden), the embeddings' first."""
    from adapterhub_fin.engine.inference.finite import check_finite

    try:
        with tokenizing():
            examples = encode_inputs(rows, tokenizer, length)
    except BadText as error:
        raise BadCorpus(str(error)) from error
    sizes: list[int] = []

    def collate(batch: list[dict[str, Any]]) -> Mapping[str, Any]:
        ids = {"input_ids": [example["input_ids"] for example in batch]}
        padded: Mapping[str, Any] = tokenizer.pad(ids, return_tensors="pt")  # padding makes the mask
        return {name: padded[name] for name in ("input_ids", "attention_mask")}

    def vectors(batch: dict[str, Any]) -> Tensor:
        layers = states(batch)
        sizes[:] = [layer.shape[-1] for layer in layers]
        kinds = [pooling.model_copy(update={"layer": number}) for number in range(len(layers))]
        return torch.cat([kind.pool(layers, batch["attention_mask"]) for kind in kinds], 1)

    joined = torch.stack(answer_in_batches(model, examples, collate, vectors, batch_size=batch_size, title="states"))
    check_finite(joined, whose, "row")
    return [layer.numpy() for layer in torch.split(joined, sizes, 1)]
