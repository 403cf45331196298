"""Define a limit on what a run may forget: a corpus on which the model may get worse only so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from adapterhub_fin.plugin.options import Options
from adapterhub_fin.recipe.choices import CorpusChoice


class ForgettingLimit(Options):
    """Limit how much worse than before training a model may be on a corpus; above it no version is stored."""

    corpus: CorpusChoice = Field(description="The rows to measure, with their options and splitter.")
    at_most: float = Field(ge=0, description="Relative rise of perplexity, or absolute fall of another metric.")
    metric: str | None = Field(
        None, description="By default perplexity for heads that write text, else the head's metric of validation."
    )
    split: Literal["train", "validation", "test", "all"] = Field("test", description="Which rows of the corpus.")
    sample: int = Field(1000, ge=1, description="Rows at most; of more, a sample drawn with training.seed.")

    @field_validator("corpus", mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


def without_limits(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's document without its limits on forgetting, which no weight depends on."""
    training = {key: value for key, value in document.get("training", {}).items() if key != "forgetting"}
    return {**document, "training": training}
