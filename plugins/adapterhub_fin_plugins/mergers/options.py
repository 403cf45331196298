"""Define the mergers' options; a merger without a class here has none."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from adapterhub_fin.plugin import Options


class TrimOptions(Options):
    """Choose how much to keep."""

    density: float = Field(
        0.2, gt=0, le=1, description="Share of each change's elements to keep, the largest of the module."
    )


class VoteOptions(Options):
    """Choose how to elect an element's sign and what its mean is divided by."""

    elect: Literal["total", "frequency"] = Field(
        "total", description="Elect the sign of the sum of the elements, or the sign of the majority."
    )
    convention: Literal["paper", "mergekit"] = Field(
        "paper",
        description="mergekit weights the votes, and divides by the sum of the agreeing weights instead of the count.",
    )


class TiesOptions(TrimOptions, VoteOptions):
    """Choose what TIES keeps and how it votes."""


class DropOptions(Options):
    """Choose how many elements survive and how they are rescaled."""

    density: float = Field(0.8, gt=0, le=1, description="Share of the elements that survive the draw.")
    rescale: Literal["density", "l1", "none"] = Field(
        "density",
        description="Divide the survivors by the density, or scale them to the sum of magnitudes before (mergekit).",
    )


class DareTiesOptions(DropOptions, VoteOptions):
    """Choose what DARE drops and how TIES votes on the rest."""


class DellaOptions(VoteOptions):
    """Choose the probability that an element survives, by its size, and how the survivors vote."""

    density: float = Field(0.8, gt=0, lt=1, description="Mean share of the elements that survive the draw.")
    window: float = Field(
        0.3, ge=0, lt=1, description="Survival probability of a row's largest element minus that of its smallest."
    )

    @model_validator(mode="after")
    def _chances(self) -> DellaOptions:
        if not (self.density - self.window / 2 > 0 and self.density + self.window / 2 <= 1):
            raise ValueError("density - window / 2 must be above 0, and density + window / 2 at most 1: narrow window")
        return self


class BreadcrumbsOptions(Options):
    """Choose which elements to keep: large ones, but not the largest."""

    density: float = Field(0.15, gt=0, le=1, description="Share of each change's elements to keep.")
    outliers: float = Field(0.006, ge=0, lt=1, description="Share of the largest elements, which are dropped.")

    @model_validator(mode="after")
    def _shares(self) -> BreadcrumbsOptions:
        if self.density + self.outliers > 1:
            raise ValueError("the sum of density and outliers must be at most 1")
        return self


class SceOptions(Options):
    """Choose which elements to merge."""

    density: float = Field(
        0.1, gt=0, le=1, description="Share of the elements to merge, those that vary most between adapters."
    )


class TsvOptions(Options):
    """Choose how much of each adapter to keep."""

    keep: float = Field(
        1.0, gt=0, le=1, description="Share of each change's rank to keep, rounded up: its largest singular values."
    )


class KnotsDareOptions(DropOptions, VoteOptions):
    """Choose what DARE drops of the factors and how to merge the rest."""

    vote: bool = Field(True, description="Vote on signs and average as TIES does; otherwise, a weighted sum.")
