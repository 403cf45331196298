"""Sweep a recipe's options: train each combination with several seeds, choose by validation, test and store one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from adapterhub_fin.engine.sweeping.choosing import store_winner
from adapterhub_fin.engine.sweeping.definition import SearchName, define
from adapterhub_fin.engine.sweeping.folder import SweepFolder
from adapterhub_fin.engine.sweeping.preparing import prepare_all
from adapterhub_fin.engine.sweeping.running import Running, common_task, run_trials, search_of
from adapterhub_fin.engine.sweeping.scores import Row, Scores, options_text
from adapterhub_fin.engine.sweeping.workers import Workers, share_of_cores
from adapterhub_fin.engine.training.train import Source, read_recipe
from adapterhub_fin.errors import BadRecipe, NotFound
from adapterhub_fin.plugin.memory import restored
from adapterhub_fin.plugin.progress_lines import announce, announcing
from adapterhub_fin.registries import configured_registries
from adapterhub_fin_registry import Registry

if TYPE_CHECKING:
    from adapterhub_fin.engine.sweeping.report import SweepReport
    from adapterhub_fin.recipe.keys import RecipeKeys
    from adapterhub_fin_registry import Version
    from adapterhub_fin_registry.model.manifest import Selection


@dataclass(frozen=True)
class Sweep(Scores):
    """Hold the result of a sweep: a row for each combination, and the winner as a version."""

    version: Version
    folder: Path  # where the trials are, with what each printed
    registry: Registry = field(repr=False)

    @property
    def selection(self) -> Selection:
        """Return what the version's manifest records of how it was chosen."""
        selection = self.version.manifest.selection
        assert selection is not None, "a sweep's version has one"
        return selection

    def __repr__(self) -> str:
        return f"Sweep({self.version.reference}, {len(self.rows):,} combinations, best {options_text(self.winner)})"

    def _repr_html_(self) -> str:
        from adapterhub_fin_registry.io.html_table import html_table

        columns = (*self.winner.options, f"validation {self.metric}", "95 % interval", "seeds", "")
        return html_table(f"Sweep of {self.version.name}: {self.version.reference}", self.table(), columns)

    def document(self) -> dict[str, Any]:
        """Return the sweep as plain values."""
        return {
            "reference": self.version.reference,
            "digest": self.version.digest,
            "metric": self.metric,
            "greater_is_better": self.greater_is_better,
            "combinations": [row.document() for row in self.rows],
            "winner": {"options": dict(self.winner.options), "seed": self.seed},
            "selection": self.selection.model_dump(mode="json"),
            "test": dict(self.version.manifest.metrics),
            "folder": str(self.folder),
        }

    def report(self, into: str | Path) -> SweepReport:
        """Write a page with the table and the score against each option into a folder, with its pictures as PNG.

        Raises BadConfiguration where matplotlib or jinja2 isn't installed, and WriteFailed for a folder that can't be
        written.

        Example:
            >>> found.report("reports/sweep").page
            PosixPath('reports/sweep/sweep.html')
        """
        from adapterhub_fin.engine.sweeping.report import write_report

        return write_report(self, self.version, self.folder, Path(into))


def sweep(
    recipe: Source = None,
    *,
    over: Mapping[str, Any],
    seeds: int = 5,
    search: SearchName = "grid",
    trials: int | None = None,
    processes: int = 1,
    folds: int | None = None,
    search_seed: int = 0,
    restart: bool = False,
    registry: Registry | None = None,
    overrides: Sequence[str] = (),
    download: bool = False,
    **keys: Unpack[RecipeKeys],
) -> Sweep:
    """Train combinations of options, each with `seeds` seeds from the recipe's on; store the best one as a version.

    `over` has the values of each key, as `{"method.rank": [4, 8], "training.learning_rate": "1e-5..1e-3,log"}`. A grid
    tries every combination; random and optuna try `trials`, also of ranges. The best is the one with the best mean
    validation score, and its seed with the best validation score is measured on the test part, once, and stored. With
    `folds` the score is that of a cross-validation within the train and validation parts. `processes` run at a time.
    The same call goes on where a sweep was stopped or killed; `restart` begins again.

    Raises BadRecipe for what can't be searched, with every wrong combination, before the first run; what `train` raises
    before the base is loaded; TrainingFailed where no combination was completed; and NotFound where a finished sweep's
    version was deleted. A run that fails is in the table.

    Example:
        >>> found = ahf.sweep("recipes/tone.yaml", over={"method.rank": [4, 8, 16, 32]}, seeds=5, processes=2)
        >>> found.version.reference, found.winner.options
        ('acme/tone@1', {'method.rank': '8'})
    """
    if processes < 1:
        raise BadRecipe(f"processes is {processes}: give 1 or more")
    definition = define(
        read_recipe(recipe, overrides, keys),
        over,
        seeds=seeds,
        search=search,
        trials=trials,
        search_seed=search_seed,
        folds=folds,
    )
    registry = registry or configured_registries().writable()
    registry.check_writable()  # refuse before the work, not after it
    document = definition.document()
    memory_rows = restored(document["recipe"], registry.root / "runs")
    folder = SweepFolder.open(registry.root / "runs", document, restart=restart)
    try:
        if (done := folder.record.get("done")) is not None:
            return _finished(done, folder, registry)
        announce("loading torch, the base and the corpus ...")
        with announcing(False):  # once is enough for all combinations
            inputs = prepare_all(definition, registry, download=download)
        folder.bind(inputs.recorded())
        if "threads" not in folder.record:  # which stay the same, since sums depend on them
            folder.note(threads=share_of_cores(processes))
        running = Running(definition, inputs, folder, registry, search_of(definition, inputs, folder))
        task = common_task(registry, folds, download=download)
        run_trials(running, Workers(folder, processes, folder.record["threads"], task))
        version = store_winner(running, download=download)
        rows = running.rows()
        result = Sweep(rows, inputs.metric, inputs.greater_is_better, version, folder.path, registry)
        folder.note(
            done={
                "digest": version.digest,
                "metric": inputs.metric,
                "greater_is_better": inputs.greater_is_better,
                "rows": [row.document() for row in rows],
            }
        )
        return result
    finally:
        del memory_rows
        folder.release()


def _finished(done: Mapping[str, Any], folder: SweepFolder, registry: Registry) -> Sweep:
    """Return a sweep that was finished before. Raises NotFound where its version was deleted since."""
    try:
        version = registry.resolve(done["digest"])
    except NotFound as error:
        raise NotFound(
            f"this sweep is finished, and its version is gone: sweep again with --restart ({error})"
        ) from error
    rows = [Row.read(row) for row in done["rows"]]
    return Sweep(rows, done["metric"], done["greater_is_better"], version, folder.path, registry)
