"""Options of `text`."""

from __future__ import annotations

from pathlib import Path, PurePath

from pydantic import Field, field_validator, model_validator

from adapterhub_fin_plugins.corpora.options import Zoned


class TextOptions(Zoned):
    """Where the documents lie, and what dates them."""

    path: Path = Field(description="A .txt, .md, .html or .htm file, or a folder of them.")
    glob: str = Field("**/*", description="Which files of the folder are documents, such as *.txt or 10-K/*.html.")
    dates: Path | None = Field(
        None, description="A table with the columns file (a name relative to path) and available_at."
    )

    @field_validator("glob")
    @classmethod
    def _stays_in_the_folder(cls, pattern: str) -> str:
        if not pattern or PurePath(pattern).is_absolute() or ".." in PurePath(pattern).parts:
            raise ValueError("a glob is relative to path and stays within it")
        return pattern

    @model_validator(mode="after")
    def _has_something_to_place_in_a_zone(self) -> TextOptions:
        if self.timezone is not None and self.dates is None:
            raise ValueError(f"timezone {self.timezone} is of dates, and there are none: name their table as dates")
        return self
