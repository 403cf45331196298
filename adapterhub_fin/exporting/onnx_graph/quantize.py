"""Store the matrices of a graph in eight bits: by blocks, or by channel with dynamic activations."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from adapterhub_fin.exporting.onnx_graph.graph import DATA, MODEL

BLOCK: Final = 128  # weights of one column that share a scale
IN_INT8: Final = 4  # accuracy_level of MatMulNBits: activations are quantized too, block by block


def quantize(path: Path, precision: str) -> None:
    """Replace a graph by one with int8 weights in its matrix products; all else stays in float32.

    `int8` has a scale for each block of a column and of a row of activations (ONNX Runtime's own MatMulNBits), so that
    an outlier spoils its block alone, and a row's answer does not depend on its batch. `int8-dynamic` has one for each
    output channel, and one for all activations of a batch (the standard MatMulInteger): faster, and further off.
    """
    is_apart = path.with_name(DATA).is_file()
    with TemporaryDirectory(prefix="int8-", dir=path.parent) as temporary, _quiet():
        target = Path(temporary) / MODEL  # under its own name, by which a graph refers to weights apart
        (_by_blocks if precision == "int8" else _dynamic)(path, target, is_apart)
        path.with_name(DATA).unlink(missing_ok=True)
        for written in sorted(Path(temporary).iterdir()):
            written.replace(path.with_name(written.name))


def _by_blocks(path: Path, target: Path, is_apart: bool) -> None:
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(
        onnx.load(path), bits=8, block_size=BLOCK, is_symmetric=True, accuracy_level=IN_INT8
    )
    quantizer.process()
    quantizer.model.save_model_to_file(target, use_external_data_format=is_apart)


def _dynamic(path: Path, target: Path, is_apart: bool) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        path,
        target,
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        use_external_data_format=is_apart,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Drop what the quantizers log: advice on preparing a graph, and each node; and undo what they set at import."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    import_module("onnxruntime.quantization.matmul_nbits_quantizer")  # which configures logging of the whole process
    root.handlers[:] = handlers
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.handlers[:] = handlers  # logging.warning adds one where there is none
        root.setLevel(level)
