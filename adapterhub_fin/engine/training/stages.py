"""Lay out a curriculum's stages in one run: which rows, how many steps, and at which learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.training.arguments import steps_of_an_epoch, total_steps

if TYPE_CHECKING:
    from adapterhub_fin.engine.data.corpus import Corpora
    from adapterhub_fin.recipe.curriculum import Stage
    from adapterhub_fin.recipe.recipe import Training

Examples = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class PlannedStage:
    """Hold one stage of a run: its examples among all of the run's, and the optimizer steps over them."""

    called: str
    examples: range  # of the run's training examples
    weights: Sequence[float] | None  # how often each of them is drawn beside the others
    validation: Examples | None  # what its evaluations measure; None: the run's own, for the last stage
    passes: Sequence[int]  # the steps of each pass over the examples; the last may be cut short
    learning_rate: float

    @property
    def steps(self) -> int:
        """Return the optimizer steps of the stage."""
        return sum(self.passes)


def planned_stage(
    stage: Stage,
    training: Training,
    examples: range,
    weights: Sequence[float] | None,
    validation: Examples | None,
) -> PlannedStage:
    """Return a stage as a run of its corpus alone would train it. The recipe is resolved: its learning rate is set."""
    epochs = training.epochs if stage.epochs is None else stage.epochs
    own = training.model_copy(update={"epochs": epochs, "max_steps": stage.max_steps})
    of_a_pass, total = steps_of_an_epoch(training, len(examples)), total_steps(own, len(examples))
    passes = [min(of_a_pass, total - done) for done in range(0, total, of_a_pass)]
    assert training.learning_rate is not None, "a resolved recipe has one"
    return PlannedStage(
        stage.called, examples, weights, validation, passes, stage.learning_rate or training.learning_rate
    )


@dataclass(frozen=True)
class Stages:
    """Hold the stages of a run in their order. Passes and stages are counted from 0, steps from 1."""

    planned: tuple[PlannedStage, ...]

    @property
    def steps(self) -> int:
        """Return the optimizer steps of the run, unless training stops early."""
        return sum(stage.steps for stage in self.planned)

    @cached_property
    def passes(self) -> Sequence[tuple[int, int]]:
        """Return the stage and the optimizer steps of each pass over rows."""
        return [(number, steps) for number, stage in enumerate(self.planned) for steps in stage.passes]

    @cached_property
    def ends(self) -> Sequence[int]:
        """Return the last step of each stage."""
        return list(accumulate(stage.steps for stage in self.planned))

    def stage_of(self, step: int) -> int:
        """Return the stage that a step belongs to."""
        return next((number for number, end in enumerate(self.ends) if step <= end), len(self.planned) - 1)

    def position(self, steps: int) -> tuple[int, int]:
        """Return the pass that so many steps lead to, and how many of its steps are done."""
        for number, (_, size) in enumerate(self.passes):
            if steps < size:
                return number, steps
            steps -= size
        return len(self.passes), 0

    def with_validation(self, validation: Sequence[Examples | None]) -> Stages:
        """Return the stages with other validation examples."""
        pairs = zip(self.planned, validation, strict=True)
        return Stages(tuple(replace(stage, validation=examples) for stage, examples in pairs))

    @property
    def weights(self) -> Sequence[float] | None:
        """Return how often each training example of the run is drawn beside those of its stage; None for equally."""
        if all(stage.weights is None for stage in self.planned):
            return None
        return [w for stage in self.planned for w in (stage.weights or [1.0] * len(stage.examples))]

    def documents(self, corpora: Corpora) -> list[dict[str, Any]]:
        """Return what a run does in each stage, as JSON; `corpora` are those of the run."""
        pairs = zip((*corpora.stages, corpora), self.planned, strict=True)
        return [
            {
                "corpus": stage.called,
                "rows": {split: len(table) for split, table in read.splits.items()},
                "examples": len(stage.examples),
                "steps": stage.steps,
                "learning_rate": stage.learning_rate,
                "labels": {label: dict(counts) for label, counts in read.labels.items()},
            }
            for read, stage in pairs
        ]
