"""Train an adapter from a recipe and add it to the local registry as a new version."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base import find as bases
from adapterhub_fin.engine.base.adapter_names import check_bijection
from adapterhub_fin.engine.base.load_base import check_stored, fingerprint_key
from adapterhub_fin.engine.base.locks import building, drawing
from adapterhub_fin.engine.data.batches import arrays
from adapterhub_fin.engine.data.corpus import files_read
from adapterhub_fin.engine.data.labels import one_answer
from adapterhub_fin.engine.evaluation.metrics import metrics_for
from adapterhub_fin.engine.evaluation.seen import training_texts
from adapterhub_fin.engine.inference.adapter import Adapter
from adapterhub_fin.engine.inference.load import load
from adapterhub_fin.engine.peft.adapter_io import write_adapter
from adapterhub_fin.engine.training.baseline import answer_linearly, compare, unmeasured
from adapterhub_fin.engine.training.distributed import from_first, is_first
from adapterhub_fin.engine.training.fitting import attach_adapter, bind_inputs, build_trainer, train_to_end
from adapterhub_fin.engine.training.forgetting import answers_before, check_limits, measure
from adapterhub_fin.engine.training.history import losses_by_epoch, run_history
from adapterhub_fin.engine.training.manifest import trained_manifest
from adapterhub_fin.engine.training.prepare import LoadedRun, PreparedRun, load_run, prepare
from adapterhub_fin.engine.training.read_back import check_trained_loads
from adapterhub_fin.engine.training.record import record_once
from adapterhub_fin.engine.training.run import Run
from adapterhub_fin.engine.training.run_folder import RunFolder, open_run, refuse_both
from adapterhub_fin.engine.training.sharded import is_sharded
from adapterhub_fin.errors import AdapterHubError, TrainingFailed
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.plugin.memory import restored
from adapterhub_fin.plugin.trusted_code import trusting_remote_code
from adapterhub_fin.recipe.given import read_given, require_name
from adapterhub_fin.recipe.recipe import NO_NAME, Recipe
from adapterhub_fin.registries import configured_registries
from adapterhub_fin_registry import Registry

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from adapterhub_fin.engine.evaluation.forgetting import Answered, Forgetting
    from adapterhub_fin.engine.training.report_to import ReportedRun
    from adapterhub_fin.engine.training.trainer import AdapterTrainer
    from adapterhub_fin.recipe.keys import RecipeKeys
    from adapterhub_fin_registry import Version
    from adapterhub_fin_registry.model.history import History
    from adapterhub_fin_registry.model.manifest import Selection
else:
    np = Lazy("numpy")

log = logging.getLogger(__name__)
Source = Recipe | str | Path | Mapping[str, Any] | None


def train(
    recipe: Source = None,
    *,
    registry: Registry | None = None,
    overrides: Sequence[str] = (),
    download: bool = False,
    resume: bool = False,
    restart: bool = False,
    **keys: Unpack[RecipeKeys],
) -> Run:
    """Train one adapter and add it to the registry.

    The recipe is a file, a mapping, a Recipe, or its keys as keyword arguments. An interrupted run of the same recipe
    is resumed with `resume`, to the same weights as an uninterrupted one, or deleted with `restart`. Raises BadRecipe,
    UnknownName, BadCorpus, BaseNotFound or ReadOnly before the base is loaded, and TrainingFailed when the run itself
    fails.

    Example:
        >>> run = ahf.train("recipes/tone.yaml", overrides=["training.epochs=3"])
        >>> run.reference, run.metrics["accuracy"]  # on the test split
        ('acme/tone@1', 0.84)
    """
    refuse_both(resume, restart)
    checked = require_name(read_recipe(recipe, overrides, keys), NO_NAME)
    registry = registry or configured_registries().writable()
    registry.check_writable()  # refuse before the work, not after it
    memory_rows = restored(checked.document(), registry.root / "runs")  # for as long as the run reads them
    trained = run(prepare(checked, download=download, registry=registry), registry, resume=resume, restart=restart)
    del memory_rows
    return trained


def run(
    prepared: PreparedRun,
    registry: Registry,
    *,
    resume: bool | None,
    restart: bool,
    title: str = "training",
    runs: Path | None = None,
    selection: Selection | None = None,
) -> Run:
    """Train a prepared run and add its version; `resume=None` resumes an interrupted run if there is one.

    The run's folder is in `runs`, by default the registry's. `selection` is recorded of a run that was chosen among
    others. Raises BadRecipe from `open_run`, Refused where the clock is wrong, and TrainingFailed when the run itself
    fails.
    """
    opened: list[RunFolder] = []
    _bounded_now(prepared, registry)  # refuse before the work, not after it

    def open_folder() -> tuple[Path, str]:
        opened.append(open_run(runs or registry.root / "runs", prepared.recipe, resume=resume, restart=restart))
        return opened[0].path, opened[0].adapter_name

    folder, adapter_name = from_first(open_folder)  # one process locks the run; the others share its folder
    run_folder = opened[0] if opened else RunFolder(folder, adapter_name, None)
    try:
        with drawing(), trusting_remote_code(bool(prepared.recipe.base.trust_remote_code)):
            return _run(load_run(prepared, adapter_name), registry, run_folder, title, selection)
    except BaseException:
        if opened and run_folder.path.exists() and run_folder.checkpoint is None:  # else it is stored already
            run_folder.remove()  # there is nothing to resume from
        raise
    finally:
        run_folder.release()


def preview(
    recipe: Source = None, *, overrides: Sequence[str] = (), download: bool = False, **keys: Unpack[RecipeKeys]
) -> PreparedRun:
    """Return the run that `train` would do, checked the same way: rows, steps, trained parameters. No weight is read.

    Raises what `train` raises before the base is loaded.

    Example:
        >>> prepared = ahf.preview("recipes/tone.yaml")
        >>> prepared.steps, prepared.trained_parameters
        (240, 74498)
    """
    return prepare(read_recipe(recipe, overrides, keys), download=download)


def read_recipe(recipe: Source, overrides: Sequence[str], keys: Mapping[str, object]) -> Recipe:
    """Return a recipe from a file, a mapping, a Recipe or keyword arguments. Raises BadRecipe as `read_given` does."""
    return read_given(Recipe, recipe, overrides, keys)


def _run(loaded: LoadedRun, registry: Registry, run_folder: RunFolder, title: str, selection: Selection | None) -> Run:
    recipe = loaded.recipe
    bind_inputs(loaded, run_folder)
    from transformers import set_seed

    set_seed(recipe.training.seed)
    with building():
        no_baseline = unmeasured(loaded)
        linear = from_first(lambda: answer_linearly(loaded)) if no_baseline is None else no_baseline
        answered = from_first(lambda: answers_before(loaded, loaded.model, of_base=True)) if loaded.checks else {}
        loaded, model = attach_adapter(loaded)
        if loaded.start is not None and loaded.checks:
            answered |= from_first(lambda: answers_before(loaded, model, of_base=False))
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    trainer = build_trainer(loaded, model, run_folder.path, title)
    reported = _reported(loaded, registry, run_folder, trainer)
    try:
        train_to_end(trainer, run_folder)
        if loaded.head.calibrates:
            _calibrate(loaded, trainer)
        held_out: Any = loaded.examples["test"]  # torch takes a list of rows as a dataset; its types do not
        predicted = trainer.predict(held_out, metric_key_prefix="test")
        tested = predicted.metrics or {}
        truth, answers = _answers(loaded, predicted)
        warnings = [one for one in (one_answer(loaded.head, truth, answers, "test"),) if one]
        compared = linear if isinstance(linear, str) else compare(loaded, linear, truth, answers)
        baseline = None if isinstance(compared, str) else compared
        if baseline is not None and baseline.verdict != "better":
            warnings.append(baseline.sentence())
    except Exception as error:  # a plugin's head or metric may raise anything; say where the checkpoints are
        if reported is not None:
            reported.fail()
        raise TrainingFailed(f"training {recipe.name} failed: {error}{_checkpoint_note(run_folder)}") from error
    model = trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)  # without the autocast of training
    model.requires_grad_(False)
    metrics = {name: float(tested[f"test_{name}"]) for name in metrics_for(recipe.head.name, loaded.head)}
    if undefined := sorted(name for name, value in metrics.items() if not math.isfinite(value)):
        raise TrainingFailed(f"{undefined[0]} of {recipe.name} is NaN or infinite{_checkpoint_note(run_folder)}")
    forgetting = _forgetting(loaded, model, answered, run_folder, reported)
    history = run_history(trainer.state.log_history, loaded.stages)
    if is_first():
        for warning in warnings:
            log.warning("%s", warning)
    events = [("forgetting", each.body()) for each in forgetting]
    if baseline is not None:
        events.insert(0, ("baseline", baseline.body()))
    stored = (metrics, run_folder, history, events, selection)
    reference = from_first(lambda: _store(loaded, registry, model, *stored))
    if reported is not None:
        reported.record(reference, metrics)
    version = registry.resolve(reference)
    return Run(
        version=version,
        adapter=_adapter(loaded, registry, version, model),
        metrics=metrics,
        validation={} if trainer.selected_metric is None else {loaded.metric.name: trainer.selected_metric},
        trained_parameters=trained,
        steps=trainer.state.global_step,
        notes=loaded.corpora.notes,
        losses=losses_by_epoch(trainer.state.log_history),
        labels=loaded.corpora.labels,
        history=history,
        registry=registry,
        baseline=baseline,
        forgetting=forgetting,
        unmeasured={"baseline": compared} if isinstance(compared, str) else {},
        warnings=[*loaded.warnings, *warnings],
    )


def _forgetting(
    loaded: LoadedRun,
    model: nn.Module,
    before: Mapping[int, Answered],
    run_folder: RunFolder,
    reported: ReportedRun | None,
) -> list[Forgetting]:
    """Return what the model forgot on the corpora of the recipe's limits. Raises ForgetsTooMuch above one of them."""
    if not loaded.checks:
        return []
    try:
        measured = from_first(lambda: measure(loaded, model, before))
        check_limits(str(loaded.recipe.name), measured, run_folder.path)
    except AdapterHubError:
        if reported is not None:
            reported.fail()
        raise
    return measured


