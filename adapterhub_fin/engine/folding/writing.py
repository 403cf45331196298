"""Write a model's safetensors files tensor by tensor, so that only one is in memory at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from adapterhub_fin.engine.base.model_tensors import DTYPES, INDEX_FILE, MODEL_FILE

NAMES = {dtype: name for name, dtype in DTYPES.items()}
PIECE = 2**22  # bytes of one write


@dataclass(frozen=True)
class Outgoing:
    """Describe a tensor to write: its header entry, and a function that returns its values when they are written."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    values: Callable[[], Tensor]

    @property
    def size(self) -> int:
        """Return its size in bytes."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


def write_shards(folder: Path, shards: Sequence[tuple[str, Sequence[Outgoing]]], done: Callable[[int], None]) -> None:
    """Write each shard under its name, or a single one as model.safetensors, and an index for several.

    `done` is called with 1 after each tensor.
    """
    shards = [(name, tensors) for name, tensors in shards if tensors]
    if len(shards) == 1:
        shards = [(MODEL_FILE, shards[0][1])]
    for name, tensors in shards:
        _write(folder / name, tensors, done)
    if len(shards) > 1:
        shard_of = {tensor.name: name for name, tensors in shards for tensor in tensors}
        size = sum(tensor.size for _, tensors in shards for tensor in tensors)
        index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(shard_of.items()))}
        (folder / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _write(path: Path, tensors: Sequence[Outgoing], done: Callable[[int], None]) -> None:
    # The widest dtypes first, so that every tensor is aligned to its elements, as the safetensors library does it.
    ordered = sorted(tensors, key=lambda tensor: -tensor.dtype.itemsize)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in ordered:
        ends = [offset, offset + tensor.size]
        header[tensor.name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": ends}
        offset += tensor.size
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with path.open("xb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in ordered:
            for piece in _pieces(tensor):
                file.write(piece)
            done(1)


def _pieces(tensor: Outgoing) -> Iterator[memoryview]:
    values = tensor.values()
    if values.dtype != tensor.dtype or tuple(values.shape) != tensor.shape:
        raise AssertionError(f"{tensor.name} was announced as {tensor.dtype} of {tensor.shape}")
    data = memoryview(values.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    for start in range(0, len(data), PIECE):
        yield data[start : start + PIECE]
