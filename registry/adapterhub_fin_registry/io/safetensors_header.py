"""Read and fully check the header of a safetensors file, without torch.

The format: eight little-endian bytes give the length of a JSON object, which names each tensor with its dtype, its
shape and its position in the bytes after the object. The tensors fill those bytes without gaps or overlaps.
https://huggingface.co/docs/safetensors/index#format
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from mmap import mmap
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, NoReturn

from adapterhub_fin_registry.errors import NotAnAdapter
from adapterhub_fin_registry.io.safe_read import NotRegularError, open_regular

# safetensors itself allows 100 MB; an adapter's header is a thousandth of that.
HEADER_LIMIT: Final = 32 * 2**20
_DIMENSIONS: Final = 32
_ELEMENTS: Final = 2**48
_POINTER: Final = b"version https://git-lfs.github.com/spec"
BITS: Final = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F8_E8M0": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip


class TensorInfo(NamedTuple):
    """Describe one tensor: its dtype, its shape, and its first byte and end in the bytes after the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


class _HeaderError(Exception):
    """Carry what is wrong with a header, as the end of a sentence."""


class _PointerError(Exception):
    """Report that the file is a git LFS pointer."""


def read_header(path: Path, called: str | None = None) -> dict[str, TensorInfo]:
    """Return every tensor of a safetensors file by its name, in the order of their bytes.

    `called` is how messages name the file, if its path would tell a user nothing. Raises NotAnAdapter if the file isn't
    a valid safetensors file, and OSError if it can't be opened.
    """
    called = called or str(path)
    try:
        with open_regular(path) as file, _named(called):
            return _read(file)
    except NotRegularError as error:
        raise NotAnAdapter(f"{called} isn't a plain file: replace it by the file itself") from error


def parse_header(data: bytes | bytearray | mmap, called: str) -> dict[str, TensorInfo]:
    """Return what `read_header` does, of a file whose bytes are at hand. Raises NotAnAdapter."""
    with _named(called):
        length = _header_size(bytes(data[: len(_POINTER)]), len(data))
        return _tensors(_parse(bytes(data[8 : 8 + length])), len(data) - 8 - length)


@contextmanager
def _named(called: str) -> Iterator[None]:
    try:
        yield
    except _HeaderError as error:
        raise NotAnAdapter(f"{called} isn't a valid safetensors file, {error}: save or download it again") from error
    except _PointerError as error:
        raise lfs_pointer(called) from error


def is_lfs_pointer(start: bytes) -> bool:
    """Return whether a file's first bytes are those of a git LFS pointer."""
    return start.startswith(_POINTER)


def lfs_pointer(called: str) -> NotAnAdapter:
    """Return the error for a git LFS pointer in place of the file; `called` names the file."""
    return NotAnAdapter(f"{called} is a git LFS pointer and not the file: run `git lfs pull` where it was cloned")


def _read(file: BinaryIO) -> dict[str, TensorInfo]:
    size = os.fstat(file.fileno()).st_size
    length = _header_size(file.read(len(_POINTER)), size)
    file.seek(8)
    return _tensors(_parse(file.read(length)), size - 8 - length)


def _header_size(start: bytes, size: int) -> int:
    """Return how many bytes the header of a file of that size has, by the file's first bytes."""
    if is_lfs_pointer(start):
        raise _PointerError
    if len(start) < 8:
        _bad("it is too short to have a header")
    length = int.from_bytes(start[:8], "little")
    if length > HEADER_LIMIT:
        _bad(f"its header claims {length} bytes, beyond the {HEADER_LIMIT} allowed")
    if length > size - 8:
        _bad("its header claims more bytes than the file has")
    return length


def _parse(data: bytes) -> dict[str, Any]:
    if not data.startswith(b"{"):
        _bad("its header isn't a JSON object")
    try:
        header = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_constant)
    except (ValueError, RecursionError) as error:
        raise _HeaderError("its header isn't JSON") from error
    if not isinstance(header, dict):
        _bad("its header isn't a JSON object")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Of two equal keys Python keeps the last and other readers the first, so that each would see another file.
    result = dict(pairs)
    if len(result) != len(pairs):
        _bad("its header has a key twice")
    return result


def _constant(text: str) -> NoReturn:
    _bad(f"its header holds {text}")


def _tensors(header: dict[str, Any], size: int) -> dict[str, TensorInfo]:
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        _bad("its __metadata__ isn't an object of texts")
    infos = {name: _tensor(name, entry) for name, entry in header.items()}
    ordered = dict(sorted(infos.items(), key=lambda item: (item[1].start, item[1].stop, item[0])))
    position = 0
    for name, tensor in ordered.items():
        if tensor.start != position:
            _bad(f"tensor {name!r} begins at byte {tensor.start} where {position} is due")
        position = tensor.stop
    if position != size:
        _bad(f"its tensors fill {position} bytes and the file has {size}")
    return ordered


def _tensor(name: str, entry: Any) -> TensorInfo:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise _HeaderError("a tensor's name isn't Unicode") from error
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        _bad(f"tensor {name!r} isn't described by dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        _bad(f"tensor {name!r} has an unknown dtype")
    if not _counts(shape) or len(shape) > _DIMENSIONS:
        _bad(f"tensor {name!r} has an impossible shape")
    if not _counts(offsets) or len(offsets) != 2:
        _bad(f"tensor {name!r} has impossible offsets")
    elements = 1
    for dimension in shape:
        elements *= dimension
        if elements > _ELEMENTS:
            _bad(f"tensor {name!r} has an impossible shape")
    if elements * BITS[dtype] != (offsets[1] - offsets[0]) * 8:
        _bad(f"tensor {name!r} has offsets that don't fit its dtype and shape")
    return TensorInfo(dtype, tuple(shape), offsets[0], offsets[1])


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _bad(why: str) -> NoReturn:
    raise _HeaderError(why)
