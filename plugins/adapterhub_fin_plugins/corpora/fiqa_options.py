"""Options of `fiqa`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from adapterhub_fin.plugin.options import Options


class FiqaOptions(Options):
    """Where the copy lies, and which of its sentences to take."""

    path: Path = Field(description="The folder with task1_headline_ABSA_train.json and its three sisters.")
    kind: Literal["headline", "post", "both"] = Field("both", description="News headlines, posts of traders, or both.")
    name_entity: bool = Field(
        True,
        description="Begin the text with the firm that the score is for: without it, a sentence about two firms "
        "whose scores differ contradicts itself, and is dropped.",
    )
