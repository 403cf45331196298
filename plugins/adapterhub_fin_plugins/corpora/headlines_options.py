"""Options of `headlines`."""

from __future__ import annotations

from datetime import date, timedelta

from pydantic import Field, model_validator

from adapterhub_fin.plugin.options import Options


class HeadlinesOptions(Options):
    """How many sentences, and of which years."""

    rows: int = Field(1900, ge=60, le=50_000, description="Sentences to generate.")
    seed: int = Field(0, ge=0, description="Seed of the generator.")
    start: date = Field(date(2016, 1, 4), description="First day of publication.")
    end: date = Field(date(2021, 12, 30), description="Last day of publication.")

    @model_validator(mode="after")
    def _starts_before_it_ends(self) -> HeadlinesOptions:
        if self.end - self.start < timedelta(days=7):  # a week holds a weekday, and news comes on weekdays
            raise ValueError(f"start {self.start} must lie before end {self.end} by a week or more")
        return self
