"""Options of `embed`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from adapterhub_fin.plugin.options import Options


class EmbedOptions(Options):
    """Which hidden states make the vector, and how."""

    pooling: Literal["mean", "first", "last", "max"] = Field(
        "mean", description="Over a text's tokens: their mean, the first, the last, or the largest of each dimension."
    )
    layer: int = Field(-1, description="Which states: 0 is the embeddings, -1 the last layer.")
    normalize: bool = Field(False, description="Scale every vector to length one.")
