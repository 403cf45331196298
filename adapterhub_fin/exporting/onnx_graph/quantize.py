"""Store the matrices of a graph in eight bits, by channel."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from adapterhub_fin.exporting.onnx_graph.graph import DATA, MODEL


def quantize(path: Path) -> None:
    """Replace a graph by one with int8 weights in its matrix products; activations are quantized while it runs.

    Embeddings, norms and products of two activations stay in float32. Each output channel has a scale of its own: one
    scale for a whole matrix moves probabilities several times as far.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with TemporaryDirectory(prefix="int8-", dir=path.parent) as temporary, _quiet():
        target = Path(temporary) / MODEL  # under its own name, by which a graph refers to weights apart
        quantize_dynamic(
            path,
            target,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=path.with_name(DATA).is_file(),
        )
        path.with_name(DATA).unlink(missing_ok=True)
        for written in sorted(Path(temporary).iterdir()):
            written.replace(path.with_name(written.name))


@contextmanager
def _quiet() -> Iterator[None]:
    """Drop warnings of the root logger: the quantizer advises a preparation that the exporter has done."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
