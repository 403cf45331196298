"""Give examples the answers of the model before training, which some losses and metrics compare with.

That model is the base without an adapter, so it answers before one is attached: an adapter may change the base's own
weights, and not every method can be switched off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.progress import progress
from adapterhub_fin.engine.data.batches import on_device
from adapterhub_fin.errors import BadCorpus
from adapterhub_fin.plugin.examples import lengths

if TYPE_CHECKING:
    import torch
    from torch import nn

    from adapterhub_fin.plugin.heads import HeadImplementation
else:
    torch = Lazy("torch")

Example = dict[str, Any]
Collate = Callable[[list[Example]], Mapping[str, Any]]


def blank_references(head: HeadImplementation, examples: Sequence[Mapping[str, Any]]) -> list[Example]:
    """Return the examples with zeros as `reference`, for a batch of which only the shape counts."""
    blank = {"reference": [0.0] * head.num_references} if head.num_references else {}
    return [{**example, **blank} for example in examples]


def with_references(
    head: HeadImplementation,
    model: nn.Module,
    collate: Collate,
    examples: Sequence[Example],
    *,
    batch_size: int,
    precision: str = "fp32",
) -> Sequence[Example]:
    """Return the examples, each with the `answers` of `model` as `reference` where the head compares with them.

    The model is the one before training, in the precision of training. It answers without dropout, and has its own mode
    again afterwards. Raises BadCorpus for an answer that is NaN or infinite.
    """
    if not head.num_references:
        return examples
    device, in_training = next(model.parameters()).device, model.training
    sizes = lengths(examples)
    order = sorted(range(len(examples)), key=lambda index: (-sizes[index], index))
    referred = list(examples)
    model.eval()
    try:
        with torch.inference_mode(), _autocast(device, precision), progress("reference", len(order)) as advance:
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                batch = on_device(collate(blank_references(head, [examples[row] for row in rows])), device)
                inputs = {"labels": batch.pop("labels")}
                answers = head.answers(head.raw_outputs(model(**batch)), inputs).float().cpu()
                for row, answer in zip(rows, answers, strict=True):
                    if not torch.isfinite(answer).all():
                        raise BadCorpus(f"the model before training answers example {row} with NaN or infinity")
                    referred[row] = {**examples[row], "reference": answer.tolist()}
                advance(len(rows))
    finally:
        model.train(in_training)
    return referred


def _autocast(device: torch.device, precision: str) -> Any:
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    return nullcontext() if kind is None else torch.autocast(device.type, kind)