def _calibrate(loaded: LoadedRun, trainer: AdapterTrainer) -> None:
    """Let the head fit to the validation part what it leaves open, with the checkpoint that was picked."""
    validation: Any = loaded.examples["validation"]
    answered = trainer.predict(validation, metric_key_prefix="calibration")
    loaded.head.calibrate(np.asarray(answered.predictions), loaded.head.truth(arrays(answered.label_ids)))


def _answers(loaded: LoadedRun, predicted: Any) -> tuple[Any, Any]:
    """Return truth and answers of the Trainer's predictions, (rows, ...), as metrics take them."""
    return loaded.head.truth(arrays(predicted.label_ids)), loaded.head.decide(np.asarray(predicted.predictions))


def _reported(
    loaded: LoadedRun, registry: Registry, run_folder: RunFolder, trainer: AdapterTrainer
) -> ReportedRun | None:
    """Return the run as the recipe's trackers follow it; None without any, and in all processes but the first."""
    if not (loaded.recipe.training.report_to and is_first()):
        return None
    from adapterhub_fin.engine.training.report_to import ReportedRun

    reported = ReportedRun(loaded.recipe.training.report_to, registry.root / "tensorboard" / run_folder.path.name)
    reported.follow(trainer)
    return reported


def _store(
    loaded: LoadedRun,
    registry: Registry,
    model: nn.Module,
    metrics: Mapping[str, float],
    run_folder: RunFolder,
    history: History,
    events: Sequence[tuple[str, Mapping[str, Any]]],
    selection: Selection | None,
) -> str:
    """Add the version, delete the run's folder, and return the version's reference."""
    recipe, method, adapter_name = loaded.recipe, loaded.method, loaded.context.adapter_name
    folder = run_folder.path / "adapter"
    write_adapter(method, model, adapter_name, folder)
    check_bijection(method.tensors(model, adapter_name), folder, f"what {recipe.method.name} saved")
    check_stored(loaded.context.modules_to_save, folder, recipe.method.name)
    check_trained_loads(loaded, folder)
    manifest = trained_manifest(loaded, metrics, _bounded_now(loaded, registry), selection)
    texts = training_texts([each.splits for each in (*loaded.corpora.stages, loaded.corpora)])
    version = registry.add(
        folder,
        manifest,
        name=str(recipe.name),
        checks=extensions().vetoes(),
        training_texts=texts,
        history=history,
    )
    for kind, body in events:
        record_once(registry, version, kind, body)
    if recipe.base.path is not None:
        bases.remember(fingerprint_key(loaded.base), loaded.source.folder)
    run_folder.remove()
    return version.reference


def _bounded_now(prepared: PreparedRun, registry: Registry) -> datetime:
    """Return when a run's inputs without a date count as known. Raises Refused where the clock is wrong."""
    held_to = (limit.corpus for limit in prepared.recipe.training.limits)
    files = [file for corpus in (*prepared.recipe.corpora, *held_to) for file in files_read(corpus)]
    read = (prepared.source.folder, *files)
    return registry.bounded_now(*read, name=str(prepared.recipe.name))


def _adapter(loaded: LoadedRun, registry: Registry, version: Version, model: nn.Module) -> Adapter:
    """Return the trained adapter, or load it where its method stores another form or its base is sharded."""
    if loaded.method.reload_after_save or is_sharded():
        return load(version, base=loaded.source.folder, registry=registry)
    training = loaded.recipe.training
    return Adapter(
        version,
        model.eval(),
        loaded.tokenizer,
        loaded.method,
        loaded.head,
        loaded.context.adapter_name,
        training.max_length,
    )


def _checkpoint_note(run_folder: RunFolder) -> str:
    checkpoint = run_folder.checkpoint
    return f"; its last good checkpoint is {checkpoint}" if checkpoint else "; it had no checkpoint yet"
