"""Answer rows with a written graph, as a program without torch does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class GraphSession:
    """Hold a graph in ONNX Runtime, on the CPU."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        self._session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def outputs(self, examples: Sequence[Mapping[str, Any]], pad: int, batch_size: int) -> NDArray[np.float32]:
        """Return the outputs of encoded rows, (rows, outputs), answered in batches of like length, in their order.

        `pad` is the padding token, which stands behind the text, as every tokenizer here pads.
        """
        order = sorted(range(len(examples)), key=lambda index: (len(examples[index]["input_ids"]), index))
        answers: dict[int, NDArray[np.float32]] = {}
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            batch = _padded([examples[index] for index in indices], pad)
            answers.update(zip(indices, self._session.run(None, batch)[0], strict=True))
        return np.stack([answers[index] for index in range(len(examples))])


def _padded(examples: Sequence[Mapping[str, Any]], pad: int) -> dict[str, NDArray[Any]]:
    """Return a batch: tokens and mask (rows, longest), and the numbers of rows that have them."""
    length = max(len(example["input_ids"]) for example in examples)
    ids = np.full((len(examples), length), pad, dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, example in enumerate(examples):
        tokens = example["input_ids"]
        ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, 1
    batch: dict[str, NDArray[Any]] = {"input_ids": ids, "attention_mask": mask}
    if "features" in examples[0]:
        batch["features"] = np.array([example["features"] for example in examples], dtype=np.float32)
    return batch
