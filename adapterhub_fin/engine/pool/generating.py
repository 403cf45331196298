"""Write after prompts that belong to several adapters, in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, cast

import torch

from adapterhub_fin.engine.base.locks import computing_together
from adapterhub_fin.engine.data.batches import check_batch_size
from adapterhub_fin.engine.inference.generating import (
    Prompt,
    encoded_prompts,
    generate_counted,
    padded,
    writing,
    written_tokens,
)
from adapterhub_fin.engine.inference.stopping import Ending, Written
from adapterhub_fin.engine.pool.resident import Resident
from adapterhub_fin.engine.pool.routing import Route, RowsLost, Segment, routed, segments_of
from adapterhub_fin.engine.pool.row_order import keeps_rows
from adapterhub_fin.errors import BadRecipe

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

    from adapterhub_fin.plugin.heads import HeadImplementation
    from adapterhub_fin.plugin.interfaces import MethodImplementation
    from adapterhub_fin.recipe.decoding import Decoding


@dataclass(frozen=True, eq=False)
class PoolWriter:
    """Write with one resident, or with several whose texts end alike: the route says which prompts are whose."""

    resident: Resident

    @property
    def reference(self) -> str:
        return self.resident.reference

    @property
    def model(self) -> nn.Module:
        trunk = self.resident.trunk
        assert trunk is not None, "residents apart write by themselves"
        if not trunk.writes:
            raise BadRecipe(f"{self.reference} does not write text: its head is not causal-lm; use predict")
        return trunk.model

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return self.resident.tokenizer

    @property
    def method(self) -> MethodImplementation:
        return self.resident.method

    @property
    def head(self) -> HeadImplementation | None:
        return self.resident.head

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Compute with this resident alone, beside other threads."""
        route = Route(self.resident.trunk, 1, 0, [Segment(0, 1, self.resident.changes)])
        with computing_together(), torch.inference_mode(), routed(route):
            yield


@dataclass(frozen=True, slots=True)
class _EncodedPrompt:
    """Hold one prompt, encoded, with what writes after it."""

    number: int
    writer: PoolWriter
    ids: Sequence[int]
    end: Ending


def written(
    prompts: Sequence[tuple[int, Resident, Prompt]],
    batch_size: int,
    decoding: Decoding,
    advance: Callable[[int], Any],
) -> dict[int, Written]:
    """Return what is written after each prompt, by its number.

    What is drawn depends on its batch, so that prompts are mixed in greedy decoding alone.
    """
    check_batch_size(batch_size)
    if decoding.temperature:
        return _each_alone(prompts, batch_size, decoding, advance)
    encoded: list[_EncodedPrompt] = []
    for _, group in groupby(prompts, key=lambda each: each[1].version.digest):
        encoded += _encode(list(group))
    texts: dict[int, Written] = {}
    for _, alike in groupby(sorted(encoded, key=_form), key=_form):
        ordered = sorted(alike, key=lambda each: (len(each.ids), each.number))
        for start in range(0, len(ordered), batch_size):
            batch = sorted(ordered[start : start + batch_size], key=lambda each: each.writer.resident.version.digest)
            texts |= _mixed(batch, decoding)
            advance(len(batch))
    return texts


def _each_alone(
    prompts: Sequence[tuple[int, Resident, Prompt]],
    batch_size: int,
    decoding: Decoding,
    advance: Callable[[int], Any],
) -> dict[int, Written]:
    """Write each adapter's prompts by themselves, so that the seed gives what it gives without a pool."""
    texts: dict[int, Written] = {}
    for _, group in groupby(prompts, key=lambda each: each[1].version.digest):
        own = list(group)
        made = generate_counted(PoolWriter(own[0][1]), [prompt for _, _, prompt in own], batch_size, decoding)
        texts |= zip((number for number, _, _ in own), made, strict=True)
        advance(len(own))
    return texts


def _encode(prompts: Sequence[tuple[int, Resident, Prompt]]) -> list[_EncodedPrompt]:
    """Return the prompts of one adapter, encoded."""
    writer = PoolWriter(prompts[0][1])
    tokenizer, end = writing(writer)
    tokens = encoded_prompts(writer, tokenizer, [prompt for _, _, prompt in prompts])
    return [_EncodedPrompt(number, writer, ids, end) for (number, _, _), ids in zip(prompts, tokens, strict=True)]


def _form(prompt: _EncodedPrompt) -> tuple[int, tuple[int, ...], tuple[str, ...]]:
    """Return what the prompts of one batch must share: the trunk, and what ends a text."""
    return id(prompt.writer.resident.trunk), tuple(sorted(prompt.end.tokens)), prompt.end.marks


def _mixed(encoded: Sequence[_EncodedPrompt], decoding: Decoding) -> dict[int, Written]:
    """Write a batch at once, or one adapter at a time where rows don't stay in order, as with beams."""
    writer = encoded[0].writer
    trunk, model = writer.resident.trunk, cast(Any, writer.model)
    parts = [list(own) for _, own in groupby(encoded, key=lambda each: each.writer.resident.version.digest)]
    assert trunk is not None, "residents apart write by themselves"
    beams = (model.generation_config.num_beams or 1) > 1
    tokenizer, _ = writing(writer)
    batch = padded(writer, tokenizer, [each.ids for each in encoded], decoding)
    with computing_together():
        together = len(parts) == 1 or (not beams and keeps_rows(trunk, batch))
    if together:
        try:
            return _batch_written(encoded, batch, decoding)
        except RowsLost:
            trunk.loses_rows = True
    texts: dict[int, Written] = {}
    for part in parts:
        own = padded(part[0].writer, tokenizer, [each.ids for each in part], decoding)
        texts |= _batch_written(part, own, decoding)
    return texts


def _batch_written(
    encoded: Sequence[_EncodedPrompt], batch: Mapping[str, Tensor], decoding: Decoding
) -> dict[int, Written]:
    """Write a batch, (prompts, tokens), whose adapters' prompts stand together."""
    first = encoded[0].writer
    tokenizer, end = writing(first)
    parts = [list(own) for _, own in groupby(encoded, key=lambda each: each.writer.resident.version.digest)]
    segments = segments_of((len(part), part[0].writer.resident.changes) for part in parts)
    width = batch["input_ids"].shape[1]
    with (
        computing_together(),
        torch.inference_mode(),
        routed(Route(first.resident.trunk, len(encoded), width, segments)),
    ):
        tokens = written_tokens(first, tokenizer, batch, decoding, end)
    rows = tokens[:, width:].tolist()
    return {each.number: end.cut(row, tokenizer, len(each.ids)) for each, row in zip(encoded, rows, strict=True)}
