"""Write a model's safetensors files tensor by tensor, none of them held longer than it is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from adapterhub_fin.engine.base.model_tensors import DTYPES, INDEX_FILE, MODEL_FILE

NAMES = {dtype: name for name, dtype in DTYPES.items()}
PIECE = 2**22  # bytes handed to the file at once


@dataclass(frozen=True)
class Outgoing:
    """A tensor to write: what the header says of it, and what gives its values when its turn comes."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    values: Callable[[], Tensor]

    @property
    def size(self) -> int:
        """In bytes."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


def write_shards(folder: Path, shards: Sequence[tuple[str, Sequence[Outgoing]]], done: Callable[[int], None]) -> None:
    """Write each shard under its name, or a single one as model.safetensors, and the index of several."""
    shards = [(name, tensors) for name, tensors in shards if tensors]
    if len(shards) == 1:
        shards = [(MODEL_FILE, shards[0][1])]
    for name, tensors in shards:
        _write(folder / name, tensors, done)
    if len(shards) > 1:
        where = {tensor.name: name for name, tensors in shards for tensor in tensors}
        size = sum(tensor.size for _, tensors in shards for tensor in tensors)
        index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(where.items()))}
        (folder / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _write(path: Path, tensors: Sequence[Outgoing], done: Callable[[int], None]) -> None:
    # The widest types first, so that each begins where its elements may, as the library has it.
    ordered = sorted(tensors, key=lambda tensor: -tensor.dtype.itemsize)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    place = 0
    for tensor in ordered:
        ends = [place, place + tensor.size]
        header[tensor.name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": ends}
        place += tensor.size
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
