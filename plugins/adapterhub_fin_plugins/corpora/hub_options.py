"""Options of `hub`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from adapterhub_fin_plugins.corpora.options import Columns


class HubOptions(Columns):
    """Which data set, how much of it, and what its columns are."""

    id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$",
        description="The data set's id on the Hub, such as org/name.",
    )
    path: Path | None = Field(
        None, description="A folder that holds a copy of it, which is read instead; it is not recorded."
    )
    config: str | None = Field(None, description="Its configuration, where it has several.")
    revision: str | None = Field(None, description="Commit, tag or branch; a commit makes the run repeatable.")
    splits: tuple[str, ...] = Field(
        ("train",), min_length=1, description="Its splits to read; of several, each row's is its split here."
    )
    rows: int | None = Field(None, ge=1, description="Take the first rows of each split, at most so many.")
    streaming: bool = Field(False, description="Read no more than those rows over the network; needs rows.")

    @model_validator(mode="after")
    def _says_what_to_read(self) -> HubOptions:
        if self.id is None and self.path is None:
            raise ValueError("give an id, a path, or both")
        if self.path is not None and self.revision is not None:
            raise ValueError(f"revision {self.revision} is of the Hub, and path is read as it lies: give one of them")
        if self.streaming and self.rows is None:
            raise ValueError("streaming needs rows: how many to take")
        if len(self.splits) > 1 and self.part is not None:
            raise ValueError(f"part {self.part} and several splits both say a row's part: give one of them")
        return self
