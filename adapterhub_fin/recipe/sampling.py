"""Say how often training looks at a row: `training.sampling` of a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from adapterhub_fin.plugin.options import Options


class Sampling(Options):
    """Draw rows of rare labels or rare values more often. Validation and test stay as they are."""

    by: Literal["label", "bucket"] = Field(
        description="What is rare: a label, or a bucket of targets of like size, with those of zero apart."
    )
    power: float = Field(
        1.0, gt=0, le=1, description="1 draws all labels or buckets equally often, 0.5 goes half of the way."
    )
    buckets: int = Field(10, ge=2, le=1000, description="Buckets between the smallest and the largest target.")
    cap: float = Field(10.0, ge=1, description="How many times as often as an average row a row is drawn, at most.")
