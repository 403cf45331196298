"""Tensors of a safetensors file, read without its library, are those that the library reads, and lose no memory."""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from adapterhub_fin.errors import NotAnAdapter
from adapterhub_fin.plugin.stored_tensors import StoredTensors

CASES = int(os.environ.get("AHF_CASES", "0"))
TYPES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "int32": "I32", "int64": "I64", "float16": "F16",
    "bfloat16": "BF16", "float32": "F32", "float64": "F64",
}  # fmt: skip
entries = st.tuples(st.sampled_from(sorted(TYPES)), st.lists(st.integers(0, 4), max_size=3))


def written(tensors: dict[str, torch.Tensor], padding: int = 0) -> bytes:
    """The file of some tensors in the order given, which the library would sort so that they are aligned."""
    header: dict[str, Any] = {}
    data = b""
    for name, tensor in tensors.items():
        own = tensor.flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
        dtype = TYPES[str(tensor.dtype).removeprefix("torch.")]
        header[name] = {
            "dtype": dtype,
            "shape": list(tensor.shape),
            "data_offsets": [len(data), len(data) + len(own)],
        }
        data += own
    text = json.dumps(header).encode() + b" " * padding
    return len(text).to_bytes(8, "little") + text + data


@given(st.lists(entries, max_size=5), st.integers(0, 9), st.integers(0, 999))
@settings(max_examples=CASES or 60, deadline=None, derandomize=not CASES)
def test_any_file_is_read_as_the_library_reads_it(
    tmp_path_factory: pytest.TempPathFactory, made: list[tuple[str, list[int]]], padding: int, seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    tensors = {
        f"t{number}": (torch.randn(shape, generator=draw) * 50).to(getattr(torch, dtype))
        for number, (dtype, shape) in enumerate(made)
    }
    path = tmp_path_factory.getbasetemp() / "stored.safetensors"
    path.write_bytes(data := written(tensors, padding))
    expected = load(save(tensors))
    for read in (StoredTensors.open(path), StoredTensors.of(bytearray(data), "here")):
        assert read.keys() == expected.keys() and len(read) == len(expected)
        for name, tensor in expected.items():
            assert read[name].dtype == tensor.dtype and torch.equal(read[name], tensor)


def test_writing_into_a_tensor_never_reaches_the_file(tmp_path: Path) -> None:
    path = tmp_path / "stored.safetensors"
    path.write_bytes(data := save({"a": torch.ones(3)}))
    tensor = StoredTensors.open(path)["a"]
    tensor.zero_()
    assert path.read_bytes() == data and not tensor.any()


def test_what_is_no_file_of_tensors_is_refused(tmp_path: Path) -> None:
    data = bytearray(save({"a": torch.ones(3)}))
    path = tmp_path / "stored.safetensors"
    for wrong in (data[:-1], data + b"0", data[:7], b"version https://git-lfs.github.com/spec/v1\n"):
        path.write_bytes(wrong)
        for read in (lambda: StoredTensors.open(path), lambda wrong=wrong: StoredTensors.of(bytearray(wrong), "this")):
            with pytest.raises(NotAnAdapter, match="valid safetensors file|git LFS pointer"):
                read()
    header = json.dumps({"a": {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [0, 3]}}).encode()
    narrow = StoredTensors.of(bytearray(len(header).to_bytes(8, "little") + header + b"123"), "this")
    with pytest.raises(NotAnAdapter, match="this holds a as F6_E2M3"):
        narrow["a"]


def test_reading_again_and_again_keeps_no_object(tmp_path: Path) -> None:
    """safetensors 0.8 keeps two for each tensor that `safe_open` reads."""
    path = tmp_path / "stored.safetensors"
    path.write_bytes(data := save({f"t{number}": torch.ones(2) for number in range(20)}))

    def read() -> None:
        for tensors in (StoredTensors.open(path), StoredTensors.of(bytearray(data), "here")):
            for name in tensors:
                assert tensors[name].numel() == 2

    for _ in range(20):
        read()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(50):  # 2,000 tensors
        read()
    gc.collect()
    assert sys.getallocatedblocks() - before < 1000
