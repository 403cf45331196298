"""Extend Transformers' Trainer to adapters: the head's loss, resumable checkpoints, and the choice of the best one."""

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
from transformers.trainer_utils import IntervalStrategy

from adapterhub_fin.engine.data.sampling import LengthGroupedBatches, LongestFirst, StagedBatches
from adapterhub_fin.engine.peft.adapter_io import write_adapter, write_tensors
from adapterhub_fin.engine.training.run_folder import seal
from adapterhub_fin.engine.training.sharded import average_gradients, is_sharded, shard
from adapterhub_fin.plugin.examples import lengths, texts_in

if TYPE_CHECKING:
    from adapterhub_fin.plugin.heads import HeadImplementation
    from adapterhub_fin.plugin.interfaces import MethodImplementation

STATE = "training_state.safetensors"


class AdapterTrainer(Trainer):
    """Train with the head's loss; write checkpoints that hold the adapter and all that resuming it needs."""

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
        weights: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            compute_loss_func=self._loss,
            preprocess_logits_for_metrics=lambda logits, labels: head.answers(logits, {"labels": labels}),
            **kwargs,
        )
        self.adapted: nn.Module = kwargs["model"]
        if is_sharded():
            shard(self.accelerator, self.adapted)
            self.is_fsdp_enabled = True
        self.method = method
        self.head = head
        self.adapter_name = adapter_name
        self.modules_to_save = tuple(f".{name}." for name in modules_to_save)
        self.head_rate = head_rate
        self.tolerance = tolerance
        self.weights = weights
        for callback in (PrinterCallback, ProgressCallback):  # both write to standard output, which is the caller's
            self.remove_callback(callback)
        self.add_callback(_EpochOrder(self))
        if checkpoint_steps is not None:
            self.add_callback(_Checkpoints(checkpoint_steps))

    def _loss(self, outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Tensor:
        """Return the head's mean loss plus the method's penalty, times this batch's share of the step's answers.

        The shares of all parts of a step, over accumulation and processes, sum to one, so the step's loss is the mean
        over its answers however the step is divided. The loss is a scalar. Raises FloatingPointError for a NaN or
        infinite one.
        """
        value = self.head.loss(outputs, labels)
        if not torch.isfinite(value).all():
            raise FloatingPointError(f"the loss is {value.sum().item()}")
        if num_items_in_batch is None:  # evaluation
            return value.sum()
        if (penalty := self.method.penalty(self.adapted, self.adapter_name)) is not None:
            value = value + penalty / value.numel()
        share: Tensor = self.head.weight(labels).to(value.device) / num_items_in_batch
        return (value * share).sum()

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the loss, a scalar, and with `return_outputs` what the head keeps of the model's outputs."""
        result: Any = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if not return_outputs:
            return result
        loss, outputs = result
        return loss, {"logits": self.head.raw_outputs(outputs)}

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Any:
        """Return the total weight of the answers of one optimizer step, over its parts and processes, by loss."""
        total = torch.stack([self.head.weight(batch["labels"]) for batch in batch_samples]).sum(0).to(device)
        return self.accelerator.gather(total[None]).sum(0) if self.args.world_size > 1 else total

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Run one part of a step; return its loss, a scalar.

        Raises FloatingPointError, which names the step and its examples, for a NaN or infinite loss.
        """
        tokens = inputs["input_ids"]
        try:
            return super().training_step(model, inputs, num_items_in_batch)
        except FloatingPointError as error:
            indices = ", ".join(map(str, self._example_indices(tokens)))
            raise FloatingPointError(
                f"{error} at step {self.state.global_step + 1}, in the batch of training examples {indices}: "
                "lower training.learning_rate, or look at these rows"
            ) from error

    def _example_indices(self, tokens: Tensor) -> list[int]:
        """Return the indices of the training examples in a batch of token ids (batch, length)."""
        examples: Any = self.train_dataset
        rows = [row.tolist() for row in tokens.cpu()]
        indices = {tuple(ids): index for index, example in enumerate(examples) for ids in texts_in(example)}
        return sorted({index for ids, index in indices.items() if any(_within(list(ids), row) for row in rows)})

    def _prepare_for_training(self, *args: Any, **kwargs: Any) -> Any:
        prepare: Any = super()._prepare_for_training  # untyped
        prepared = prepare(*args, **kwargs)
        self.is_fsdp_enabled = False  # what is saved and loaded, the optimizer's state too, is whole in each process
        return prepared

    def _load_optimizer_and_scheduler(self, checkpoint: Any) -> None:
        self.is_fsdp_enabled = False
        super()._load_optimizer_and_scheduler(checkpoint)

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        if is_sharded():
            average_gradients(self.adapted)
        clip: Any = super()._clip_grad_norm
        return clip(model)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Return the optimizer over the adapter, with the head in a group at its own learning rate where one is set."""
        is_new = self.optimizer is None
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        if self.head_rate is not None and is_new:
            heads = {id(p) for name, p in self.adapted.named_parameters() if self._is_head(name)}
            for group in list(optimizer.param_groups):
                head_parameters = [parameter for parameter in group["params"] if id(parameter) in heads]
                if head_parameters:
                    group["params"] = [parameter for parameter in group["params"] if id(parameter) not in heads]
                    settings = {key: value for key, value in group.items() if key != "params"}
                    optimizer.add_param_group({**settings, "params": head_parameters, "lr": self.head_rate})
        return optimizer

    def _is_head(self, name: str) -> bool:
        return any(module in f".{name}" for module in self.modules_to_save)

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthGroupedBatches | StagedBatches:
        rows: Any = self.train_dataset if train_dataset is None else train_dataset
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        self.order: LengthGroupedBatches | StagedBatches = LengthGroupedBatches(
            lengths(rows), batch, self.args.seed, self.weights
        )
        return self.order

    def _get_eval_sampler(self, eval_dataset: Any) -> LongestFirst:
        rows: Any = eval_dataset
        return LongestFirst(lengths(rows))

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Write the adapter as PEFT reads it, and next to it the state that resuming needs."""
        folder = Path(str(output_dir or self.args.output_dir))
        write_adapter(self.method, self.adapted, self.adapter_name, folder)
        state = self.method.training_state(self.adapted, self.adapter_name)
        if broken := sorted(name for name, value in state.items() if not torch.isfinite(value).all()):
            raise FloatingPointError(f"{broken[0]} holds NaN or infinite values: lower training.learning_rate")
        write_tensors(state, folder / STATE)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)  # with no limit given, it deletes nothing
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            folder = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
            seal(folder, self.state.best_model_checkpoint)

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Return whether this metric is the best yet; select its checkpoint, or a later one within the tolerance."""
        is_best: bool = super()._determine_best_metric(metrics, trial)
        assert self.state.best_metric is not None, "it has just been set"
        gap = abs(metrics[f"eval_{self.args.metric_for_best_model}"] - self.state.best_metric)
        if self.tolerance and (gap <= self.tolerance or math.isclose(gap, self.tolerance)):
            self.state.best_global_step = self.state.global_step
        return is_best

    @property
    def selected_metric(self) -> float | None:
        """Return the validation metric of the selected checkpoint."""
        name, step = f"eval_{self.args.metric_for_best_model}", self.state.best_global_step
        return next((float(log[name]) for log in self.state.log_history if name in log and log["step"] == step), None)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self._restore(Path(resume_from_checkpoint))

    def check_best(self) -> None:
        """Raise FloatingPointError where the metric was NaN or infinite at every evaluation: no checkpoint is best."""
        if self.state.best_model_checkpoint is None:
            raise FloatingPointError(
                f"{self.args.metric_for_best_model} of the validation part was NaN or infinite at every evaluation: "
                "choose another training.metric, or look at these rows"
            )

    def _load_best_model(self) -> None:
        self._restore(Path(str(self.state.best_model_checkpoint)))

    def finish(self, state: TrainerState) -> None:
        """Load the best checkpoint of a run that had ended training but whose version was not stored yet.

        Raises FloatingPointError where no checkpoint is the best, as `check_best`.
        """
        self.state = state
        self.check_best()
        self._load_best_model()

    def _restore(self, checkpoint: Path) -> None:
        device = next(self.adapted.parameters()).device
        self.method.resume(self.adapted, self.adapter_name, load_file(checkpoint / STATE, device=str(device)))


class _EpochOrder(TrainerCallback):
    """Tell the sampler the epoch: accelerate forwards it in some wrappers and not in others."""

    def __init__(self, trainer: AdapterTrainer) -> None:
        self.trainer = trainer

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Set the epoch of the sampler."""
        self.trainer.order.set_epoch(int(state.epoch or 0))


class _Checkpoints(TrainerCallback):
    """Save a checkpoint every `steps` optimizer steps, besides the one after each epoch's evaluation."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask for a checkpoint, except where an epoch ends: the Trainer saves that one after measuring the epoch.

        A run that resumed from a checkpoint between the two would never measure that epoch.
        """
        by_epoch = args.eval_strategy == IntervalStrategy.EPOCH  # else a step's evaluation comes before its checkpoint
        ends = (by_epoch and state.epoch % 1 == 0) or state.global_step >= state.max_steps
        control.should_save |= state.global_step % self.steps == 0 and not ends


def _within(ids: list[int], row: list[int]) -> bool:
    """Return whether a padded row holds these tokens, with the padding on either side."""
    return row[: len(ids)] == ids or row[len(row) - len(ids) :] == ids
