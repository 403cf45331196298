"""Summarise every row of an embedding in a few thousand sums, so that a new or reinitialised row is noticed.

The rows, in order, are divided into at most BLOCKS blocks of one size. Two elements of each row are read, and added up
over each block. A reinitialised row is missed only if both of its elements are almost what they were: never within one
type, and for float32 against bfloat16 once in some hundred rows of 32,000 tokens.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.rounding import grid, half_step

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from adapterhub_fin_registry.model.manifest import RowSums
else:
    np, torch = Lazy("numpy"), Lazy("torch")

BLOCKS = 1024
COLUMNS = 2
WRITTEN = 1e-8  # the relative error of nine significant digits and of another order of addition


def row_sums(name: str, table: Tensor) -> dict[str, Any]:
    """Return the sums of a table of shape (rows, width), with its dtype and what the tolerance of rounding needs.

    `size` is the largest sum of magnitudes of a block, and `grid` the coarsest type that represents all elements. The
    column that is read of row r is (a * r + b) modulo the width, with a and b from the sha256 of the table's name.
    """
    rows = len(table)
    block = math.ceil(rows / BLOCKS)
    sums, sizes, elements = [], [], []
    for read in table.detach().take(row_elements(name, table.shape).to(table.device)):
        values = torch.nn.functional.pad(read.cpu().double(), (0, -rows % block)).view(-1, block)  # (blocks, block)
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


def row_elements(name: str, shape: Sequence[int]) -> Tensor:
    """Return the row-major indices of the elements that are read of a table (rows, width): (COLUMNS, rows)."""
    return torch.from_numpy(_row_elements(name, *shape))


@lru_cache(maxsize=16)
def _row_elements(name: str, rows: int, width: int) -> np.ndarray:
    """Return the indices; no tensor, which would keep the mode or the device that it was first made in."""
    stream = hashlib.sha256(name.encode()).digest()
    row = np.arange(rows)
    indices = []
    for column in range(COLUMNS):
        a, b = (int.from_bytes(stream[4 * k : 4 * k + 4], "big") for k in (2 * column, 2 * column + 1))
        indices.append(row * width + ((a % width) * row + b) % width)
    return np.stack(indices)


def first_moved(here: RowSums, stored: RowSums) -> tuple[int, int] | None:
    """Return the first block of rows, as (start, stop), whose sums differ by more than rounding explains, or None."""
    if here.rows != stored.rows or len(here.sums) != len(stored.sums):
        return 0, max(here.rows, stored.rows)
    rows = stored.rows
    block, size = math.ceil(rows / BLOCKS), max(here.size, stored.size)
    limit = WRITTEN * size
    if (here.dtype, here.grid) != (stored.dtype, stored.grid):
        for side in (here, stored):
            limit += _half(side.grid, 1.0) * size
            limit += max(_half(side.grid, 0.0), _half(side.dtype, 0.0)) * block
    count = math.ceil(rows / block)
    for index, (left, right) in enumerate(zip(here.sums, stored.sums, strict=True)):
        if not abs(left - right) <= limit:  # also true for NaN
            start = index % count * block
            return start, min(start + block, rows)
    return None


def _half(dtype: str, value: float) -> float:
    return float(half_step(torch.tensor(value, dtype=torch.float64), dtype))


def _written(value: float) -> float:
    return float(f"{value:.9g}")
