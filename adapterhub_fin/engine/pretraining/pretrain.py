"""Make a base from dated text, and add it to the local registry as a version of kind base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.base.locks import drawing
from adapterhub_fin.engine.data.corpus import files_read
from adapterhub_fin.engine.pretraining.fitting import LoadedBase, bind_base, load, measure, new_trainer, write_folder
from adapterhub_fin.engine.pretraining.prepare import PreparedBase, prepare_base
from adapterhub_fin.engine.pretraining.result import Pretrained
from adapterhub_fin.engine.training.distributed import from_first, is_first
from adapterhub_fin.engine.training.fitting import train_to_end
from adapterhub_fin.engine.training.history import losses_by_epoch, run_history
from adapterhub_fin.engine.training.run_folder import RunFolder, open_run, refuse_both
from adapterhub_fin.engine.training.sharded import is_sharded
from adapterhub_fin.errors import AdapterHubError, BadRecipe, TrainingFailed
from adapterhub_fin.plugin.memory import restored
from adapterhub_fin.recipe.given import read_given, require_name
from adapterhub_fin.recipe.pretrain_recipe import NO_BASE_NAME, PretrainRecipe
from adapterhub_fin.registries import configured_registries

if TYPE_CHECKING:
    from adapterhub_fin.engine.training.report_to import ReportedRun
    from adapterhub_fin_registry import Registry
    from adapterhub_fin_registry.model.history import History

Source = PretrainRecipe | str | Path | Mapping[str, Any] | None


def pretrain(
    recipe: Source = None,
    *,
    registry: Registry | None = None,
    overrides: Sequence[str] = (),
    resume: bool = False,
    restart: bool = False,
    **keys: Any,
) -> Pretrained:
    """Train a base on dated text and add it to the registry, with the knowledge end of its rows.

    The recipe is a file, a mapping, a PretrainRecipe, or its keys as keyword arguments. An interrupted run of the same
    recipe is resumed with `resume`, to the same weights as an uninterrupted one, or deleted with `restart`. Raises
    BadRecipe, UnknownName, BadCorpus, LookAhead or ReadOnly before torch is imported, and TrainingFailed when the run
    itself fails.

    Example:
        >>> base = ahf.pretrain("recipes/base.yaml", overrides=["until=2013-12-31"])
        >>> base.reference, base.version.manifest.knowledge.end
        ('acme/fin-2013@1', '2013-12-18T19:00:00Z')
    """
    refuse_both(resume, restart)
    checked = require_name(read_pretrain_recipe(recipe, overrides, keys), NO_BASE_NAME)
    if checked.schedule is not None:
        raise BadRecipe(
            "the recipe has a schedule, which gives a base for each cut-off: use ahf.pretrain_series, or give until"
        )
    registry = registry or configured_registries().writable()
    registry.check_writable()  # refuse before the work, not after it
    memory_rows = restored(checked.document(), registry.root / "runs")  # for as long as the run reads them
    trained = run_base(prepare_base(checked, registry), registry, resume=resume, restart=restart)
    del memory_rows
    return trained


def preview_pretrain(
    recipe: Source = None, *, registry: Registry | None = None, overrides: Sequence[str] = (), **keys: Any
) -> PreparedBase:
    """Return the run that `pretrain` would do, checked the same way: rows, tokens, steps. No weight is read.

    Raises what `pretrain` raises before training.

    Example:
        >>> ahf.preview_pretrain("recipes/base.yaml").steps
        1200
    """
    return prepare_base(read_pretrain_recipe(recipe, overrides, keys), registry)


def read_pretrain_recipe(recipe: Source, overrides: Sequence[str], keys: Mapping[str, Any]) -> PretrainRecipe:
    """Return a recipe from a file, a mapping or keyword arguments. Raises BadRecipe as `read_given` does."""
    return read_given(PretrainRecipe, recipe, overrides, keys)


def run_base(
    prepared: PreparedBase, registry: Registry, *, resume: bool | None, restart: bool, title: str = "pretraining"
) -> Pretrained:
    """Train a prepared base and add its version; `resume=None` resumes an interrupted run if there is one.

    Raises BadRecipe from `open_run`, Refused where the clock is wrong, and TrainingFailed when the run itself fails.
    """
    if is_sharded():
        raise BadRecipe("accelerate's configuration asks for FSDP, and pretraining copies the model to each process")
    opened: list[RunFolder] = []

    def open_folder() -> tuple[Path, str]:
        opened.append(open_run(registry.root / "runs", prepared.recipe, resume=resume, restart=restart))
        return opened[0].path, opened[0].adapter_name

    folder, adapter_name = from_first(open_folder)  # one process locks the run; the others share its folder
    run_folder = opened[0] if opened else RunFolder(folder, adapter_name, None)
    try:
        with drawing():
            return _run(load(prepared, adapter_name), registry, run_folder, title)
    except BaseException:
        if opened and run_folder.path.exists() and run_folder.checkpoint is None:  # else it is stored already
            run_folder.remove()  # there is nothing to resume from
        raise
    finally:
        run_folder.release()


def _run(loaded: LoadedBase, registry: Registry, run_folder: RunFolder, title: str) -> Pretrained:
    recipe = loaded.prepared.recipe
    bind_base(loaded, run_folder)
    trainer = new_trainer(loaded, run_folder.path, title)
    reported = _reported(loaded, registry, run_folder, trainer)
    try:
        train_to_end(trainer, run_folder)
        validation = measure(loaded, trainer, "validation")
        metrics = measure(loaded, trainer, "test") if loaded.prepared.cut.measured == "test" else validation
    except AdapterHubError:
        raise
    except Exception as error:  # say where the checkpoints are
        if reported is not None:
            reported.fail()
        checkpoint = run_folder.checkpoint
        note = f"; its last good checkpoint is {checkpoint}" if checkpoint else "; it had no checkpoint yet"
        raise TrainingFailed(f"training {recipe.name} failed: {error}{note}") from error
    history = run_history(trainer.state.log_history)
    steps = trainer.state.global_step
    reference = from_first(lambda: _store(loaded, registry, run_folder, metrics, history))
    if reported is not None:
        reported.record(reference, metrics)
    return Pretrained(
        version=registry.resolve(reference),
        metrics=metrics,
        validation=validation,
        parameters=loaded.parameters,
        steps=steps,
        tokens=loaded.prepared.tokens(steps),
        losses=losses_by_epoch(trainer.state.log_history),
        history=history,
    )


def _reported(loaded: LoadedBase, registry: Registry, run_folder: RunFolder, trainer: Any) -> ReportedRun | None:
    """Return the run as the recipe's trackers follow it; None without any, and in all processes but the first."""
    trackers = loaded.prepared.recipe.training.report_to
    if not (trackers and is_first()):
        return None
    from adapterhub_fin.engine.training.report_to import ReportedRun

    reported = ReportedRun(trackers, registry.root / "tensorboard" / run_folder.path.name)
    reported.follow(trainer)
    return reported


