"""Try whether a base computes in the order of a batch's rows, before rows of several adapters share one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn

from adapterhub_fin.engine.pool.routing import Route, RowsLost, Segment, routed
from adapterhub_fin.engine.pool.trunk import Trunk

SHAPES: Final = ((3, 5), (5, 7))  # rows and tokens, all different, so that none passes for another


class _Nothing:
    """Change nothing: only whether the rows of a layer can be found matters."""

    tensors = ()

    def add(self, layer: nn.Module, inputs: Tensor, output: Tensor) -> None:
        return


def keeps_rows(trunk: Trunk, batch: Mapping[str, Tensor]) -> bool:
    """Return whether all layers that take changes get the rows in order; tried once for each new layer.

    The sizes of one batch can't tell: a base that puts tokens first looks right where there are as many tokens as rows,
    and so does an expert that happens to get as many tokens. The tokens tried are those of `batch`, (rows, tokens).
    """
    layers = trunk.hooked
    if not trunk.loses_rows and not layers <= trunk.tried:
        trunk.loses_rows = not all(_in_order(trunk, layers, batch, *shape) for shape in SHAPES)
        trunk.tried = layers
    return not trunk.loses_rows


def _in_order(trunk: Trunk, layers: frozenset[str], batch: Mapping[str, Tensor], rows: int, tokens: int) -> bool:
    real = batch["input_ids"][batch["attention_mask"].bool()]
    ids = real.repeat(-(-rows * tokens // len(real)))[: rows * tokens].view(rows, tokens)
    changes = dict.fromkeys(layers, _Nothing())
    route = Route(trunk, rows, tokens, [Segment(0, 1, changes), Segment(1, rows, changes)])
    try:
        with torch.inference_mode(), routed(route):
            trunk.model(input_ids=ids, attention_mask=torch.ones_like(ids))
    except RowsLost:
        return False
    return True
