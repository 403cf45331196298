"""Prepare every combination of a sweep before its first run: what can't run or be compared is refused there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapterhub_fin.engine.data.corpus import corpus_digest, read_rows
from adapterhub_fin.engine.sweeping.combinations import Combination, refuse, with_options
from adapterhub_fin.engine.sweeping.folds import prepare_fold
from adapterhub_fin.engine.training.prepare import PreparedRun, prepare
from adapterhub_fin.errors import AdapterHubError, BadRecipe

if TYPE_CHECKING:
    from adapterhub_fin.engine.sweeping.definition import Definition
    from adapterhub_fin.plugin.interfaces import Rows
    from adapterhub_fin.recipe.recipe import Recipe
    from adapterhub_fin_registry import Registry


@dataclass(frozen=True)
class Inputs:
    """Hold what all runs of a sweep have in common."""

    corpus: str  # the digest of its rows
    validation: str  # the digest of the rows that choose, and `test` of those that the winner is measured on
    test: str
    metric: str
    greater_is_better: bool
    others: Mapping[Combination, str]  # the corpus digest of combinations that have other training rows

    def recorded(self) -> dict[str, str]:
        """Return what a sweep that goes on must read again."""
        return {"corpus": self.corpus, "validation part": self.validation, "test part": self.test}


def prepare_all(definition: Definition, registry: Registry, *, download: bool) -> Inputs:
    """Return what the combinations have in common; with folds, also prepare each fold once.

    Raises BadRecipe, which names every combination that can't run, or that is measured on other rows or by another
    metric than the first.
    """
    first, others = None, dict[Combination, str]()
    wrong: dict[Combination, AdapterHubError] = {}
    rows_of: dict[str, Rows | None] = {}
    for combination in definition.combinations:
        recipe = with_options(definition.recipe, combination)
        try:
            rows = _rows(recipe, rows_of)
            prepared = prepare(recipe, rows=rows, download=download, registry=registry)
        except AdapterHubError as error:
            wrong[combination] = error
            continue
        inputs = _inputs(prepared)
        if first is None:
            first = inputs
        elif differs := _differing(inputs, first):
            wrong[combination] = BadRecipe(f"its {differs} is another than the first's: scores can't be compared")
        if inputs.corpus != first.corpus:
            others[combination] = inputs.corpus
    refuse(wrong, len(definition.combinations))
    assert first is not None, "a sweep has a combination"
    if definition.folds is not None:
        recipe = with_options(definition.recipe, definition.combinations[0])
        for fold in range(definition.folds):
            rows = _rows(recipe, rows_of)
            prepare_fold(recipe, definition.folds, fold, rows=rows, download=download, registry=registry)
    return Inputs(first.corpus, first.validation, first.test, first.metric, first.greater_is_better, others)


def _rows(recipe: Recipe, rows_of: dict[str, Rows | None]) -> Rows | None:
    """Return the rows of a recipe's corpus, read once for all combinations that share it; None for a curriculum's."""
    if recipe.curriculum is not None:
        return None
    key = json.dumps([recipe.document()["corpus"], recipe.head.name], sort_keys=True)
    if key not in rows_of:
        rows_of[key] = read_rows(recipe.corpus, recipe.head.name)
    return rows_of[key]


def _inputs(prepared: PreparedRun) -> Inputs:
    parts = {split: corpus_digest(prepared.corpora.splits[split]) for split in ("validation", "test")}
    digest, metric = str(prepared.corpora.record["digest"]), prepared.metric
    return Inputs(digest, parts["validation"], parts["test"], metric.name, metric.greater_is_better, {})


def _differing(inputs: Inputs, first: Inputs) -> str:
    """Return what of a combination can't be compared with the first, if anything."""
    pairs = {
        "metric": (inputs.metric, first.metric),
        "validation part": (inputs.validation, first.validation),
        "test part": (inputs.test, first.test),
    }
    return " and ".join(what for what, (one, other) in pairs.items() if one != other)
