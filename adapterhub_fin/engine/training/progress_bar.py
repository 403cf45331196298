"""Draw a training run's progress bar on the terminal; print nothing in a pipe."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback


class ProgressBar(TrainerCallback):
    """Show a bar on stderr with the validation metric of each epoch; print nothing in a pipe."""

    def __init__(self, metric: str, title: str = "training") -> None:
        self.metric = metric
        self.title = title
        self.console = Console(stderr=True)
        self.bar: Progress | None = None
        self.task: TaskID | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the bar in the process that writes."""
        if not (sys.stderr.isatty() and state.is_world_process_zero):
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

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Advance the bar by an optimizer step."""
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=state.global_step)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Show the validation metric of an epoch."""
        if self.bar is not None and self.task is not None:
            value = kwargs["metrics"].get(f"eval_{self.metric}", float("nan"))
            self.bar.update(self.task, description=f"epoch {state.epoch:.0f}: validation {self.metric} {value:.3f}")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
