"""See every row of an embedding in a few thousand numbers: a new row, or one that was drawn anew, moves a sum.

The rows, in their order, are divided into at most BLOCKS blocks of one size. Of each row two elements are read, and
they are added up over each block. A row that was drawn anew is missed only where both of its elements happen to be
almost what they were: in one type never, from float32 to bfloat16 once in some hundred rows for 32,000 tokens.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.rounding import grid, half_step

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from adapterhub_fin_registry.model.manifest import RowSums
else:
    torch = Lazy("torch")

BLOCKS = 1024
COLUMNS = 2
WRITTEN = 1e-8  # what nine significant digits, and the order in which numbers are added, may change


def row_sums(name: str, table: Tensor) -> dict[str, Any]:
    """Return the sums of a table of (rows, width), with the type it is held in and the size that rounding goes by.

    `size` is the largest sum of magnitudes of a block, and `grid` the type whose grid all elements lie on. The column
    of row r is (a * r + b) modulo the width, with a and b from the sha256 of the table's name.
    """
    rows, width = table.shape
    block = math.ceil(rows / BLOCKS)
    stream = hashlib.sha256(name.encode()).digest()
    sums, sizes, elements = [], [], []
    for column in range(COLUMNS):
        a, b = (int.from_bytes(stream[4 * k : 4 * k + 4], "big") for k in (2 * column, 2 * column + 1))
        place = torch.arange(rows)
        read = table[place.to(table.device), ((a % width) * place + b).remainder(width).to(table.device)].detach()
        values = torch.nn.functional.pad(read.cpu().double(), (0, -rows % block)).view(-1, block)
        sums.append(values.sum(1))
        sizes.append(values.abs().sum(1))
        elements.append(values.flatten())
    dtype = str(table.dtype).removeprefix("torch.")
    return {
        "dtype": dtype,
        "grid": grid(dtype, torch.cat(elements).float().double()),
        "rows": rows,
        "size": _written(float(torch.cat(sizes).max())),
        "sums": [_written(value) for value in torch.cat(sums).tolist()],
    }


def first_moved(here: RowSums, stored: RowSums) -> tuple[int, int] | None:
    """Return the first block of rows, as (start, stop), whose sums are further apart than the types of both round."""
    if here.rows != stored.rows or len(here.sums) != len(stored.sums):
        return 0, max(here.rows, stored.rows)
    rows = stored.rows
    block, size = math.ceil(rows / BLOCKS), max(here.size, stored.size)
    limit = WRITTEN * size
    if (here.dtype, here.grid) != (stored.dtype, stored.grid):
        for each in (here, stored):
            limit += _half(each.grid, 1.0) * size
            limit += max(_half(each.grid, 0.0), _half(each.dtype, 0.0)) * block
    count = math.ceil(rows / block)
    for place, (left, right) in enumerate(zip(here.sums, stored.sums, strict=True)):
        if not abs(left - right) <= limit:  # which no NaN is
            start = place % count * block
            return start, min(start + block, rows)
    return None


def _half(dtype: str, value: float) -> float:
    return float(half_step(torch.tensor(value, dtype=torch.float64), dtype))


def _written(value: float) -> float:
    return float(f"{value:.9g}")
