"""Compute batches whose rows belong to several adapters, and give each row's answer back in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from adapterhub_fin.engine.base.locks import computing_together
from adapterhub_fin.engine.data.batches import check_batch_size, on_device
from adapterhub_fin.engine.inference.embedding import Embedding
from adapterhub_fin.engine.pool.replay import NotReplayed, Replay, replaying, rows_of
from adapterhub_fin.engine.pool.resident import Resident
from adapterhub_fin.engine.pool.routing import Route, RowsLost, Segment, routed, segments_of
from adapterhub_fin.engine.pool.row_order import keeps_rows
from adapterhub_fin.engine.pool.trunk import Trunk

READ = ("input_ids", "attention_mask")


@dataclass(frozen=True, slots=True)
class Item:
    """Hold one encoded row of a call, and who answers it."""

    number: int
    resident: Resident
    example: Mapping[str, Any]

    @property
    def length(self) -> int:
        return len(self.example["input_ids"])


Part = list[Item]  # consecutive rows of one adapter
Compute = Callable[[Trunk, list[Part], dict[str, Tensor]], list[Tensor]]


def answered(
    items: Sequence[Item], batch_size: int, compute: Compute, advance: Callable[[int], Any]
) -> dict[int, Tensor]:
    """Return the answer of each row, float32 on the CPU, by the row's number.

    Batches are of like length, which spares padding; in a batch the rows of one adapter stand together.
    """
    answers: dict[int, Tensor] = {}
    for batch in batches(items, batch_size):
        parts = [list(rows) for _, rows in groupby(batch, key=lambda item: item.resident.version.digest)]
        with computing_together(), torch.inference_mode():
            for part, values in zip(parts, _computed(parts, compute), strict=True):
                answers |= zip((item.number for item in part), values.float().cpu(), strict=True)
        advance(len(batch))
    return answers


def batches(items: Sequence[Item], batch_size: int) -> Iterator[list[Item]]:
    """Yield batches of one trunk and one form of input, of like length, each sorted by its adapters."""
    check_batch_size(batch_size)
    for _, alike in groupby(sorted(items, key=_form), key=_form):
        ordered = sorted(alike, key=lambda item: (item.length, item.number))
        for start in range(0, len(ordered), batch_size):
            batch = ordered[start : start + batch_size]
            yield sorted(batch, key=lambda item: (item.resident.version.digest, item.number))


def _form(item: Item) -> tuple[int, str]:
    """Return what the rows of one batch must share: the trunk, and the adapter where its rows are batched by itself."""
    alone = item.resident.version.digest if "labels" in item.example else ""
    return id(item.resident.trunk), alone


def _computed(parts: list[Part], compute: Compute) -> list[Tensor]:
    """Compute the parts of a batch together, or one by one where the base mixes the order of rows."""
    trunk = parts[0][0].resident.trunk
    assert trunk is not None, "residents apart answer by themselves"
    batch = padded([item for part in parts for item in part])
    if len(parts) == 1 or keeps_rows(trunk, batch):
        try:
            return compute(trunk, parts, batch)
        except RowsLost:
            trunk.loses_rows = True
    return [compute(trunk, [part], padded(part))[0] for part in parts]


def padded(items: Sequence[Item]) -> dict[str, Tensor]:
    """Return `input_ids` and `attention_mask` of rows, (rows, tokens), padded to the longest."""
    resident = items[0].resident
    assert resident.trunk is not None
    if "labels" in items[0].example and resident.head is not None:
        batch: Mapping[str, Any] = resident.head.collator(resident.tokenizer)([dict(item.example) for item in items])
        return on_device(batch, resident.trunk.device)
    ids = {"input_ids": [item.example["input_ids"] for item in items]}
    plain = resident.trunk.tokenizer.pad(ids, return_tensors="pt")
    return on_device({name: plain[name] for name in READ}, resident.trunk.device)


def route_of(trunk: Trunk, parts: Sequence[Part], batch: Mapping[str, Tensor]) -> Route:
    """Return which rows of a batch belong to whose changes."""
    segments = segments_of((len(part), part[0].resident.changes) for part in parts)
    return Route(trunk, sum(map(len, parts)), batch["input_ids"].shape[1], segments)


def head_outputs(trunk: Trunk, parts: list[Part], batch: dict[str, Tensor]) -> list[Tensor]:
    """Return the outputs of each part's own head, (rows, outputs); the backbone computes once for all."""
    route = route_of(trunk, parts, batch)
    read = {name: value for name, value in batch.items() if name in READ}
    writes = [part[0].resident.writes for part in parts]
    outputs: dict[bool, Any] = {}
    with routed(route):
        for writing in set(writes):
            outputs[writing] = (trunk.model if writing else trunk.backbone)(**read)
    answers = []
    for part, segment, writing in zip(parts, route.segments, writes, strict=True):
        own = slice(segment.start, segment.stop)
        inputs = {name: rows_of(value, route.rows, own) for name, value in batch.items()}
        single = Route(trunk, len(part), route.tokens, [Segment(0, len(part), segment.changes)])
        with routed(single):
            answers.append(_of_head(part, inputs, rows_of(outputs[writing], route.rows, own)))
    return answers


def _of_head(part: Part, inputs: dict[str, Tensor], outputs: Any) -> Tensor:
    """Return what a head answers, (rows, outputs), of backbone outputs; it computes again where it asks for more."""
    resident = part[0].resident
    head = resident.head
    assert head is not None, "rows of versions without a head are refused before"
    if resident.shell is None:
        return head.answers(head.raw_outputs(outputs), inputs)
    read = {name: inputs[name] for name in READ}
    extra = {
        name: torch.tensor([item.example[name] for item in part], device=read["input_ids"].device)
        for name in part[0].example
        if name not in (*READ, "labels")
    }
    with resident.lock:
        try:
            with replaying(Replay(read, outputs)):
                made = resident.shell(**read, **extra)
        except NotReplayed:
            made = resident.shell(**read, **extra)
    return head.answers(head.raw_outputs(made), inputs)


def vectors(embedding: Embedding) -> Compute:
    """Return a computation of the vectors of rows, (rows, hidden), by how they are pooled."""

    def compute(trunk: Trunk, parts: list[Part], batch: dict[str, Tensor]) -> list[Tensor]:
        route = route_of(trunk, parts, batch)
        read = {name: batch[name] for name in READ}
        with routed(route):
            states = trunk.backbone(**read, output_hidden_states=True).hidden_states
        pooled = embedding.pool(states, read["attention_mask"])
        return [pooled[segment.start : segment.stop] for segment in route.segments]

    return compute
