"""Give examples the answers of the model before training, which some losses and metrics compare with.

That model is the base without an adapter, so it answers before one is attached: an adapter may change the base's own
weights, and not every method can be switched off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.inference.in_batches import Collate, Example, answer_in_batches
from adapterhub_fin.errors import BadCorpus

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from adapterhub_fin.plugin.heads import HeadImplementation
else:
    torch = Lazy("torch")


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
    kind = next(model.parameters()).device.type

    def answer(batch: dict[str, Any]) -> Tensor:
        inputs = {"labels": batch.pop("labels")}
        with _autocast(kind, precision):
            return head.answers(head.raw_outputs(model(**batch)), inputs)

    blank = blank_references(head, examples)
    answers = answer_in_batches(model, blank, collate, answer, batch_size=batch_size, title="reference")
    for row, answered in enumerate(answers):
        if not torch.isfinite(answered).all():
            raise BadCorpus(f"the model before training answers example {row} with NaN or infinity")
    return [{**example, "reference": each.tolist()} for example, each in zip(examples, answers, strict=True)]


def _autocast(device: str, precision: str) -> Any:
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    return nullcontext() if kind is None else torch.autocast(device, kind)
