"""Let a model that is not an adapter's yet answer examples, in batches of like length."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.data.batches import on_device
from adapterhub_fin.plugin.examples import lengths
from adapterhub_fin.plugin.progress_lines import progress

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
else:
    torch = Lazy("torch")

Example = dict[str, Any]
Collate = Callable[[list[Example]], Mapping[str, Any]]


def answer_in_batches(
    model: nn.Module,
    examples: Sequence[Example],
    collate: Collate,
    answer: Callable[[dict[str, Any]], Tensor],
    *,
    batch_size: int,
    title: str,
) -> list[Tensor]:
    """Return what `answer` makes of each example's batch, (outputs,) each, in float32 on the CPU and in their order.

    `answer` takes a batch on the model's device and returns (rows, outputs). The model answers without dropout, and has
    its own mode again afterwards.
    """
    device, in_training = next(model.parameters()).device, model.training
    sizes = lengths(examples)
    order = sorted(range(len(examples)), key=lambda index: (-sizes[index], index))
    answers: dict[int, Tensor] = {}
    model.eval()
    try:
        with torch.inference_mode(), progress(title, len(order)) as advance:
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                batch = on_device(collate([examples[row] for row in rows]), device)
                answers.update(zip(rows, answer(batch).float().cpu(), strict=True))
                advance(len(rows))
    finally:
        model.train(in_training)
    return [answers[row] for row in range(len(examples))]
