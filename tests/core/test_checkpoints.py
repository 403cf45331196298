"""When a run makes a checkpoint, and which is kept: the best, or a later one that chance may have put below it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from transformers import TrainerControl, TrainerState
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from adapterhub_fin.engine.training.trainer import AdapterTrainer, _Checkpoints

RISING, FALLING = True, False  # of a metric that is better so


@pytest.mark.parametrize(
    ("measured", "tolerance", "better", "kept"),
    [
        ([0.80, 0.79, 0.75, 0.785], 0.0, RISING, 0),
        ([0.80, 0.79, 0.75, 0.785], 0.02, RISING, 3),
        ([0.80, 0.79, 0.75, 0.77], 0.02, RISING, 1),
        ([0.80, 0.79, 0.785, 0.775], 0.02, RISING, 2),  # of the best, and not of the one kept so far
        ([0.80, 0.79, 0.83, 0.80], 0.02, RISING, 2),
        ([1.00, 1.01, 1.05], 0.02, FALLING, 1),
        ([0.80, 0.80], 0.0, RISING, 0),
        ([0.80, 0.78], 0.02, RISING, 1),  # though floats put them further apart
        ([0.80, float("nan")], 0.02, RISING, 0),
    ],
)
def test_a_later_checkpoint_within_the_tolerance_of_the_best_is_kept(
    measured: list[float], tolerance: float, better: bool, kept: int
) -> None:
    trainer: Any = AdapterTrainer.__new__(AdapterTrainer)
    trainer.state, trainer.tolerance = TrainerState(), tolerance
    trainer.args = SimpleNamespace(
        metric_for_best_model="f1", greater_is_better=better, save_strategy=SaveStrategy.EPOCH
    )
    for step, value in enumerate(measured):
        trainer.state.global_step = step
        trainer.state.log_history.append({"step": step, "loss": 1.0})
        trainer.state.log_history.append({"step": step, "eval_f1": value})
        trainer._determine_best_metric({"eval_f1": value}, None)
    assert trainer.state.best_global_step == kept
    assert trainer.selected_metric == measured[kept], "what is told is of the checkpoint that is kept"


@pytest.mark.parametrize(
    ("step", "epoch", "made"), [(2, 0.5, True), (3, 0.75, False), (4, 1.0, False), (6, 1.5, True), (10, 2.5, False)]
)
def test_no_checkpoint_is_made_before_its_epoch_is_measured(step: int, epoch: float, made: bool) -> None:
    """A run of two and a half epochs of four steps that went on from there would never measure that epoch."""
    state, control = TrainerState(global_step=step, epoch=epoch, max_steps=10), TrainerControl()
    _Checkpoints(2).on_step_end(SimpleNamespace(eval_strategy=IntervalStrategy.EPOCH), state, control)
    assert control.should_save is made
