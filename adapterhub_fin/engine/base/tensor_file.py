"""Read and rewrite the tensors of a safetensors file chunk by chunk, without torch.

torch takes seconds to import and a whole tensor at a time; numpy has no bfloat16, whose sixteen bits are the upper
half of a float32 (https://en.wikipedia.org/wiki/Bfloat16_floating-point_format) and are widened to float32 here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from adapterhub_fin._lazy import Lazy
from adapterhub_fin_registry.io.safe_read import open_regular
from adapterhub_fin_registry.io.safetensors_header import read_header

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
else:
    np = Lazy("numpy")

CHUNK = 2**20  # bytes
ELEMENTS = 2**18
# safetensors' floating-point types that are computed with, by torch's names, the coarsest first.
FLOAT_DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64"}
NUMPY = {
    "BOOL": "u1", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8",
    "I64": "<i8", "F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip


class TensorFile:
    """Read a safetensors file. Raises NotAnAdapter if its header is wrong in any way."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tensors = read_header(path)
        with open_regular(path) as file:
            self.data = 8 + int.from_bytes(file.read(8), "little")  # the offset of the first tensor

    def raw(self, name: str, most: int = CHUNK) -> Iterator[bytes]:
        """Yield a tensor's bytes as they are stored, at most `most` at a time.

        Raises OSError if the file became shorter since its header was read.
        """
        info = self.tensors[name]
        with open_regular(self.path) as file:
            file.seek(self.data + info.start)
            left = info.stop - info.start
            while left:
                chunk = file.read(min(most, left))
                if not chunk:
                    raise OSError(f"{self.path} became shorter while it was read")
                left -= len(chunk)
                yield chunk

    def measurable(self, name: str) -> bool:
        """Return whether `values` can yield a tensor's elements: not for complex numbers and 8-bit floats."""
        return self.tensors[name].dtype in NUMPY

    def values(self, name: str) -> Iterator[Floats]:
        """Yield a tensor's elements in row-major order, as float64 arrays of shape (at most ELEMENTS,)."""
        dtype = self.tensors[name].dtype
        for chunk in self.raw(name, ELEMENTS * np.dtype(NUMPY[dtype]).itemsize):
            yield _widened(chunk, dtype)

    def elements(self, name: str, indices: Sequence[int]) -> list[float]:
        """Return single elements of a tensor by their row-major indices, and read nothing else of it."""
        info = self.tensors[name]
        stored = np.dtype(NUMPY[info.dtype])
        with open_regular(self.path) as file:
            read = bytearray()
            for index in indices:
                file.seek(self.data + info.start + index * stored.itemsize)
                read += file.read(stored.itemsize)
        return [float(value) for value in _widened(bytes(read), info.dtype)]

    def all_zero(self, name: str) -> bool:
        """Return whether every element of a tensor is zero, or every bit if its type isn't `measurable`."""
        if self.measurable(name):
            return not any(bool(chunk.any()) for chunk in self.values(name))
        return not any(chunk.strip(b"\0") for chunk in self.raw(name))

    def rewrite(self, names: Mapping[str, str], target: Path) -> None:
        """Write some of the tensors to a new file, bit for bit; `names` maps each old name to its new one.

        Raises FileExistsError if the target exists.
        """
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        offset = 0
        for name, new_name in names.items():
            info = self.tensors[name]
            size = info.stop - info.start
            header[new_name] = {"dtype": info.dtype, "shape": list(info.shape), "data_offsets": [offset, offset + size]}
            offset += size
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)  # align the tensors to eight bytes, as the safetensors library does
        with target.open("xb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            self._copy(names, file)

    def _copy(self, names: Mapping[str, str], file: BinaryIO) -> None:
        for name in names:
            for chunk in self.raw(name):
                file.write(chunk)


def _widened(data: bytes, dtype: str) -> Floats:
    stored = np.frombuffer(data, dtype=NUMPY[dtype])
    if dtype == "BF16":
        stored = (stored.astype("<u4") << 16).view("<f4")
    return stored.astype(np.float64)