def _store(
    loaded: LoadedBase, registry: Registry, run_folder: RunFolder, metrics: Mapping[str, float], history: History
) -> str:
    """Add the version, delete the run's folder, and return the version's reference."""
    from adapterhub_fin.engine.importing.store_base import store_base  # with torch

    prepared = loaded.prepared
    recipe, cut, parent = prepared.recipe, prepared.cut, prepared.parent
    folder = run_folder.path / "base"
    write_folder(loaded, folder)
    version = store_base(
        folder,
        name=str(recipe.name),
        registry=registry,
        method={"name": "pretraining", "options": _options(prepared)},
        knowledge=prepared.known,
        corpus=cut.record,
        metrics=metrics,
        measured_on={
            "split": cut.measured,
            "rows": cut.counts[cut.measured],
            "corpus_digest": cut.measured_digest,
        },
        recipe=recipe.document(),
        seed=recipe.training.seed,
        parents=[] if parent is None else [{"digest": parent.digest, "name": parent.name, "role": "continued"}],
        description=recipe.description,
        license=recipe.license,
        tags=recipe.tags,
        training_texts=cut.training_texts(),
        history=history,
        read=_files_of(recipe),
    )
    run_folder.remove()
    return version.reference


def _files_of(recipe: PretrainRecipe) -> list[Path]:
    """Return the files that the text, or its tokens, were read from."""
    if recipe.shards is not None:
        return sorted(recipe.shards.expanduser().glob("*.*"))
    return [] if recipe.corpus is None else files_read(recipe.corpus)


def _options(prepared: PreparedBase) -> dict[str, Any]:
    """Return what made the weights, for the manifest's `method`: the shape, or the base it went on from, and how."""
    recipe = prepared.recipe
    made = {"base": recipe.document()["base"], "until": str(recipe.until)}
    training = recipe.training.model_dump(mode="json", exclude_none=True, exclude={"report_to"})
    return {**made, "training": training}
