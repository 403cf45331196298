"""Train in another process and kill it: `python -m adapterhub_fin.testing.killed` reads its task as JSON."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

from adapterhub_fin.testing.forked import run_forked


def train_and_be_killed(recipe: Mapping[str, Any], registry: Path, step: int, window: int = 1) -> None:
    """Start a run in another process and kill it with SIGKILL after an optimizer step.

    For a recipe with a schedule, `window` counts from 1 which of the trained windows the step belongs to. The recipe of
    a base is one with `base.new`. Raises AssertionError if the process ends otherwise.
    """
    task = {"recipe": recipe, "registry": str(registry), "step": step, "window": window}
    ran = run_forked("-m", __name__, text=json.dumps(task, default=str))
    assert ran.returncode == -signal.SIGKILL, f"the run was not killed at step {step}:\n{ran.stderr[-3000:]}"


def _train(task: dict[str, Any]) -> None:
    from transformers import TrainerCallback

    import adapterhub_fin as ahf
    from adapterhub_fin.engine.training import trainer
    from adapterhub_fin.testing.tiny import tiny_corpus

    windows = count(1)

    class Killer(TrainerCallback):
        def __init__(self) -> None:
            self.window = next(windows)

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if (self.window, state.global_step) == (task["window"], task["step"]):
                os.kill(os.getpid(), signal.SIGKILL)

    class KilledTrainer(trainer.AdapterTrainer):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.add_callback(Killer())

    setattr(trainer, trainer.AdapterTrainer.__name__, KilledTrainer)  # training looks it up there when it starts
    tiny_corpus()
    train: Any = ahf.train_series if "schedule" in task["recipe"] else ahf.train
    if "new" in task["recipe"]["base"]:
        train = ahf.pretrain_series if "schedule" in task["recipe"] else ahf.pretrain
    train(task["recipe"], registry=ahf.Registry(task["registry"]))


if __name__ == "__main__":
    _train(json.load(sys.stdin))
