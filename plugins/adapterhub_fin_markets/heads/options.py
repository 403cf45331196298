"""Check the options of the heads that read numbers; importing them imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from adapterhub_fin.plugin import Options


class FusionOptions(Options):
    """Set what is read, and what is answered."""

    answer: Literal["direction", "number"] = Field(
        "direction", description="What is answered: down, flat or up, or the target as a number."
    )
    reads: Literal["both", "text", "numbers"] = Field(
        "both", description="What is read: text beside numbers, or one alone, to compare with."
    )
    hidden: int = Field(32, ge=1, le=4096, description="Width of the layer that reads the numbers.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Share of that layer's outputs left out in training.")
    flat: float = Field(
        0.33,
        gt=0,
        lt=1,
        description="Share of the training targets other than zero that is flat, those nearest to zero.",
    )
    flat_below: float | None = Field(
        None, ge=0, description="Size up to which a target is flat; by default fitted to the training rows by flat."
    )
    mean: tuple[float, ...] | None = Field(
        None, description="Mean of each number; by default that of the training rows."
    )
    sd: tuple[Annotated[float, Field(ge=0)], ...] | None = Field(
        None, description="Standard deviation of each number, 0 for one that is read as missing; by default fitted."
    )
    centre: float | None = Field(None, description="Mean of the targets; by default that of the training rows.")
    scale: float | None = Field(
        None, gt=0, description="Standard deviation of the targets; by default that of the training rows."
    )

    @model_validator(mode="after")
    def _are_pairs(self) -> Self:
        if (self.mean is None) != (self.sd is None) or len(self.mean or ()) != len(self.sd or ()):
            raise ValueError("mean and sd go together: one of each for every number, or neither")
        return self
