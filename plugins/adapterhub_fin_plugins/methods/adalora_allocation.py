"""Drive AdaLoRA's rank allocator from the Trainer."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback


class Allocation(TrainerCallback):
    """Reallocate the ranks after each optimizer step, while the gradients still exist."""

    def __init__(self, model: Any) -> None:
        self.model = model  # a PeftModel

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.model.base_model.update_and_allocate(state.global_step + 1)
