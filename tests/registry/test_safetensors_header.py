"""A safetensors header is believed in nothing: every claim is checked against the file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub_fin_registry import NotAnAdapter
from adapterhub_fin_registry.io.safetensors_header import BITS, HEADER_LIMIT, TensorInfo, read_header


def _file(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def _entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_reads_every_tensor_in_the_order_of_its_bytes(tmp_path: Path) -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "z": _entry("F32", [2], [0, 8]),
        "scalar": _entry("I64", [], [8, 16]),
        "empty": _entry("F16", [0, 5], [16, 16]),
        "a": _entry("BF16", [1, 2], [16, 20]),
        "four": _entry("F4", [4], [20, 22]),
    }
    path = tmp_path / "x.safetensors"
    path.write_bytes(_file(header, b"\0" * 22))
    assert read_header(path) == {
        "z": TensorInfo("F32", (2,), 0, 8),
        "scalar": TensorInfo("I64", (), 8, 16),
        "empty": TensorInfo("F16", (0, 5), 16, 16),
        "a": TensorInfo("BF16", (1, 2), 16, 20),
        "four": TensorInfo("F4", (4,), 20, 22),
    }
    assert list(read_header(path)) == ["z", "scalar", "empty", "a", "four"]


def test_agrees_with_the_library(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    safetensors = pytest.importorskip("safetensors")
    from safetensors.numpy import save_file

    path = tmp_path / "x.safetensors"
    kinds = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
    save_file({kind: numpy.ones((2, 3), kind) for kind in kinds}, path, {"format": "np"})
    found = read_header(path)
    with safetensors.safe_open(path, "np") as file:
        assert set(file.keys()) == set(found)
        for name in file.keys():  # noqa: SIM118 - not a mapping
            piece = file.get_slice(name)
            assert (piece.get_dtype(), tuple(piece.get_shape())) == (found[name].dtype, found[name].shape)


HOSTILE = {
    "empty file": b"",
    "seven bytes": b"\0" * 7,
    "no header": _file(b""),
    "header beyond the file": _file(b"{}", length=3),
    "header beyond the limit": _file(b"{}", length=HEADER_LIMIT + 1),
    "header beyond any file": _file(b"{}", length=2**64 - 1),
    "not JSON": _file(b"{"),
    "not UTF-8": _file(b'{"\xff":1}'),
    "leading space": _file(b" {}"),
    "byte order mark": _file(b"\xef\xbb\xbf{}"),
    "an array": _file(b"[]"),
    "nested beyond reason": _file(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
    "a number beyond reason": _file(b'{"a":' + b"1" * 10_000 + b"}"),
    "NaN": _file(b'{"a":NaN}'),
    "a lone surrogate": _file(b'{"\\ud800":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', b"\0" * 8),
    "a name twice": _file(b'{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]},"a":1}', b"\0"),
    "a key twice": _file(b'{"a":{"dtype":"U8","dtype":"I8","shape":[],"data_offsets":[0,1]}}', b"\0"),
    "metadata not text": _file({"__metadata__": {"a": 1}}),
    "metadata not an object": _file({"__metadata__": []}),
    "entry not an object": _file({"a": [1]}),
    "no dtype": _file({"a": {"shape": [2], "data_offsets": [0, 8]}}, b"\0" * 8),
    "one key more": _file({"a": {**_entry(), "x": 1}}, b"\0" * 8),
    "unknown dtype": _file({"a": _entry("Q4")}, b"\0" * 8),
    "dtype not text": _file({"a": _entry(["F32"])}, b"\0" * 8),
    "shape not a list": _file({"a": _entry(shape=2)}, b"\0" * 8),
    "negative dimension": _file({"a": _entry(shape=[-2])}, b"\0" * 8),
    "two negative dimensions": _file({"a": _entry(shape=[-1, -2])}, b"\0" * 8),
    "a dimension of true": _file({"a": _entry(shape=[True, 2])}, b"\0" * 8),
    "a dimension of 2.0": _file({"a": _entry(shape=[2.0])}, b"\0" * 8),
    "a shape that overflows": _file({"a": _entry(shape=[2**32, 2**32, 2], offsets=[0, 0])}),
    "dimensions without end": _file({"a": _entry(shape=[1] * 100, offsets=[0, 4])}, b"\0" * 4),
    "one offset": _file({"a": _entry(offsets=[0])}, b"\0" * 8),
    "offsets backwards": _file({"a": _entry(offsets=[8, 0])}, b"\0" * 8),
    "negative offset": _file({"a": _entry(offsets=[-8, 0])}, b"\0" * 8),
    "offset as text": _file({"a": _entry(offsets=["0", "8"])}, b"\0" * 8),
    "size unlike the shape": _file({"a": _entry(offsets=[0, 4])}, b"\0" * 4),
    "beyond the file": _file({"a": _entry()}, b"\0" * 7),
    "bytes left over": _file({"a": _entry()}, b"\0" * 9),
    "a gap": _file({"a": _entry(), "b": _entry(offsets=[9, 17])}, b"\0" * 17),
    "a gap first": _file({"a": _entry(offsets=[1, 9])}, b"\0" * 9),
    "an overlap": _file({"a": _entry(), "b": _entry(offsets=[4, 12])}, b"\0" * 12),
    "the same bytes twice": _file({"a": _entry(), "b": _entry()}, b"\0" * 8),
    "half a byte": _file({"a": _entry("F4", [3], [0, 1])}, b"\0"),
    "a pickle": b"\x80\x04\x95" + b"\0" * 60,
    "a zip archive": b"PK\x03\x04" + b"\0" * 60,
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_are_refused_by_name(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(data)
    with pytest.raises(NotAnAdapter, match=r"hostile\.safetensors.* isn't a valid safetensors file"):
        read_header(path)


def test_an_lfs_pointer_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "adapter_model.safetensors"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n")
    with pytest.raises(NotAnAdapter, match="git lfs pull"):
        read_header(path)


def test_only_a_plain_file_is_opened(tmp_path: Path) -> None:
    real = tmp_path / "real.safetensors"
    real.write_bytes(_file({"a": _entry()}, b"\0" * 8))
    link, pipe = tmp_path / "link.safetensors", tmp_path / "pipe.safetensors"
    link.symlink_to(real)
    os.mkfifo(pipe)
    for path in (link, pipe, tmp_path):
        with pytest.raises(NotAnAdapter, match="isn't a plain file"):
            read_header(path)


@settings(max_examples=300)
@given(data=st.data())
def test_one_byte_changed_is_read_or_refused_and_never_believed(
    tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    good = bytearray(_file({"a": _entry(), "b": _entry("I8", [2, 2], [8, 12])}, b"\0" * 12))
    at = data.draw(st.integers(0, len(good) - 13))
    good[at] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "fuzzed.safetensors"
    path.write_bytes(good)
    try:
        found = read_header(path)
    except NotAnAdapter:
        return
    assert sum(tensor.stop - tensor.start for tensor in found.values()) == 12


shapes = st.lists(st.integers(-1, 5) | st.just(2**40), max_size=4)
offsets = st.lists(st.integers(-1, 40), min_size=1, max_size=3)
entries = st.fixed_dictionaries({"dtype": st.sampled_from([*BITS, "X"]), "shape": shapes, "data_offsets": offsets})


@settings(max_examples=300)
@given(header=st.dictionaries(st.text(max_size=3), entries, max_size=3), size=st.integers(0, 40))
def test_whatever_is_accepted_fills_the_file(
    tmp_path_factory: pytest.TempPathFactory, header: dict[str, Any], size: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.safetensors"
    path.write_bytes(_file(header, b"\0" * size))
    try:
        found = read_header(path)
    except NotAnAdapter:
        return
    place = 0
    for tensor in found.values():
        assert tensor.start == place
        place = tensor.stop
    assert place == size
