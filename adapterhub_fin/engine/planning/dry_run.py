"""One step of training and one batch of evaluation on a model without memory: what they would hold and compute."""

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
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import Trainer, TrainerControl, TrainerState

from adapterhub_fin.engine.base.fingerprint import logical_shape
from adapterhub_fin.engine.base.quiet import quiet_loading
from adapterhub_fin.engine.planning.batches import Rows, longest_answer, longest_part
from adapterhub_fin.engine.planning.fake_model import held, shadow_experts, shadow_model
from adapterhub_fin.engine.planning.memory_ledger import MemoryTracker, Work
from adapterhub_fin.engine.training.arguments import arguments
from adapterhub_fin.plugin.examples import lengths

if TYPE_CHECKING:
    from adapterhub_fin.engine.training.prepare import PreparedRun

WEIGHTS, GRADIENTS, OPTIMIZER, ACTIVATIONS, WORKING = "weights", "gradients", "optimizer", "activations", "working"


@dataclass(frozen=True)
class Phase:
    """The longest batch of a phase: its shape, what stands in memory at its fullest moment, and its work."""

    rows: int
    length: int  # tokens of its longest row
    blocks: Sequence[tuple[str, int]]  # kind and bytes of each tensor
    work: Sequence[Work]

    @property
    def bytes(self) -> int:
        return sum(size for _, size in self.blocks)

    def of(self, kind: str) -> int:
        """Bytes of one kind."""
        return sum(size for found, size in self.blocks if found == kind)


@dataclass(frozen=True)
class DryRun:
    """What a run would do, as a shadow of it did; sizes are bytes."""

    parameters: int  # of the base, its head and the adapter
    trained: int
    weights: int
    gradients: int
    optimizer: int  # with whatever else the method keeps from step to step
    activations: int  # what one part of a step keeps for its backward pass
    training: Phase  # one part, and the update of the weights
    update: Sequence[Work]  # that update alone
    evaluation: Phase


def rehearse(draft: PreparedRun) -> DryRun:
    """Train a step and evaluate a batch, the longest that the run will make, with no memory for any tensor.

    Raises BadRecipe for a quantization that can't be told from the configuration.
    """
    with quiet_loading(), shadow_experts():
        stage = _Stage(draft)
        return stage.perform()


class _Stage:
    """A shadow of the model, with the ledger that watches it."""

    def __init__(self, draft: PreparedRun) -> None:
        self.draft = draft
        self.fake, self.ledger = FakeTensorMode(), MemoryTracker()
        self.model: Any = shadow_model(draft, self.fake)
        self.trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.ledger.hold(held(self.model), WEIGHTS)

    def perform(self) -> DryRun:
        weights, sizes = self.ledger.live(WEIGHTS), [math.prod(logical_shape(p)) for p in self.model.parameters()]
        training = self.draft.recipe.training
        if training.recompute:
            self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        part = longest_part(self.draft)
        self._prepare()
        self._step(part)  # the first makes what the optimizer keeps
        since = self.ledger.now
        activations, last, updates = self._step(part)
        rehearsed = self._phase(part, since, self.ledger.work[last:updates])
        update = self.ledger.work[updates:]
        return DryRun(
            parameters=sum(sizes),
            trained=sum(parameter.numel() for parameter in self.trained),
            weights=weights,
            gradients=sum(parameter.numel() * parameter.itemsize for parameter in self.trained),
            optimizer=self.ledger.live(OPTIMIZER),
            activations=activations,
            training=rehearsed,
            update=update,
            evaluation=self._evaluate(longest_answer(self.draft)),
        )

    def _prepare(self) -> None:
        """The optimizer and the callbacks that training would have."""
        draft = self.draft
        with tempfile.TemporaryDirectory() as folder:
            self.told = arguments(draft.recipe.training, draft.metric, Path(folder))
        kind, options = Trainer.get_optimizer_cls_and_kwargs(self.told)
        self.optimizer: torch.optim.Optimizer = kind(self.trained, **options)
        self.callbacks = draft.method.callbacks(self.model, draft.site.adapter_name, draft.steps)

    def _step(self, rows: Rows) -> tuple[int, int, int]:
        """One optimizer step; bytes kept for the backward pass, and where its last part's work and the update begin."""
        ledger, training = self.ledger, self.draft.recipe.training
        self.model.train()
        parts = [self._batch(rows) for _ in range(min(training.accumulate, 2))]  # gradients stand in the second
        with self.fake, ledger:
            for batch in parts:
                last = len(ledger.work)
                loss = self._loss(batch)
                ledger.label_rest(ACTIVATIONS)
                activations = ledger.live(ACTIVATIONS)
                loss.backward()  # type: ignore[no-untyped-call]
                del loss
                ledger.hold([p.grad for p in self.trained if p.grad is not None], GRADIENTS)
            updates = len(ledger.work)
            nn.utils.clip_grad_norm_(self.trained, training.clip)
            self.optimizer.step()
            for callback in self.callbacks:
                callback.on_optimizer_step(self.told, TrainerState(), TrainerControl())
            self.optimizer.zero_grad()
            ledger.label_rest(OPTIMIZER)
        return activations, last, updates

    def _loss(self, batch: dict[str, Tensor]) -> Tensor:
        draft, labels = self.draft, batch.pop("labels")
        value = draft.head.loss(self._forward(batch), labels)
        penalty = draft.method.penalty(self.model, draft.site.adapter_name)
        return value if penalty is None else value + penalty

    def _forward(self, batch: Mapping[str, Tensor]) -> Any:
        kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.draft.recipe.training.precision)
        if kind is None:
            return self.model(**batch)
        with torch.autocast("cpu", kind):
            outputs = self.model(**batch)
        return convert_to_fp32(outputs)  # as accelerate does

    def _evaluate(self, rows: Rows) -> Phase:
        since, before = self.ledger.now, len(self.ledger.work)
        self.model.eval()
        batch = self._batch(rows)
        labels = batch.pop("labels")
        with self.fake, self.ledger, torch.no_grad():
            outputs = self._forward(batch)
            self.draft.head.loss(outputs, labels)
            self.draft.head.answers(outputs.logits, {**batch, "labels": labels})
        return self._phase(rows, since, self.ledger.work[before:])

    def _batch(self, rows: Rows) -> dict[str, Tensor]:
        """A shadow of the real batch, whose values are read here for the last time."""
        real = self.draft.head.collator(self.draft.tokenizer)([dict(row) for row in rows])
        if "attention_mask" in real and bool(real["attention_mask"].all()):
            del real["attention_mask"]  # Transformers leaves out such a mask too, but can't see that in a shadow
        batch: dict[str, Tensor] = {name: self.fake.from_tensor(value) for name, value in real.items()}
        self.ledger.hold(batch.values(), WORKING)
        return batch

    def _phase(self, rows: Rows, since: int, work: Sequence[Work]) -> Phase:
        blocks = [(kind or WORKING, size) for kind, size in self.ledger.fullest(since)]
        return Phase(len(rows), max(lengths(rows)), blocks, list(work))
