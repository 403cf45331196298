"""Define the options of scoring predictions."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from adapterhub_fin.plugin import Options

Metric = Literal["numerai_corr", "rank_ic", "mcc", "contribution"]
SPANS: Final = ("day", "week", "month")


class ScoreOptions(Options):
    """Say what is scored, by which eras, and what of the tables may be left out."""

    metrics: tuple[Metric, ...] = Field(default=("numerai_corr",), min_length=1, description="Scores of each era.")
    era: str = Field(
        default="week", description="day, week or month of the decision in UTC, or a column of the predictions."
    )
    horizon: int | None = Field(
        default=None,
        ge=1,
        description="Bars from a target's first price to its last; of a table of targets, its distinct times.",
    )
    next: bool = Field(
        default=False, description="Join each prediction with the first target that begins later, not of its own time."
    )
    unscaled: bool = Field(default=False, description="Of prices: take returns as they are, not over volatility.")
    flat_below: float = Field(default=0.0, ge=0, description="Size up to which a target is flat, for mcc.")
    quarters: bool = Field(default=False, description="Targets are Numerai's, from 0 to 1, and contributions count 4.")
    leave_out: bool = Field(
        default=False, description="Leave out eras without a score, and rows without factors or meta, and count them."
    )
    placebo: int = Field(default=0, ge=0, description="Circular shifts of the predictions in time to compare with.")
    resamples: int = Field(default=2000, ge=100, description="Draws of the bootstrap over eras.")
    level: float = Field(default=0.95, gt=0, lt=1, description="Level of the interval.")
    seed: int = Field(default=0, ge=0, description="Seed of the bootstrap and of the shifts.")
    timezone: str | None = Field(default=None, description="Zone of times that are written without one.")
    date_format: str | None = Field(default=None, description="How times are written, such as %d.%m.%Y or unix_ms.")
