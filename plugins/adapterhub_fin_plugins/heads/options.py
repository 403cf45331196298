"""Options of `classify`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from adapterhub_fin.plugin.options import Options
from adapterhub_fin_plugins.heads.pooling_options import POOLING, Pooling


class ClassifyOptions(Options):
    """Which labels there are, and what a wrong one costs."""

    labels: tuple[str, ...] | None = Field(
        None,
        min_length=2,
        description="Labels in the order of the outputs; by default those of the training rows, sorted.",
    )
    pooling: Pooling = POOLING
    smoothing: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the target spread over all labels (Szegedy et al. 2016), for noisy ones.",
    )
    weights: Literal["balanced"] | Mapping[str, Annotated[float, Field(gt=0)]] | None = Field(
        None, description="Weight of each label in the loss: balanced (rows / labels / rows of it), or by label."
    )
    focal: float = Field(
        0.0, ge=0, description="Focal loss: what is surely right counts (1 - p) ** focal (arXiv 1708.02002)."
    )

    @model_validator(mode="after")
    def _goes_together(self) -> ClassifyOptions:
        if self.focal and self.smoothing:
            raise ValueError("focal and smoothing pull a sure answer both ways: choose one")
        return self
