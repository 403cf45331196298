"""Options of `phrasebank`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from adapterhub_fin.plugin.options import Options


class PhraseBankOptions(Options):
    """Where the copy lies, and how far its annotators had to agree."""

    path: Path = Field(description="The folder with Sentences_*.txt, or one such file.")
    agreement: Literal[50, 66, 75, "all"] = Field(
        50, description="Least agreement of the annotators, per cent: scores on `all` are some ten points higher."
    )
