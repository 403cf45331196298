"""Refuse adapters with NaN or infinite weights, or with weights of an integer type.

PEFT loads such a file without a word, and its every answer is the first label with the score NaN. The file is read a
megabyte at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.tensor_file import TensorFile
from adapterhub_fin.errors import NotAnAdapter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
else:
    np = Lazy("numpy")

# Integer tensors that some PEFT types store: indices into a matrix or into a bank of vectors (SHiRA, FRoD, VB-LoRA).
INDICES = re.compile(r"(^|[._])(\w*_indices|frod_s_size)(\.|$)")
INTEGERS = frozenset(["U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64"])
WIDTH = {"F16": "<u2", "BF16": "<u2", "F32": "<u4", "F64": "<u8"}
# All bits of the exponent set means infinite or NaN (IEEE 754); each smaller type encodes NaN in its own way.
EXPONENT = {"F16": 0x7C00, "BF16": 0x7F80, "F32": 0x7F80_0000, "F64": 0x7FF0_0000_0000_0000, "F8_E5M2": 0x7C}
SPELLED: dict[str, Callable[[NDArray[Any]], NDArray[np.bool_]]] = {
    "F8_E4M3": lambda bits: bits & 0x7F == 0x7F,
    "F8_E4M3FNUZ": lambda bits: bits == 0x80,
    "F8_E5M2FNUZ": lambda bits: bits == 0x80,
    "F8_E8M0": lambda bits: bits == 0xFF,
}
ALL_FINITE = frozenset(["F6_E2M3", "F6_E3M2", "F4"])


def check_weights_finite(path: Path, called: Path) -> None:
    """Check that a file's weights are finite floating-point numbers; `called` is the file's name in messages.

    Raises NotAnAdapter, which names the first tensor with NaN or infinity, or of another type.
    """
    file = TensorFile(path)
    for name, info in file.tensors.items():
        if info.dtype in INTEGERS and INDICES.search(name):
            continue
        if info.dtype not in {*EXPONENT, *SPELLED, *ALL_FINITE}:
            raise NotAnAdapter(
                f"{called} holds {name} as {info.dtype}, which is not a type of trained weights: save the adapter "
                "again from the model that was trained, unquantized"
            )
        if info.dtype not in ALL_FINITE and any(_not_finite(chunk, info.dtype) for chunk in file.raw(name)):
            raise NotAnAdapter(
                f"{called} holds NaN or infinity in {name}, so that its answers would be NaN: train it again, from a "
                "checkpoint before its loss broke"
            )


def _not_finite(chunk: bytes, dtype: str) -> bool:
    bits = np.frombuffer(chunk, WIDTH.get(dtype, "u1"))
    exponent = EXPONENT.get(dtype)
    non_finite = SPELLED[dtype](bits) if exponent is None else bits & exponent == exponent
    return bool(non_finite.any())
