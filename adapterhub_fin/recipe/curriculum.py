"""Define the stages of a curriculum: corpora that one run trains on, one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import Field, model_validator

from adapterhub_fin.plugin.memory import taken_in
from adapterhub_fin.recipe.choices import CorpusChoice

KEYS: Final = ("epochs", "max_steps", "learning_rate")  # of a stage; the rest are its corpus's


class Stage(CorpusChoice):
    """Choose the corpus of a stage, with its splitter, and how long to train on it."""

    epochs: float | None = Field(
        None, gt=0, le=1000, description="Passes over the stage's training rows; by default training.epochs."
    )
    max_steps: int | None = Field(None, ge=1, description="Optimizer steps of the stage, in place of `epochs`.")
    learning_rate: float | None = Field(
        None, gt=0, le=1, description="Peak rate of the stage; by default training.learning_rate."
    )

    @property
    def corpus(self) -> CorpusChoice:
        """Return the stage's corpus alone."""
        return CorpusChoice(name=self.name, splitter=self.splitter, **self.options)

    @model_validator(mode="after")
    def _one_length(self) -> Stage:
        if self.epochs is not None and self.max_steps is not None:
            raise ValueError(f"epochs {self.epochs:g} and max_steps {self.max_steps} both say how long: give one")
        return self


def taken_stages(value: Any) -> Any:
    """Return a curriculum's stages as mappings; tables become their digests, which hold them."""
    if not isinstance(value, list | tuple):
        return value
    stages = [{"name": stage} if isinstance(stage, str) else taken_in(stage) for stage in value]
    return [dict(stage) if isinstance(stage, Mapping) else stage for stage in stages]


def last_corpus(stages: Any) -> Any:
    """Return the corpus of the last stage, whose parts measure the run; None where there is none."""
    last = stages[-1] if isinstance(stages, list | tuple) and stages else None
    return {key: value for key, value in last.items() if key not in KEYS} if isinstance(last, Mapping) else None
