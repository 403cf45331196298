"""Train in another process and kill it: `python -m adapterhub_fin.testing.killed` reads its task as JSON.

A run is killed after an optimizer step, or at a moment: before a step, after it, in an evaluation, or before a file or
folder of the registry is written, renamed or deleted: so a checkpoint or a version is caught half written.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from adapterhub_fin.testing.forked import run_forked


def train_and_be_killed(recipe: Mapping[str, Any], registry: Path, step: int, window: int = 1) -> None:
    """Start a run in another process and kill it with SIGKILL after an optimizer step.

    For a recipe with a schedule, `window` counts from 1 which of the trained windows the step belongs to. The recipe of
    a base is one with `base.new`. Raises AssertionError if the process ends otherwise.
    """
    ran = run_forked("-m", __name__, text=_task(recipe, registry, step=step, window=window))
    assert ran.returncode == -signal.SIGKILL, f"the run was not killed at step {step}:\n{ran.stderr[-3000:]}"


def train_and_be_killed_at(recipe: Mapping[str, Any], registry: Path, moment: int) -> None:
    """Start a run in another process and kill it at a moment, counted from 1.

    Raises AssertionError if the process ends otherwise.
    """
    ran = run_forked("-m", __name__, text=_task(recipe, registry, moment=moment))
    assert ran.returncode == -signal.SIGKILL, f"the run was not killed at moment {moment}:\n{ran.stderr[-3000:]}"


def count_moments(recipe: Mapping[str, Any], registry: Path) -> int:
    """Run a recipe in another process to its end, and return how many moments it had."""
    ran = run_forked("-m", __name__, text=_task(recipe, registry, moment=0))
    assert ran.returncode == 0, ran.stderr[-3000:]
    return int(ran.stdout.split()[-1])


def _task(recipe: Mapping[str, Any], registry: Path, **task: Any) -> str:
    return json.dumps({"recipe": recipe, "registry": str(registry), **task}, default=str)


class Moments:
    """Count the moments of this process, and kill it at one of them; 0 is none."""

    CHANGES = ("os.rename", "os.mkdir", "os.rmdir", "os.remove", "shutil.rmtree")

    def __init__(self, root: str, last: int) -> None:
        self.root, self.last, self.count = root, last, 0
        sys.addaudithook(self._audit)

    def pass_one(self) -> None:
        """Count a moment."""
        self.count += 1
        if self.count == self.last:
            os.kill(os.getpid(), signal.SIGKILL)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (writes or event in self.CHANGES) and str(arguments[0]).startswith(self.root):
            self.pass_one()


def kill_after(step: int, window: int = 1) -> None:
    """Make the trainers of this process kill it after an optimizer step of one of the trained windows."""
    from transformers import TrainerCallback

    windows = count(1)

    class Killer(TrainerCallback):
        def __init__(self) -> None:
            self.window = next(windows)

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if (self.window, state.global_step) == (window, step):
                os.kill(os.getpid(), signal.SIGKILL)

    _call_back(Killer)


def _count_steps(moments: Moments) -> None:
    """Make each step and each batch of an evaluation a moment."""
    from transformers import TrainerCallback

    class Counter(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            moments.pass_one()

        on_step_end = on_prediction_step = on_step_begin

    _call_back(Counter)


def _call_back(callback: Callable[[], Any]) -> None:
    from adapterhub_fin.engine.training import trainer

    class WatchedTrainer(trainer.AdapterTrainer):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.add_callback(callback())

    setattr(trainer, trainer.AdapterTrainer.__name__, WatchedTrainer)  # training looks it up there when it starts


def _train(task: dict[str, Any]) -> None:
    import adapterhub_fin as ahf
    from adapterhub_fin.testing.tiny import tiny_corpus

    moments = None
    if "step" in task:
        kill_after(task["step"], task["window"])
    else:
        moments = Moments(task["registry"], task["moment"])
        _count_steps(moments)
    tiny_corpus()
    train: Any = ahf.train_series if "schedule" in task["recipe"] else ahf.train
    if "new" in task["recipe"]["base"]:
        train = ahf.pretrain_series if "schedule" in task["recipe"] else ahf.pretrain
    train(task["recipe"], registry=ahf.Registry(task["registry"]))
    if moments is not None:
        print(moments.count)


if __name__ == "__main__":
    _train(json.load(sys.stdin))
