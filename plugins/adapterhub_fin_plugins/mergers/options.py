"""Options of the mergers; those without one here have none."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from adapterhub_fin.plugin.options import Options


class TrimOptions(Options):
    """How much is kept."""

    density: float = Field(
        0.2, gt=0, le=1, description="Share of each change's elements to keep, the largest of the module."
    )


class VoteOptions(Options):
    """How the sign of an element is settled, and what its mean divides by."""

    elect: Literal["total", "frequency"] = Field(
        "total", description="Elect the sign of the sum of the elements, or the sign that more of them have."
    )
    convention: Literal["paper", "mergekit"] = Field(
        "paper",
        description="mergekit weighs the votes, and divides by the weights of those that agree, not by their count.",
    )


class TiesOptions(TrimOptions, VoteOptions):
    """What TIES keeps, and how it votes."""


class DropOptions(Options):
    """How much survives at random, and how that is made up for."""

    density: float = Field(0.8, gt=0, le=1, description="Share of the elements that survive the draw.")
    rescale: Literal["density", "l1", "none"] = Field(
        "density",
        description="Divide the survivors by the density, or scale them to the sum of magnitudes before (mergekit).",
    )


class DareTiesOptions(DropOptions, VoteOptions):
    """What DARE drops, and how TIES votes on the rest."""


class DellaOptions(VoteOptions):
    """How likely an element survives, by its size, and how the survivors vote."""

    density: float = Field(0.8, gt=0, lt=1, description="Mean share of the elements that survive the draw.")
    window: float = Field(
        0.3, ge=0, lt=1, description="The chance of the largest of a row to survive, less that of the smallest."
    )

    @model_validator(mode="after")
    def _chances(self) -> DellaOptions:
        if not (self.density - self.window / 2 > 0 and self.density + self.window / 2 <= 1):
            raise ValueError("density - window / 2 must be above 0, and density + window / 2 at most 1: narrow window")
        return self


class BreadcrumbsOptions(Options):
    """Which elements are kept: large ones, but not the largest."""

    density: float = Field(0.15, gt=0, le=1, description="Share of each change's elements to keep.")
    outliers: float = Field(0.006, ge=0, lt=1, description="Share to drop above those, the largest of all.")

    @model_validator(mode="after")
    def _shares(self) -> BreadcrumbsOptions:
        if self.density + self.outliers > 1:
            raise ValueError("density and outliers are shares of one whole: their sum must be at most 1")
        return self


class SceOptions(Options):
    """Which elements are merged at all."""

    density: float = Field(
        0.1, gt=0, le=1, description="Share of the elements to merge, those that vary most between adapters."
    )


class TsvOptions(Options):
    """How much of each adapter is kept."""

    keep: float = Field(
        1.0, gt=0, le=1, description="Share of each change's rank to keep, rounded up: its largest singular values."
    )


class KnotsDareOptions(DropOptions, VoteOptions):
    """What DARE drops of the aligned factors, and how the rest is merged."""

    vote: bool = Field(True, description="Vote on signs and average as TIES does; otherwise, a weighted sum.")
