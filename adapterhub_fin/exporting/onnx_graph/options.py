"""Define the options of the layout onnx; importing them imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from adapterhub_fin.engine.inference.embedding import Embedding
from adapterhub_fin.errors import BadConfiguration
from adapterhub_fin.plugin.options import Options

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
MAX_CHANGE = 0.05  # of a probability, in int8
MAX_CHANGE_FP32 = 1e-3  # rounding gives about 1e-6


class OnnxOptions(Options):
    """Say how numbers are stored, on which rows the graph is compared with torch, and how far it may be off."""

    precision: Literal["fp32", "int8", "int8-dynamic"] = Field(
        "fp32",
        description="fp32; int8: by blocks, for ONNX Runtime; or int8-dynamic: by channel, in standard operators.",
    )
    corpus: Any = Field(None, description="Corpus of the rows; by default that of the version's own recipe.")
    overrides: Sequence[str] = Field((), description="Options of that corpus, as KEY=VALUE.")
    split: Literal["train", "validation", "test", "all"] = Field("validation", description="The part of it.")
    table: Path | None = Field(None, description="A table of rows in place of a corpus.")
    text: tuple[str, ...] | None = Field(None, description="The columns of the table's text.")
    reading: Mapping[str, Any] = Field({}, description="How the table is read, where not as the version's own.")
    sample: int = Field(1000, ge=1, description="Rows that are compared, at most.")
    max_labels_changed: float = Field(0.01, ge=0, le=1, description="Share of rows whose labels may differ.")
    max_change: float | None = Field(
        None,
        gt=0,
        description="How far a probability may move; of a number in units of the head's scale, of a vector one minus "
        f"the cosine. By default {MAX_CHANGE_FP32} in fp32 and {MAX_CHANGE} else.",
    )
    pooling: Literal["mean", "first", "last", "max"] | None = Field(None, description="Of embeddings: as in embed.")
    layer: int | None = Field(None, description="Of embeddings: as in embed.")
    normalize: bool = Field(False, description="Of embeddings: scale every vector to length one.")

    @model_validator(mode="after")
    def _goes_together(self) -> OnnxOptions:
        if self.table is not None and (self.corpus is not None or self.overrides):
            raise ValueError("rows come from a table or from a corpus: leave one of them out")
        if self.table is None and (self.text or self.reading):
            raise ValueError("text and reading say how a table is read: give a table, or leave them out")
        return self

    @property
    def embedding(self) -> Embedding:
        """Return how hidden states become a vector, as `embed` takes it."""
        given = {"pooling": self.pooling, "layer": self.layer}
        return Embedding(
            normalize=self.normalize, **{name: value for name, value in given.items() if value is not None}
        )

    @property
    def embeds(self) -> bool:
        """Return whether any option of embeddings is set."""
        return self.normalize or self.pooling is not None or self.layer is not None

    def limit(self, is_float32: bool) -> float:
        """Return how far an answer may be from torch's, which were computed in float32 or in a shorter type."""
        if self.max_change is not None:
            return self.max_change
        return MAX_CHANGE_FP32 if self.precision == "fp32" and is_float32 else MAX_CHANGE


def check_installed() -> None:
    """Raise BadConfiguration, with the command that installs it, where a package of the extra is missing."""
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise BadConfiguration(f"the layout onnx needs {' and '.join(missing)}: pip install 'adapterhub-fin[onnx]'")
