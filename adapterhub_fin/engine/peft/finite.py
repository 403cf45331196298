"""Refuse adapters whose weights are no numbers: NaN, infinite, or of a type that holds indices and not weights.

Such a file loads without a word, and answers the first label with the score NaN. It is read a megabyte at a time.
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

# What some types of PEFT store beside their weights: places in a matrix or in a bank of vectors (SHiRA, FRoD, VB-LoRA).
PLACES = re.compile(r"(^|[._])(\w*_indices|frod_s_size)(\.|$)")
INTEGERS = frozenset(["U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64"])
WIDTH = {"F16": "<u2", "BF16": "<u2", "F32": "<u4", "F64": "<u8"}
# All bits of the exponent set: infinite or NaN (IEEE 754); the smaller types spell NaN in their own way.
EXPONENT = {"F16": 0x7C00, "BF16": 0x7F80, "F32": 0x7F80_0000, "F64": 0x7FF0_0000_0000_0000, "F8_E5M2": 0x7C}
SPELLED: dict[str, Callable[[NDArray[Any]], NDArray[np.bool_]]] = {
    "F8_E4M3": lambda bits: bits & 0x7F == 0x7F,
    "F8_E4M3FNUZ": lambda bits: bits == 0x80,
    "F8_E5M2FNUZ": lambda bits: bits == 0x80,
    "F8_E8M0": lambda bits: bits == 0xFF,
}
ALL_FINITE = frozenset(["F6_E2M3", "F6_E3M2", "F4"])


def check_weights_finite(path: Path, called: Path) -> None:
    """Raise NotAnAdapter naming the first tensor that holds NaN or infinity, or that is no floating-point tensor.

    `called` is how messages name the file.
    """
    file = TensorFile(path)
    for name, info in file.tensors.items():
        if info.dtype in INTEGERS and PLACES.search(name):
            continue
        if info.dtype not in {*EXPONENT, *SPELLED, *ALL_FINITE}:
            raise NotAnAdapter(
                f"{called} holds {name} as {info.dtype}, which is no type of trained weights: save the adapter again "
                "from the model that was trained, unquantized"
            )
        if info.dtype not in ALL_FINITE and any(_not_finite(chunk, info.dtype) for chunk in file.raw(name)):
            raise NotAnAdapter(
                f"{called} holds NaN or infinity in {name}, so that it would answer nothing: train it again, from a "
                "checkpoint before its loss broke"
            )


def _not_finite(chunk: bytes, dtype: str) -> bool:
    bits = np.frombuffer(chunk, WIDTH.get(dtype, "u1"))
    exponent = EXPONENT.get(dtype)
    found = SPELLED[dtype](bits) if exponent is None else bits & exponent == exponent
    return bool(found.any())
