"""Options of `adalora`."""

from __future__ import annotations

from pydantic import Field, model_validator

from adapterhub_fin.plugin.options import Options


class AdaLoraOptions(Options):
    """How much rank there is, when it is shared out, and where it goes."""

    initial_rank: int = Field(12, ge=2, le=4096, description="Rank of each update at the start.")
    target_rank: int = Field(8, ge=1, description="Mean rank at the end: unimportant directions are pruned.")
    alpha: float = Field(32, gt=0, description="The update is scaled by alpha / initial rank.")
    dropout: float = Field(0.05, ge=0, lt=1, description="Dropout on the input of the update.")
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of the steps before the first pruning.")
    settle: float = Field(0.5, ge=0, lt=1, description="Share of the steps at the end, at the final ranks.")
    interval: int = Field(1, ge=1, description="Steps between two prunings.")
    orthogonality: float = Field(0.5, ge=0, description="Weight of the penalty that keeps directions orthogonal.")
    targets: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="Layers by the end of their names; by default every linear layer of the backbone.",
    )

    @model_validator(mode="after")
    def _goes_together(self) -> AdaLoraOptions:
        if self.target_rank >= self.initial_rank:
            raise ValueError(
                f"target_rank {self.target_rank} must be below initial_rank {self.initial_rank}: or use lora"
            )
        if self.warmup + self.settle >= 1:
            raise ValueError(f"warmup {self.warmup} and settle {self.settle} leave no steps to prune in")
        return self
