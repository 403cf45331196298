"""Run one training step and one evaluation batch on fake tensors, and record the memory and work they would take."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import convert_to_fp32
from torch import Tensor, nn
from transformers import Trainer, TrainerControl, TrainerState

from adapterhub_fin.engine.base.fingerprint import logical_shape
from adapterhub_fin.engine.base.quiet import quiet_loading
from adapterhub_fin.engine.data.batches import mapped
from adapterhub_fin.engine.inference.reference import blank_references
from adapterhub_fin.engine.planning.batches import Rows, longest_answer, longest_part
from adapterhub_fin.engine.planning.fake_model import expert_fallback, fake_model, resident_tensors
from adapterhub_fin.engine.planning.memory_tracker import MemoryTracker, Work
from adapterhub_fin.engine.planning.private_torch import FakeTensorMode
from adapterhub_fin.engine.training.arguments import arguments
from adapterhub_fin.plugin.examples import lengths
from adapterhub_fin.plugin.trusted_code import trusting_remote_code

if TYPE_CHECKING:
    from adapterhub_fin.engine.training.prepare import PreparedRun

WEIGHTS, GRADIENTS, OPTIMIZER, ACTIVATIONS, WORKING = "weights", "gradients", "optimizer", "activations", "working"


@dataclass(frozen=True)
class Phase:
    """Hold the longest batch of a phase: its shape, the tensors in memory at its peak, and its work."""

    rows: int
    length: int  # tokens of its longest row
    blocks: Sequence[tuple[str, int]]  # kind and bytes of each tensor
    work: Sequence[Work]

    @property
    def bytes(self) -> int:
        """Return the bytes in memory at the peak."""
        return sum(size for _, size in self.blocks)

    def of(self, kind: str) -> int:
        """Return the bytes of one kind at the peak."""
        return sum(size for block_kind, size in self.blocks if block_kind == kind)


@dataclass(frozen=True)
class DryRun:
    """Hold what a run would take, measured on a fake model; sizes are bytes."""

    parameters: int  # of the base, its head and the adapter
    trained: int
    weights: int
    gradients: int
    optimizer: int  # and whatever else the method keeps from step to step
    activations: int  # kept for the backward pass of one part of a step
    training: Phase  # one part, and the update of the weights
    update: Sequence[Work]  # the update alone
    evaluation: Phase


def dry_run(prepared: PreparedRun) -> DryRun:
    """Train one step and evaluate one batch, the longest of the run, without memory for any tensor.

    Raises BadRecipe for a quantization that the configuration alone does not describe.
    """
    trusted = bool(prepared.recipe.base.trust_remote_code)
    with quiet_loading(), expert_fallback(), trusting_remote_code(trusted):
        return _FakeRun(prepared).measure()


class _FakeRun:
    """Run the fake model under a memory tracker."""

    def __init__(self, prepared: PreparedRun) -> None:
        self.prepared = prepared
        self.fake, self.tracker = FakeTensorMode(), MemoryTracker()
        self.model: Any = fake_model(prepared, self.fake)
        self.trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.tracker.hold(resident_tensors(self.model), WEIGHTS)

    def measure(self) -> DryRun:
        """Return the measurements of one training step and one evaluation batch."""
        weights, sizes = self.tracker.live(WEIGHTS), [math.prod(logical_shape(p)) for p in self.model.parameters()]
        training = self.prepared.recipe.training
        if training.recompute:
            self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        part = longest_part(self.prepared)
        self._set_up_optimizer()
        self._step(part)  # the first step allocates the optimizer's state
        since = self.tracker.now
        activations, last, updates = self._step(part)
        training_phase = self._phase(part, since, self.tracker.work[last:updates])
        update = self.tracker.work[updates:]
        return DryRun(
            parameters=sum(sizes),
            trained=sum(parameter.numel() for parameter in self.trained),
            weights=weights,
            gradients=sum(parameter.numel() * parameter.itemsize for parameter in self.trained),
            optimizer=self.tracker.live(OPTIMIZER),
            activations=activations,
            training=training_phase,
            update=update,
            evaluation=self._evaluate(longest_answer(self.prepared)),
        )

    def _set_up_optimizer(self) -> None:
        """Create the optimizer and the callbacks that training would have."""
        prepared = self.prepared
        with tempfile.TemporaryDirectory() as folder:
            examples = len(prepared.examples["train"])
            self.arguments = arguments(prepared.recipe.training, examples, prepared.metric, Path(folder))
        kind, options = Trainer.get_optimizer_cls_and_kwargs(self.arguments)
        self.optimizer: torch.optim.Optimizer = kind(self.trained, **options)
        tables: dict[str, Tensor] = getattr(self.optimizer, "name2qmap", {})  # codes of bitsandbytes' eight bits
        tables.update({name: self.fake.from_tensor(table) for name, table in tables.items()})
        self.callbacks = prepared.method.callbacks(self.model, prepared.context.adapter_name, prepared.steps)

    def _step(self, rows: Rows) -> tuple[int, int, int]:
        """Run one optimizer step.

        Returns the bytes kept for the backward pass, and the indices in `tracker.work` at which the last part and the
        update begin.
        """
        tracker, training = self.tracker, self.prepared.recipe.training
        self.model.train()
        # Two parts are enough: the second runs while the gradients of the first are in memory.
        parts = [self._batch(rows) for _ in range(min(training.accumulate, 2))]
        with self.fake, tracker:
            for batch in parts:
                last = len(tracker.work)
                loss = self._loss(batch)
                tracker.label_rest(ACTIVATIONS)
                activations = tracker.live(ACTIVATIONS)
                loss.backward()  # type: ignore[no-untyped-call]
                del loss
                tracker.hold([p.grad for p in self.trained if p.grad is not None], GRADIENTS)
            updates = len(tracker.work)
            nn.utils.clip_grad_norm_(self.trained, training.clip)
            self.optimizer.step()
            for callback in self.callbacks:
                callback.on_optimizer_step(self.arguments, TrainerState(), TrainerControl())
            self.optimizer.zero_grad()
            tracker.label_rest(OPTIMIZER)
        return activations, last, updates

    def _loss(self, batch: dict[str, Any]) -> Tensor:
        prepared, labels = self.prepared, batch.pop("labels")
        value = prepared.head.loss(self._forward(batch), labels).sum()
        penalty = prepared.method.penalty(self.model, prepared.context.adapter_name)
        return value if penalty is None else value + penalty

    def _forward(self, batch: Mapping[str, Tensor]) -> Any:
        kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.prepared.recipe.training.precision)
        if kind is None:
            return self.model(**batch)
        with torch.autocast("cpu", kind):
            outputs = self.model(**batch)
        return convert_to_fp32(outputs)  # as accelerate does

    def _evaluate(self, rows: Rows) -> Phase:
        since, before = self.tracker.now, len(self.tracker.work)
        self.model.eval()
        batch = self._batch(rows)
        labels = batch.pop("labels")
        with self.fake, self.tracker, torch.no_grad():
            outputs = self._forward(batch)
            self.prepared.head.loss(outputs, labels)
            self.prepared.head.answers(self.prepared.head.raw_outputs(outputs), {**batch, "labels": labels})
        return self._phase(rows, since, self.tracker.work[before:])

    def _batch(self, rows: Rows) -> dict[str, Any]:
        """Return a fake copy of the real batch; no later step reads the values."""
        head = self.prepared.head
        real = head.collator(self.prepared.tokenizer)(blank_references(head, rows))
        if "attention_mask" in real and bool(real["attention_mask"].all()):
            del real["attention_mask"]  # Transformers leaves out such a mask too, but can't read a fake one
        batch = {name: mapped(self.fake.from_tensor, value) for name, value in real.items()}
        for values in batch.values():
            self.tracker.hold(values.values() if isinstance(values, Mapping) else [values], WORKING)
        return batch

    def _phase(self, rows: Rows, since: int, work: Sequence[Work]) -> Phase:
        blocks = [(kind or WORKING, size) for kind, size in self.tracker.peak(since)]
        return Phase(len(rows), max(lengths(rows)), blocks, list(work))
