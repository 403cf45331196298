"""Follow a run's validation scores as it trains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

if TYPE_CHECKING:
    from adapterhub_fin.engine.sweeping.validating import OnMeasured


class Epochs(TrainerCallback):
    """Call a function after each evaluation: with its number, which a resumed run counts on, and its score."""

    def __init__(self, metric: str, on_measured: OnMeasured) -> None:
        self.name = f"eval_{metric}"
        self.on_measured = on_measured

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Pass the score on."""
        number = sum(self.name in entry for entry in state.log_history)
        self.on_measured(number, float(kwargs["metrics"][self.name]), state.global_step, state.max_steps)
