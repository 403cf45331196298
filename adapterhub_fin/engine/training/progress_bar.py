"""Show how a training run goes on: a bar on a terminal, and elsewhere a line at each epoch and every half a minute."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback

from adapterhub_fin.plugin.progress_lines import ProgressLines

if TYPE_CHECKING:
    from adapterhub_fin.engine.training.stages import Stages


class ProgressBar(TrainerCallback):
    """Show steps, time left, loss and the latest validation metric on stderr."""

    def __init__(self, metric: str, title: str = "training", stages: Stages | None = None) -> None:
        self.metric = metric
        self.title = title
        self.stages = stages
        self.console = Console(stderr=True)
        self.bar: Progress | None = None
        self.task: TaskID | None = None
        self.lines: ProgressLines | None = None
        self.loss = ""
        self.measured = ""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the bar in the process that writes."""
        if not state.is_world_process_zero:
            return
        if not sys.stderr.isatty():
            self.lines = ProgressLines(f"{self.title}: step", state.max_steps, state.global_step)
            return
        columns = (
            TextColumn(self.title),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
        )
        self.bar = Progress(*columns, console=self.console, transient=True)
        self.task = self.bar.add_task("", total=state.max_steps)
        self.bar.start()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Show a step and its loss."""
        if "loss" in (logs or {}):
            self.loss = f"loss {logs['loss']:.4f}"
            self._show(state)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Show the validation metric of an epoch."""
        value = kwargs["metrics"].get(f"eval_{self.metric}", float("nan"))
        number = 0 if self.stages is None else self.stages.stage_of(state.global_step) + 1
        stage = "" if self.stages is None else f"stage {number} of {len(self.stages.planned)}, "
        self.measured = f"{stage}epoch {state.epoch:.3g}: validation {self.metric} {value:.3f}"
        self._show(state, at_once=True)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.stop()
        self.bar = self.lines = None

    def _show(self, state: Any, *, at_once: bool = False) -> None:
        note = ", ".join(part for part in (self.loss, self.measured) if part)
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=state.global_step, description=note)
        elif self.lines is not None:
            self.lines.show(state.global_step, note, at_once=at_once)
