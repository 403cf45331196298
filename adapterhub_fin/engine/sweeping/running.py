"""Run the trials of a sweep to the end, each result logged and shown, and delete the weights of those that lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.sweeping.combinations import Combination, Job, jobs_of, with_options
from adapterhub_fin.engine.sweeping.folder import COMPLETE, Result, SweepFolder
from adapterhub_fin.engine.sweeping.progress_bar import SweepBar
from adapterhub_fin.engine.sweeping.scores import Row, best, best_seed, options_text, table, tried
from adapterhub_fin.engine.sweeping.searches import Listed, Search
from adapterhub_fin.engine.sweeping.trial_log import log_trials, trial_digest
from adapterhub_fin.engine.sweeping.workers import Workers

if TYPE_CHECKING:
    from adapterhub_fin.engine.sweeping.definition import Definition
    from adapterhub_fin.engine.sweeping.preparing import Inputs
    from adapterhub_fin_registry import Registry


@dataclass(frozen=True)
class Running:
    """Hold a sweep that runs: what it is, where, and which trial comes next."""

    definition: Definition
    inputs: Inputs
    folder: SweepFolder
    registry: Registry
    search: Search

    def rows(self) -> list[Row]:
        """Return the table so far."""
        return table(self.search.combinations, self.definition.seeds, self.definition.folds, self.folder.result)

    def trials(self) -> dict[str, Combination]:
        """Return the digests of the trials that ended, with their combinations."""
        ended = tried(self.search.combinations, self.definition.seeds, self.definition.folds, self.folder.result)
        return {trial_digest(self.recipe(*trial), self.definition.folds): trial[0] for trial in ended}

    def recipe(self, combination: Combination, seed: int) -> Any:
        """Return the recipe of a run."""
        return with_options(self.definition.recipe, combination, seed)

    def log(self) -> None:
        """Write the trials that ended into the registry's log, each under the digest of its rows."""
        by_corpus: dict[str, list[str]] = {}
        for digest, combination in self.trials().items():
            by_corpus.setdefault(self.inputs.others.get(combination, self.inputs.corpus), []).append(digest)
        for corpus, digests in by_corpus.items():
            log_trials(self.registry.root, corpus, digests, self.folder.path.name)


def search_of(definition: Definition, inputs: Inputs, folder: SweepFolder) -> Search:
    """Return the search of a sweep as far as it had come. Runs that failed are tried again, except Optuna's."""
    from adapterhub_fin.engine.sweeping.asking import Asked
    from adapterhub_fin.engine.sweeping.folder import STUDY

    if definition.search == "optuna":
        return Asked(
            definition.swept,
            definition.seeds,
            definition.folds,
            trials=int(definition.trials or 0),
            seed=definition.search_seed,
            storage=folder.path / STUDY,
            greater_is_better=inputs.greater_is_better,
        )
    jobs = [
        job
        for combination in definition.combinations
        for job in jobs_of(combination, definition.seeds, definition.folds)
    ]
    folder.forget_failures(jobs)
    return Listed(definition.combinations, jobs)


def run_trials(running: Running, workers: Workers) -> None:
    """Run what is left of a sweep's trials. Raises BadRecipe where the base has changed since the first of them."""
    folder, search = running.folder, running.search
    with SweepBar(running.definition.runs) as bar, workers:
        while True:
            while workers.is_free and (job := search.next()) is not None:
                if (result := folder.result(job)) is not None:
                    _ended(running, bar, job, result)
                else:
                    workers.start(job, running.recipe(job.combination, job.seed).document())
            if not workers.running:
                return
            for job, evaluation in workers.evaluations():
                if search.measured(job, evaluation):
                    _ended(running, bar, job, workers.prune(job, evaluation))
            for job, result in workers.ended():
                _ended(running, bar, job, result)


def _ended(running: Running, bar: SweepBar, job: Job, result: Result) -> None:
    keys = [option.key for option in running.definition.swept]
    if result["state"] == COMPLETE and not any(key.split(".")[0] == "base" for key in keys):
        running.folder.bind({"base": result["base"]})
    running.search.ended(job, result)
    running.log()
    rows = running.rows()
    _forget_losers(running, rows)
    if any(row.score is not None for row in rows):
        ahead = rows[best(rows, greater_is_better=running.inputs.greater_is_better)]
        bar.best(f"best {running.inputs.metric} {ahead.score:.4f}: {options_text(ahead)}")
    bar.ended(sum(_over(running, combination) for combination in running.search.combinations))


def _over(running: Running, combination: Combination) -> int:
    """Return how many runs of a combination are over; of one that Optuna gave up, all."""
    jobs = [*jobs_of(combination, running.definition.seeds, running.definition.folds)]
    results = [result for job in jobs if (result := running.folder.result(job)) is not None]
    is_over = running.definition.search == "optuna" and any(result["state"] != COMPLETE for result in results)
    return len(jobs) if is_over else len(results)


def _forget_losers(running: Running, rows: Sequence[Row]) -> None:
    """Delete the weights of runs that can't be the winner any more; those of folds never are."""
    greater = running.inputs.greater_is_better
    ahead = best(rows, greater_is_better=greater) if any(row.score is not None for row in rows) else None
    for number, (combination, row) in enumerate(zip(running.search.combinations, rows, strict=True)):
        is_out = row.state in ("failed", "pruned") or (row.score is not None and number != ahead)
        chosen = best_seed(row, greater_is_better=greater) if row.scores else None
        for job in jobs_of(combination, running.definition.seeds, running.definition.folds):
            if running.folder.result(job) is not None and (is_out or job.fold is not None or job.seed != chosen):
                running.folder.forget_weights(job)


def common_task(registry: Registry, folds: int | None, *, download: bool) -> Mapping[str, Any]:
    """Return what the tasks of all trials have in common."""
    return {"registry": str(registry.root), "folds": folds, "download": download}
