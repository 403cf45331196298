"""Transformers' Trainer, taught what an adapter is: its loss, its checkpoints, its best one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainerState
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from adapterhub_fin.engine.data.sampling import LengthGroupedBatches, LongestFirst
from adapterhub_fin.engine.peft.adapter_io import write_adapter, write_tensors
from adapterhub_fin.engine.training.run_folder import seal
from adapterhub_fin.plugin.examples import lengths

if TYPE_CHECKING:
    from adapterhub_fin.plugin.heads import HeadImplementation
    from adapterhub_fin.plugin.interfaces import MethodImplementation

STATE = "training_state.safetensors"


class AdapterTrainer(Trainer):
    """A Trainer whose loss is the head's, and whose checkpoints hold the adapter and all that resuming it needs."""

    def __init__(
        self,
        *,
        method: MethodImplementation,
        head: HeadImplementation,
        adapter_name: str,
        modules_to_save: Sequence[str] = (),
        head_rate: float | None = None,
        checkpoint_steps: int | None = None,
        tolerance: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            compute_loss_func=self._loss,
            preprocess_logits_for_metrics=lambda logits, labels: head.answers(logits, {"labels": labels}),
            **kwargs,
        )
        self.adapted: nn.Module = kwargs["model"]
        self.method = method
        self.head = head
        self.adapter_name = adapter_name
        self.modules_to_save = tuple(f".{name}." for name in modules_to_save)
        self.head_rate = head_rate
        self.tolerance = tolerance
        for callback in (PrinterCallback, ProgressCallback):  # both write to standard output, which is the caller's
            self.remove_callback(callback)
        self.add_callback(_EpochOrder(self))
        if checkpoint_steps is not None:
            self.add_callback(_Checkpoints(checkpoint_steps))

    def _loss(self, outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
        """The head's mean loss with the method's penalty, weighed by this batch's share of the answers of its step.

        The shares of all parts of a step, over accumulation and processes, sum to one: the step's loss is the mean
        over its answers however it is divided. One that is no number stops the run instead of spoiling it.
        """
        value = self.head.loss(outputs, labels)
        if not torch.isfinite(value):
            raise FloatingPointError(f"the loss is {value.item()}")
        if num_items_in_batch is None:  # evaluation
            return value
        if (penalty := self.method.penalty(self.adapted, self.adapter_name)) is not None:
            value = value + penalty
        share: Tensor = self.head.weight(labels) / num_items_in_batch
        return value * share

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Any:
        """What the answers of one optimizer step weigh together, over its parts and processes."""
        total = torch.stack([self.head.weight(batch["labels"]) for batch in batch_samples]).sum().to(device)
        return self.accelerator.gather(total[None]).sum() if self.args.world_size > 1 else total

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        tokens = inputs["input_ids"]
        try:
            return super().training_step(model, inputs, num_items_in_batch)
        except FloatingPointError as error:
            raise FloatingPointError(
                f"{error} at step {self.state.global_step + 1}, in the batch of training examples "
                f"{', '.join(map(str, self._places(tokens)))}: lower training.learning_rate, or look at these rows"
            ) from error

    def _places(self, tokens: Tensor) -> list[int]:
        """Which training examples a batch was made of, told by their tokens."""
        examples: Any = self.train_dataset
        rows = [row.tolist() for row in tokens.cpu()]
        starts = {tuple(example["input_ids"]): place for place, example in enumerate(examples)}
        return sorted(place for ids, place in starts.items() if any(_within(list(ids), row) for row in rows))

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW over the adapter, and over the head at its own rate where it has one."""
        fresh = self.optimizer is None
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        if self.head_rate is not None and fresh:
            heads = {id(p) for name, p in self.adapted.named_parameters() if self._is_head(name)}
            for group in list(optimizer.param_groups):
                mine = [parameter for parameter in group["params"] if id(parameter) in heads]
                if mine:
                    group["params"] = [parameter for parameter in group["params"] if id(parameter) not in heads]
                    rest = {key: value for key, value in group.items() if key != "params"}
                    optimizer.add_param_group({**rest, "params": mine, "lr": self.head_rate})
        return optimizer

    def _is_head(self, name: str) -> bool:
        return any(module in f".{name}" for module in self.modules_to_save)

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthGroupedBatches:
        rows: Any = self.train_dataset if train_dataset is None else train_dataset
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        self.order = LengthGroupedBatches(lengths(rows), batch, self.args.seed)
        return self.order

    def _get_eval_sampler(self, eval_dataset: Any) -> LongestFirst:
        rows: Any = eval_dataset
        return LongestFirst(lengths(rows))

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """The adapter as others read it, and beside it what resuming needs."""
        folder = Path(str(output_dir or self.args.output_dir))
        write_adapter(self.method, self.adapted, self.adapter_name, folder)
        state = self.method.training_state(self.adapted, self.adapter_name)
        if spoilt := sorted(name for name, value in state.items() if not torch.isfinite(value).all()):
            raise FloatingPointError(f"{spoilt[0]} holds values that are no numbers: lower training.learning_rate")
        write_tensors(state, folder / STATE)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)  # with no limit given, it deletes nothing
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            folder = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
            seal(folder, self.state.best_model_checkpoint)

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Whether this is the best; what is kept is that, or a later one within the tolerance of it."""
        is_best: bool = super()._determine_best_metric(metrics, trial)
        assert self.state.best_metric is not None, "it has just been set"
        off = abs(metrics[f"eval_{self.args.metric_for_best_model}"] - self.state.best_metric)
        if self.tolerance and (off <= self.tolerance or math.isclose(off, self.tolerance)):
            self.state.best_global_step = self.state.global_step
        return is_best

    @property
    def kept(self) -> float | None:
        """What the checkpoint that is kept had on validation."""
        name, step = f"eval_{self.args.metric_for_best_model}", self.state.best_global_step
        return next((float(log[name]) for log in self.state.log_history if name in log and log["step"] == step), None)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self._restore(Path(resume_from_checkpoint))

    def check_best(self) -> None:
        """Raise FloatingPointError where no epoch's metric was a number: the last epoch would pass for the best."""
        if self.state.best_model_checkpoint is None:
            raise FloatingPointError(
                f"{self.args.metric_for_best_model} of the validation part was no number after any epoch: choose "
                "another training.metric, or look at these rows"
            )

    def _load_best_model(self) -> None:
        self._restore(Path(str(self.state.best_model_checkpoint)))

    def finish(self, state: TrainerState) -> None:
        """Take a run that had come to its end, but for storing what it gave, to its best checkpoint."""
        self.state = state
        self.check_best()
        self._load_best_model()

    def _restore(self, checkpoint: Path) -> None:
        device = next(self.adapted.parameters()).device
        self.method.resume(self.adapted, self.adapter_name, load_file(checkpoint / STATE, device=str(device)))


class _EpochOrder(TrainerCallback):
    """Tell the sampler which epoch it is: accelerate forwards that in some wrappings and not in others."""

    def __init__(self, trainer: AdapterTrainer) -> None:
        self.trainer = trainer

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.order.set_epoch(int(state.epoch or 0))


class _Checkpoints(TrainerCallback):
    """A checkpoint every so many steps, beside the one after each epoch's evaluation."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # Not where an epoch ends, where one is made once it was measured: a run that goes on from one made before that
        # would never measure that epoch.
        ends = state.epoch % 1 == 0 or state.global_step >= state.max_steps
        control.should_save |= state.global_step % self.steps == 0 and not ends


def _within(ids: list[int], row: list[int]) -> bool:
    """Whether a padded row holds these tokens, on either side of its padding."""
    return row[: len(ids)] == ids or row[len(row) - len(ids) :] == ids
