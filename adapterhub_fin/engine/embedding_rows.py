"""Say which rows of a model's embeddings are not its base's: new ones, and those that were trained or drawn anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from adapterhub_fin.engine import pin
from adapterhub_fin.engine.rounding import allowed, apart

if TYPE_CHECKING:
    from torch import nn

CHUNK = 4096  # rows that are compared at a time


def changed_rows(model: nn.Module, folder: Path) -> Mapping[str, Sequence[int]]:
    """Return the rows of a model's embeddings that its base's files, in a folder, don't hold, by the table's name.

    Names are those of `pin.embeddings`: of the input in a bare base (`embed_tokens.weight`), of the output in the
    model (`lm_head.weight`). A row behind the file's last is new; another one is changed where an element differs by
    more than the types of both round. A table that is not in the files, or is quantized, is not in the answer. The
    model may carry adapters: its own tables are read, not theirs.
    """
    from adapterhub_fin.engine.folding.base_tensors import ModelTensors

    tensors = ModelTensors(folder, pin.unwrapped(model))  # type: ignore[arg-type]
    prefix, found = pin.backbone_prefix(model), {}
    for name, table in pin.embeddings(model).items():
        stored = tensors.by_key.get(prefix + name) or tensors.by_key.get(name)
        if stored is not None and stored.direct and table.is_floating_point() and stored.dtype.is_floating_point:
            found[name] = _changed(table.detach(), stored.tensor())
    return found


def _changed(here: Tensor, there: Tensor) -> list[int]:
    """Return the rows of a table (rows, width) that are not those of another one, or are behind its last."""
    if here.shape[1:] != there.shape[1:]:
        return list(range(len(here)))
    dtypes = [str(table.dtype).removeprefix("torch.") for table in (here, there)]
    known = min(len(here), len(there))
    rows: list[int] = []
    for start in range(0, known, CHUNK):
        one, other = (table[start : min(start + CHUNK, known)].cpu().double() for table in (here, there))
        differs = one != other
        if differs.any():
            differs &= apart(one, other) >= allowed(one.flatten(), dtypes[0], other.flatten(), dtypes[1]).view_as(one)
        rows += [start + place for place in differs.any(1).nonzero().flatten().tolist()]
    return rows + list(range(known, len(here)))
