"""Train on the stages of a curriculum in one run, so that an interrupted one resumes in any stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers import TrainingArguments, get_scheduler

from adapterhub_fin.engine.data.sampling import LengthGroupedBatches, StagedBatches
from adapterhub_fin.engine.training.stages import PlannedStage, Stages
from adapterhub_fin.engine.training.trainer import AdapterTrainer
from adapterhub_fin.plugin.examples import lengths


class StagedTrainer(AdapterTrainer):
    """Train the stages one after the other: an epoch of the Trainer is one pass over the rows of one stage.

    The learning rate rises and falls in each stage. The optimizer's state is kept from stage to stage. Each stage is
    measured on its own validation part; only the evaluations of the last stage pick the checkpoint or stop training.
    """

    def __init__(self, stages: Stages, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stages = stages

    @property
    def stage(self) -> PlannedStage:
        """Return the stage of the last step."""
        return self.stages.planned[self.stages.stage_of(self.state.global_step)]

    def _get_train_sampler(self, train_dataset: Any = None) -> StagedBatches:
        rows: Any = self.train_dataset if train_dataset is None else train_dataset
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        sizes = lengths(rows)
        orders = [
            (
                each.examples,
                LengthGroupedBatches([sizes[i] for i in each.examples], batch, self.args.seed, each.weights),
            )
            for each in self.stages.planned
        ]
        self.order = order = StagedBatches(orders, [stage for stage, _ in self.stages.passes])
        return order

    def set_initial_training_values(self, args: TrainingArguments, dataloader: Any) -> Any:
        """Return the Trainer's counts with the passes and the steps of all stages."""
        _, per_epoch, examples, samples, batch, in_epoch, _ = super().set_initial_training_values(args, dataloader)
        return len(self.stages.passes), per_epoch, examples, samples, batch, in_epoch, self.stages.steps

    def _init_training_state(self, *args: Any, **kwargs: Any) -> tuple[int, int]:
        super()._init_training_state(*args, **kwargs)
        epoch, steps = self.stages.position(self.state.global_step)
        return epoch, steps * self.args.gradient_accumulation_steps

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Run a pass of as many steps as its stage has; the Trainer takes every epoch to be as long as the first."""
        stage, steps = self.stages.passes[kwargs["epoch"]]
        accumulate, size = self.args.gradient_accumulation_steps, len(self.stages.planned[stage].examples)
        batches = -(-size // (self.args.train_batch_size * self.args.world_size))
        counts = {"steps_in_epoch": min(batches, steps * accumulate), "num_update_steps_per_epoch": steps}
        run: Any = super()._run_epoch  # untyped
        run(*args, **{**kwargs, **counts})

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Return the schedule that rises to each stage's learning rate and falls again."""
        if self.lr_scheduler is None:
            factor = _factor(self.stages, self.args)
            trained: Any = self.optimizer if optimizer is None else optimizer
            self.lr_scheduler = LambdaLR(trained, factor)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def evaluate(self, eval_dataset: Any = None, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Measure the validation part of the stage of the last step."""
        rows: Any = self.stage.validation if eval_dataset is None else eval_dataset
        measured: dict[str, float] = super().evaluate(rows, *args, **kwargs)
        return measured

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        if self.stage is not self.stages.planned[-1]:
            return False
        return super()._determine_best_metric(metrics, trial)


def _factor(stages: Stages, args: TrainingArguments) -> Callable[[int], float]:
    """Return the function that gives the learning rate after so many steps, as a factor of the run's."""
    functions, starts = [], [0, *stages.ends]
    for stage in stages.planned:
        alone = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        schedule: Any = get_scheduler(
            args.lr_scheduler_type,
            optimizer=alone,
            num_warmup_steps=args.get_warmup_steps(stage.steps),
            num_training_steps=stage.steps,
            scheduler_specific_kwargs=args.lr_scheduler_kwargs,  # type: ignore[arg-type]
        )
        functions.append(schedule.lr_lambdas[0])

    def factor(done: int) -> float:
        number = stages.stage_of(done + 1)
        share: float = functions[number](done - starts[number])
        return share * (stages.planned[number].learning_rate / args.learning_rate)

    return factor
