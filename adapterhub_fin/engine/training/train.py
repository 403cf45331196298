"""Train an adapter from a recipe; the result is a new version in the local registry."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base import find as bases
from adapterhub_fin.engine.base.adapter_names import check_bijection
from adapterhub_fin.engine.base.load_base import check_stored, fingerprint_key
from adapterhub_fin.engine.base.locks import building, drawing
from adapterhub_fin.engine.data.corpus import files_read
from adapterhub_fin.engine.data.labels import one_answer
from adapterhub_fin.engine.evaluation.metrics import measured, metrics_for
from adapterhub_fin.engine.evaluation.seen import learnt_texts
from adapterhub_fin.engine.inference.adapter import Adapter
from adapterhub_fin.engine.inference.load import load
from adapterhub_fin.engine.peft.adapter_io import write_adapter
from adapterhub_fin.engine.training.distributed import from_first, is_first, world_size
from adapterhub_fin.engine.training.manifest import draft_manifest
from adapterhub_fin.engine.training.prepare import LoadedRun, PreparedRun, load_run, prepare
from adapterhub_fin.engine.training.read_back import check_trained_loads
from adapterhub_fin.engine.training.run_folder import RunFolder, open_run, refuse_both
from adapterhub_fin.errors import BadRecipe, TrainingFailed
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.recipe.recipe import Recipe
from adapterhub_fin.registries import configured_registries
from adapterhub_fin_registry import Registry

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from adapterhub_fin.engine.training.trainer import AdapterTrainer
    from adapterhub_fin_registry import Version
else:
    np = Lazy("numpy")

log = logging.getLogger(__name__)
Source = Recipe | str | Path | Mapping[str, Any] | None


@dataclass(frozen=True)
class Run:
    """What training gave: the version, the adapter as it was trained, and the figures."""

    version: Version
    adapter: Adapter
    metrics: Mapping[str, float]  # on the held-out test part
    validation: Mapping[str, float]  # of the checkpoint that was kept
    trained_parameters: int
    steps: int
    notes: Mapping[str, int]  # rows that the corpus dropped, counted
    losses: Sequence[float]  # of training, by epoch
    labels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # rows by label and part
    warnings: Sequence[str] = ()  # of labels, of what the method leaves out, of answers that are all one

    @property
    def reference(self) -> str:
        return self.version.reference


def train(
    recipe: Source = None,
    *,
    registry: Registry | None = None,
    overrides: Sequence[str] = (),
    download: bool = False,
    resume: bool = False,
    restart: bool = False,
    **keys: Any,
) -> Run:
    """Train one adapter and add it to the registry.

    The recipe is a file, a mapping, a Recipe, or its keys as keyword arguments. A run of the same recipe that broke off
    goes on with `resume`, to the weights that it would have had, or is thrown away with `restart`. Raises BadRecipe,
    UnknownName, BadCorpus or BaseNotFound before the base is loaded, and TrainingFailed when the run itself breaks.
    """
    refuse_both(resume, restart)
    whole = named(read_recipe(recipe, overrides, keys))
    registry = registry or configured_registries().writable()
    registry.check_writable()  # told before the work, not after
    return run(prepare(whole, download=download), registry, resume=resume, restart=restart)


def run(plan: PreparedRun, registry: Registry, *, resume: bool | None, restart: bool, title: str = "training") -> Run:
    """Train what was drafted and add it; `resume` None goes on with a run that broke off, where there is one."""
    held: list[RunFolder] = []
    _bounded_now(plan, registry)  # told before the work, not after

    def place() -> tuple[Path, str]:
        held.append(open_run(registry.root / "runs", plan.recipe, resume=resume, restart=restart))
        return held[0].path, held[0].adapter_name

    folder, adapter_name = from_first(place)  # one process holds the run; the others work in the same folder
    here = held[0] if held else RunFolder(folder, adapter_name, None)
    try:
        with drawing():
            return _run(load_run(plan, adapter_name), registry, here, title)
    except BaseException:
        if held and here.checkpoint is None:
            here.remove()  # nothing to go on from
        raise
    finally:
        here.release()


def preview(
    recipe: Source = None, *, overrides: Sequence[str] = (), download: bool = False, **keys: Any
) -> PreparedRun:
    """What `train` would do, checked as it would be: rows, steps and trained parameters, with no weight read."""
    return prepare(read_recipe(recipe, overrides, keys), download=download)


def read_recipe(recipe: Source, overrides: Sequence[str], keys: Mapping[str, Any]) -> Recipe:
    """A recipe from a file, a mapping or keyword arguments, with overrides."""
    if isinstance(recipe, Recipe):
        recipe = recipe.document()
    if recipe is None or isinstance(recipe, Mapping):
        return Recipe.read({**(recipe or {}), **keys}, overrides)
    if keys:
        raise BadRecipe(f"a recipe file and {', '.join(sorted(keys))} were both given: use overrides=['key=value']")
    return Recipe.read(recipe, overrides)


def named(recipe: Recipe) -> Recipe:
    """The recipe, once it says where its version goes."""
    if recipe.name is None:
        raise BadRecipe("the recipe has no name: give NAMESPACE/NAME for the version, as in --set name=acme/tone")
    return recipe


def _run(setup: LoadedRun, registry: Registry, run: RunFolder, title: str) -> Run:
    recipe = setup.recipe
    if is_first():
        digest = setup.corpora.record["digest"]
        run.bind({"corpus": digest, "base": fingerprint_key(setup.base), "number of processes": world_size()})
    from transformers import set_seed

    set_seed(recipe.training.seed)
    with building():
        model = setup.method.attach(setup.model, setup.site)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    trainer = _trainer(setup, model, run.path, title)
    try:
        _train(trainer, run)
        held_out: Any = setup.examples["test"]  # a list of rows is a data set to torch, if not to its types
        predicted = trainer.predict(held_out, metric_key_prefix="test")
        tested = predicted.metrics or {}
        warning = _one_answer(setup, predicted)
    except Exception as error:  # a plugin's head or metric may raise anything, and the checkpoints are worth naming
        raise TrainingFailed(f"training {recipe.name} broke: {error}{_kept(run)}") from error
    model = trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)  # without the autocast of training
    model.requires_grad_(False)
    metrics = {name: float(tested[f"test_{name}"]) for name in metrics_for(recipe.head.name)}
    if wrong := sorted(name for name, value in metrics.items() if not math.isfinite(value)):
        raise TrainingFailed(f"the metric {wrong[0]} of {recipe.name} is no number{_kept(run)}")
    reference = from_first(lambda: _store(setup, registry, model, metrics, run))
    version = registry.resolve(reference)
    return Run(
        version=version,
        adapter=_adapter(setup, registry, version, model),
        metrics=metrics,
        validation={} if trainer.kept is None else {setup.metric.name: trainer.kept},
        trained_parameters=trained,
        steps=trainer.state.global_step,
        notes=setup.corpora.notes,
        losses=[entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        labels=setup.corpora.labels,
        warnings=[*setup.warnings, *([warning] if warning else [])],
    )


def _one_answer(setup: LoadedRun, predicted: Any) -> str | None:
    """Log and return a warning where the test part was given one answer alone."""
    truth = setup.head.truth(np.asarray(predicted.label_ids))
    warning = one_answer(setup.head, truth, setup.head.decide(np.asarray(predicted.predictions)), "test")
    if warning and is_first():
        log.warning("%s", warning)
    return warning


def _trainer(setup: LoadedRun, model: nn.Module, folder: Path, title: str) -> AdapterTrainer:
    training = setup.recipe.training
    from transformers import EarlyStoppingCallback

    from adapterhub_fin.engine.training.arguments import arguments
    from adapterhub_fin.engine.training.progress_bar import ProgressBar
    from adapterhub_fin.engine.training.trainer import AdapterTrainer

    return AdapterTrainer(
        method=setup.method,
        head=setup.head,
        adapter_name=setup.site.adapter_name,
        modules_to_save=setup.site.modules_to_save,
        head_rate=training.head_learning_rate,
        checkpoint_steps=training.checkpoint_steps,
        tolerance=training.tolerance,
        model=model,
        args=arguments(training, setup.metric, folder),
        train_dataset=setup.examples["train"],
        eval_dataset=setup.examples["validation"],
        data_collator=setup.head.collator(setup.tokenizer),
        compute_metrics=measured(setup.recipe.head.name, setup.head),
        callbacks=[
            EarlyStoppingCallback(training.patience),
            ProgressBar(setup.metric.name, title),
            *setup.method.callbacks(model, setup.site.adapter_name, setup.steps),
        ],
    )


def _train(trainer: AdapterTrainer, run: RunFolder) -> None:
    """Train to the end, from the last checkpoint where there is one; it may be the end already."""
    checkpoint = run.checkpoint
    if checkpoint is not None:
        from transformers import TrainerState

        state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        control: Any = state.stateful_callbacks.get("TrainerControl", {})
        if control.get("args", {}).get("should_training_stop") or state.global_step >= state.max_steps:
            trainer.finish(state)
            return
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    trainer.check_best()


def _store(setup: LoadedRun, registry: Registry, model: nn.Module, metrics: Mapping[str, float], run: RunFolder) -> str:
    """Add the version; the run's folder is no longer needed then."""
    recipe, method, adapter_name = setup.recipe, setup.method, setup.site.adapter_name
    folder = run.path / "adapter"
    write_adapter(method, model, adapter_name, folder)
    check_bijection(method.tensors(model, adapter_name), folder, f"what {recipe.method.name} saved")
    check_stored(setup.site.modules_to_save, folder, recipe.method.name)
    check_trained_loads(setup, folder)
    manifest = draft_manifest(setup, metrics, _bounded_now(setup, registry))
    learnt = learnt_texts(setup.corpora.splits)
    version = registry.add(folder, manifest, name=str(recipe.name), checks=extensions().vetoes(), learnt=learnt)
    if recipe.base.path is not None:
        bases.remember(fingerprint_key(setup.base), setup.source.folder)
    run.remove()
    return version.reference


def _bounded_now(plan: PreparedRun, registry: Registry) -> datetime:
    """Return the moment that bounds what carries no date in a run; raises Refused where the clock is wrong."""
    read = (plan.source.folder, *files_read(plan.recipe.corpus))
    return registry.bounded_now(*read, name=str(plan.recipe.name))


def _adapter(setup: LoadedRun, registry: Registry, version: Version, model: nn.Module) -> Adapter:
    """The adapter as it was trained, or read back where it is stored in another form."""
    if setup.method.reload_after_save:
        return load(version.reference, base=setup.source.folder, registry=registry)
    training = setup.recipe.training
    return Adapter(
        version, model.eval(), setup.tokenizer, setup.method, setup.head, setup.site.adapter_name, training.max_length
    )


def _kept(run: RunFolder) -> str:
    checkpoint = run.checkpoint
    return f"; its last good checkpoint is {checkpoint}" if checkpoint else "; it had no checkpoint yet"
