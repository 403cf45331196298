"""Transformers' Trainer, taught what an adapter is: it saves and restores the adapter alone, whatever the method."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch import nn
from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from adapterhub_fin.engine.sampling import LengthGroupedBatches, LongestFirst
from adapterhub_fin.engine.weights import fill_adapter, write_adapter

if TYPE_CHECKING:
    from adapterhub_fin.interfaces import MethodImplementation


class AdapterTrainer(Trainer):
    """A Trainer whose checkpoints hold the adapter in a method's own form."""

    def __init__(self, *, method: MethodImplementation, slot: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.adapted: nn.Module = kwargs["model"]
        self.method = method
        self.slot = slot
        for callback in (PrinterCallback, ProgressCallback):  # both write to standard output, which is the caller's
            self.remove_callback(callback)

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthGroupedBatches:
        rows: Any = self.train_dataset if train_dataset is None else train_dataset
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return LengthGroupedBatches([len(row["input_ids"]) for row in rows], batch)

    def _get_eval_sampler(self, eval_dataset: Any) -> LongestFirst:
        rows: Any = eval_dataset
        return LongestFirst([len(row["input_ids"]) for row in rows])

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        write_adapter(self.method, self.adapted, self.slot, Path(str(output_dir or self.args.output_dir)))

    def _load_best_model(self) -> None:
        fill_adapter(self.method, self.adapted, self.slot, Path(str(self.state.best_model_checkpoint)))


class ProgressBar(TrainerCallback):
    """A bar on the terminal, with the loss and the validation metric; silent in a pipe."""

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self.console = Console(stderr=True)
        self.bar: Progress | None = None
        self.task: TaskID | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not (sys.stderr.isatty() and state.is_world_process_zero):
            return
        columns = (
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
        )
        self.bar = Progress(*columns, console=self.console, transient=True)
        self.task = self.bar.add_task("", total=state.max_steps)
        self.bar.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=state.global_step)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.bar is not None and self.task is not None:
            value = kwargs["metrics"].get(f"eval_{self.metric}", float("nan"))
            self.bar.update(self.task, description=f"epoch {state.epoch:.0f}: validation {self.metric} {value:.3f}")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
