"""Options of `regress`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from adapterhub_fin.plugin.options import Options
from adapterhub_fin_plugins.heads.pooling_options import POOLING, Pooling


class RegressOptions(Options):
    """What gives the figure, what a wrong one costs, and its scale."""

    network: Literal["linear", "mlp"] = Field(
        "linear",
        description="One linear layer, which plain PEFT loads too; or two with a GELU between.",
    )
    pooling: Pooling = POOLING
    hidden: int | None = Field(None, ge=1, description="Width of the mlp; the base's hidden size by default.")
    loss: Literal["mse", "huber"] = Field("mse", description="Squared error, or Huber's, which outliers move less.")
    standardize: bool = Field(
        True, description="Learn (target - centre) / scale, with the training rows' mean and standard deviation."
    )
    centre: float | None = Field(None, description="Where the outputs' zero lies; learnt by default.")
    scale: float | None = Field(None, gt=0, description="What an output of one means; learnt by default.")

    @model_validator(mode="after")
    def _goes_together(self) -> RegressOptions:
        if self.hidden is not None and self.network != "mlp":
            raise ValueError("hidden is the width of the mlp, and the network is linear: set network to mlp")
        return self
