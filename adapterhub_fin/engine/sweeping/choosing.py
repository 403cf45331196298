"""Measure the winner of a sweep on the test part, once, and store it with a record of how many were tried."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from adapterhub_fin.engine.sweeping.combinations import Job
from adapterhub_fin.engine.sweeping.folder import RUN
from adapterhub_fin.engine.sweeping.scores import best, best_seed
from adapterhub_fin.engine.sweeping.trial_log import earlier_trials
from adapterhub_fin.engine.training.manifest import recorded_recipe
from adapterhub_fin.engine.training.prepare import prepare
from adapterhub_fin.engine.training.train import run
from adapterhub_fin_registry.model.manifest import Selection

if TYPE_CHECKING:
    from adapterhub_fin.engine.sweeping.running import Running
    from adapterhub_fin.recipe.recipe import Recipe
    from adapterhub_fin_registry import Registry, Version


def store_winner(running: Running, *, download: bool) -> Version:
    """Return the version of the best combination, by its mean validation score, with its best seed.

    The run goes on from the checkpoint that its trial ended with; after a cross-validation, whose folds trained on
    fewer rows, it is trained anew on the recipe's own parts. What was stored before the sweep was killed is not stored
    twice. Raises TrainingFailed where no combination was completed.
    """
    definition, folder, registry = running.definition, running.folder, running.registry
    rows, greater = running.rows(), running.inputs.greater_is_better
    row = rows[best(rows, greater_is_better=greater)]
    combination, seed = tuple(row.options.items()), best_seed(row, greater_is_better=greater)
    recipe = running.recipe(combination, seed)
    if "winner" not in folder.record:  # before the version, so that it is recognised
        latest = max((version.number for version in registry.versions(str(recipe.name))), default=0)
        folder.note(winner={"after": latest, "selection": selection_of(running).model_dump()})
    noted = folder.record["winner"]
    selection = Selection.model_validate(noted["selection"])
    prepared = prepare(recipe, download=download, registry=registry)
    if (stored := _stored(registry, prepared.recipe, selection, noted["after"])) is not None:
        return stored
    runs = folder.path / "winner" if definition.folds else folder.of(Job(combination, seed, None)) / RUN
    with on_threads(folder.record["threads"]):
        done = run(prepared, registry, resume=None, restart=False, title="winner", runs=runs, selection=selection)
    return done.version


def selection_of(running: Running) -> Selection:
    """Return what the winner's manifest records: its validation score, and among how many it was chosen."""
    definition, rows, trials = running.definition, running.rows(), running.trials()
    row = rows[best(rows, greater_is_better=running.inputs.greater_is_better)]
    corpus = running.inputs.others.get(tuple(row.options.items()), running.inputs.corpus)
    assert row.score is not None, "the best combination was completed"
    return Selection(
        tried=len(trials),
        earlier=earlier_trials(running.registry.root, corpus, trials),
        search=definition.search,
        over=tuple(option.key for option in definition.swept),
        metric=running.inputs.metric,
        score=row.score,
        interval=row.interval,
        seeds=len(definition.seeds),
        folds=definition.folds,
    )


def _stored(registry: Registry, recipe: Recipe, selection: Selection, after: int) -> Version | None:
    """Return the version that this sweep has stored already, if it was killed right after that."""
    for version in registry.versions(str(recipe.name)):
        manifest = version.manifest if version.number > after else None
        if manifest and manifest.selection == selection and manifest.recipe == recorded_recipe(recipe):
            return version
    return None


@contextmanager
def on_threads(threads: int) -> Iterator[None]:
    """Compute on so many threads, as the trials did, so that the winner's numbers are those of its trial."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
