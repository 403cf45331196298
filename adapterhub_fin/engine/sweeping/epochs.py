"""Follow a run's validation scores as it trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

OnMeasured = Callable[[int, float, int, int], None]  # number of the evaluation, its score, steps done, steps in all


class Epochs(TrainerCallback):
    """Call a function after each evaluation: with its number, which a resumed run counts on, and its score."""

    def __init__(self, metric: str, on_measured: OnMeasured) -> None:
        self.name = f"eval_{metric}"
        self.on_measured = on_measured

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Pass the score on."""
        number = sum(self.name in entry for entry in state.log_history)
        self.on_measured(number, float(kwargs["metrics"][self.name]), state.global_step, state.max_steps)
