"""Read the tensors of a safetensors file as views of its bytes.

safetensors 0.8 loses 56 bytes for each tensor that `safe_open` and `load_file` read: two objects that nobody frees. A
server that loads versions for weeks would grow by them, so that versions are read here. The header is checked as
`adapterhub_fin_registry` checks it when a version is stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from mmap import mmap
from pathlib import Path
from typing import TYPE_CHECKING, Final

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.errors import NotAnAdapter
from adapterhub_fin_registry.io.safetensors_header import TensorInfo, parse_header, read_header

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = Lazy("torch")

_DTYPES: Final = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32", "I32": "int32",
    "U64": "uint64", "I64": "int64", "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64",
    "C64": "complex64", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz", "F8_E8M0": "float8_e8m0fnu",
}  # fmt: skip


class StoredTensors(Mapping[str, "Tensor"]):
    """Map the names of a file's tensors to the tensors, in the order of their bytes; `header` describes them.

    The tensors are on the CPU, and views: of a mapping of the file for each, or of bytes in memory that all share.

    Example:
        >>> StoredTensors.open(folder / "adapter_model.safetensors")["base_model.model.score.weight"].shape
        torch.Size([3, 64])
    """

    def __init__(self, header: Mapping[str, TensorInfo], data: Path | bytearray | mmap, size: int, called: str) -> None:
        self.header, self._size, self._called = header, size, called
        self._data = data if isinstance(data, Path) else torch.frombuffer(data, dtype=torch.uint8)
        self._start = size - max((info.stop for info in header.values()), default=0)

    @classmethod
    def open(cls, path: Path, called: str | None = None) -> StoredTensors:
        """Return the tensors of a file, of which only the pages of those that are used are read.

        What is written into a tensor never reaches the file. Raises NotAnAdapter for no valid safetensors file, and
        OSError if it can't be opened.
        """
        return cls(read_header(path, called), path, path.stat().st_size, called or str(path))

    @classmethod
    def of(cls, data: bytearray | mmap, called: str) -> StoredTensors:
        """Return the tensors of a file's bytes; whoever writes into one writes into them. Raises NotAnAdapter."""
        return cls(parse_header(data, called), data, len(data), called)

    def __getitem__(self, name: str) -> Tensor:
        info = self.header[name]
        if info.dtype not in _DTYPES:
            raise NotAnAdapter(
                f"{self._called} holds {name} as {info.dtype}, which torch has no type for: save it in float32"
            )
        dtype: torch.dtype = getattr(torch, _DTYPES[info.dtype])
        own = self._bytes()[self._start + info.start : self._start + info.stop]
        if own.storage_offset() % dtype.itemsize:
            own = own.clone()  # a file may store its tensors at any byte
        return own.view(dtype).view(info.shape)

    def _bytes(self) -> Tensor:
        """Return the whole file, (bytes,) uint8."""
        if not isinstance(self._data, Path):
            return self._data
        return torch.from_file(str(self._data), shared=False, size=self._size, dtype=torch.uint8)

    def __iter__(self) -> Iterator[str]:
        return iter(self.header)

    def __len__(self) -> int:
        return len(self.header)
