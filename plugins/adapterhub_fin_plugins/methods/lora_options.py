"""Options of `lora`."""

from __future__ import annotations

from pydantic import Field

from adapterhub_fin.options import Options


class LoraOptions(Options):
    """How large the update is, and where it goes."""

    rank: int = Field(16, ge=1, le=4096, description="Rank of each update.")
    alpha: float = Field(32, gt=0, description="The update is scaled by alpha / rank.")
    dropout: float = Field(0.05, ge=0, lt=1, description="Dropout on the input of the update.")
    targets: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="Layers by the end of their names; by default every linear layer of the backbone.",
    )
