"""Options of `instructions`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from adapterhub_fin_plugins.corpora.options import Zoned


class InstructionsOptions(Zoned):
    """Where the conversations lie, and what groups and dates them."""

    path: Path = Field(description="The .jsonl file, or a .json list, .csv or .parquet.")
    available_at: str | None = Field(None, description="Column of when one could have read the conversation.")
    group: str | None = Field(None, description="Column of what a grouped split keeps whole.")

    @model_validator(mode="after")
    def _has_something_to_place_in_a_zone(self) -> InstructionsOptions:
        if self.timezone is not None and self.available_at is None:
            raise ValueError(f"timezone {self.timezone} is of dates, and there are none: name their column")
        return self
