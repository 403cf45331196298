"""Train an adapter from a recipe; the result is a new version in the local registry."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import DataCollatorWithPadding, EarlyStoppingCallback, TrainingArguments, set_seed

from adapterhub_fin import bases
from adapterhub_fin.engine import plugs
from adapterhub_fin.engine.adapter import Adapter
from adapterhub_fin.engine.measure import measured, metrics_for
from adapterhub_fin.engine.provenance import draft_manifest
from adapterhub_fin.engine.setup import Setup, set_up
from adapterhub_fin.engine.slots import check_bijection
from adapterhub_fin.engine.trainer import AdapterTrainer, ProgressBar
from adapterhub_fin.engine.weights import write_adapter
from adapterhub_fin.errors import BadRecipe, TrainingFailed, WriteFailed
from adapterhub_fin.extensions import extensions
from adapterhub_fin.recipe import Recipe
from adapterhub_fin_registry import Registry

if TYPE_CHECKING:
    from datasets import Dataset

    from adapterhub_fin.interfaces import HeadImplementation
    from adapterhub_fin_registry import Version


@dataclass(frozen=True)
class Run:
    """What training gave: the version, the adapter as it was trained, and the figures."""

    version: Version
    adapter: Adapter
    metrics: Mapping[str, float]  # on the held-out test part
    validation: Mapping[str, float]  # of the best checkpoint
    trained_parameters: int
    steps: int
    notes: Mapping[str, int]  # rows that the corpus dropped, counted

    @property
    def reference(self) -> str:
        return self.version.reference


def train(
    recipe: Recipe | str | Path | Mapping[str, Any] | None = None,
    *,
    registry: Registry | None = None,
    overrides: Sequence[str] = (),
    download: bool = False,
    **keys: Any,
) -> Run:
    """Train one adapter and add it to the registry.

    The recipe is a file, a mapping, a Recipe, or its keys as keyword arguments. Raises BadRecipe, UnknownName,
    BadCorpus or BaseNotFound before the base is loaded, and TrainingFailed when the run itself breaks.
    """
    recipe = _recipe(recipe, overrides, keys)
    if recipe.name is None:
        raise BadRecipe("the recipe has no name: give NAMESPACE/NAME for the version, as in --set name=acme/tone")
    registry = registry or Registry()
    setup = set_up(recipe, download=download)
    folder = _run_folder(registry, recipe.name)
    run = _run(setup, registry, folder)
    shutil.rmtree(folder)
    return run


def _run_folder(registry: Registry, name: str) -> Path:
    runs = registry.root / "runs"
    try:
        runs.mkdir(parents=True, exist_ok=True, mode=0o700)
        return Path(tempfile.mkdtemp(prefix=f"{name.replace('/', '--')}-", dir=runs))
    except OSError as error:
        raise WriteFailed(f"{runs} can't be written ({error.strerror}): make room there, or set AHF_HOME") from error


def _recipe(
    recipe: Recipe | str | Path | Mapping[str, Any] | None, overrides: Sequence[str], keys: Mapping[str, Any]
) -> Recipe:
    if isinstance(recipe, Recipe):
        recipe = recipe.document()
    if recipe is None or isinstance(recipe, Mapping):
        return Recipe.read({**(recipe or {}), **keys}, overrides)
    if keys:
        raise BadRecipe(f"a recipe file and {', '.join(sorted(keys))} were both given: use overrides=['key=value']")
    return Recipe.read(recipe, overrides)


def _run(setup: Setup, registry: Registry, folder: Path) -> Run:
    recipe, training = setup.recipe, setup.recipe.training
    parts = {name: _encode(setup, rows) for name, rows in setup.corpora.parts.items()}
    set_seed(training.seed)
    model = setup.method.attach(setup.model, setup.site)
    steps = math.ceil(math.ceil(len(parts["train"]) / training.batch_size) * training.epochs)
    trainer = AdapterTrainer(
        method=setup.method,
        slot=setup.site.slot,
        model=model,
        args=_arguments(setup, folder),
        train_dataset=parts["train"],
        eval_dataset=parts["validation"],
        data_collator=DataCollatorWithPadding(setup.tokenizer),
        compute_loss_func=_finite_loss(setup.head),
        compute_metrics=measured(recipe.head.name, setup.head),
        callbacks=[
            EarlyStoppingCallback(training.patience),
            ProgressBar(setup.metric.name),
            *setup.method.callbacks(model, setup.site.slot, steps),
        ],
    )
    try:
        trainer.train()
        held_out: Any = parts["test"]  # a list of rows is a data set to torch, if not to its types
        tested = trainer.predict(held_out, metric_key_prefix="test").metrics or {}
    except Exception as error:  # a plugin's head or metric may raise anything, and the checkpoints are worth naming
        raise TrainingFailed(f"training {recipe.name} broke: {error}; its checkpoints are in {folder}") from error
    model.requires_grad_(False)
    metrics = {name: float(tested[f"test_{name}"]) for name in metrics_for(recipe.head.name)}
    if wrong := sorted(name for name, value in metrics.items() if not math.isfinite(value)):
        raise TrainingFailed(f"the metric {wrong[0]} of {recipe.name} is no number; its checkpoints are in {folder}")
    manifest = draft_manifest(setup, metrics)
    adapter_folder = folder / "adapter"
    write_adapter(setup.method, model, setup.site.slot, adapter_folder)
    check_bijection(setup.method.tensors(model, setup.site.slot), adapter_folder, f"what {recipe.method.name} saved")
    version = registry.add(adapter_folder, manifest, name=str(recipe.name), checks=extensions().vetoes())
    if recipe.base.path is not None:
        bases.remember(plugs.pin_key(setup.base), setup.source.folder)
    return Run(
        version=version,
        adapter=Adapter(
            version, model.eval(), setup.tokenizer, setup.method, setup.head, setup.site.slot, training.max_length
        ),
        metrics=metrics,
        validation={setup.metric.name: float(trainer.state.best_metric or 0.0)},
        trained_parameters=sum(t.numel() for t in setup.method.tensors(model, setup.site.slot).values()),
        steps=trainer.state.global_step,
        notes=setup.corpora.notes,
    )


def _finite_loss(head: HeadImplementation) -> Callable[..., torch.Tensor]:
    """The head's loss; one that is no number stops the run instead of spoiling it."""

    def loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        value = head.loss(outputs, labels)
        if not torch.isfinite(value):
            raise FloatingPointError(f"the loss is {value.item()}: lower training.learning_rate, or look at the base")
        return value

    return loss


def _encode(setup: Setup, rows: Dataset) -> list[dict[str, Any]]:
    """Token ids and targets, a mapping a row; padding waits for the batch."""
    texts = setup.tokenizer(list(rows["text"]), truncation=True, max_length=setup.recipe.training.max_length)
    columns = {name: texts[name] for name in ("input_ids", "attention_mask")}
    return [
        {**{name: column[i] for name, column in columns.items()}, "labels": setup.head.target(row)}
        for i, row in enumerate(rows)
    ]


def _arguments(setup: Setup, folder: Path) -> TrainingArguments:
    training = setup.recipe.training
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=training.epochs,
        per_device_train_batch_size=training.batch_size,
        per_device_eval_batch_size=2 * training.batch_size,
        learning_rate=training.learning_rate,
        lr_scheduler_type=training.schedule,
        warmup_steps=training.warmup,
        weight_decay=training.weight_decay,
        max_grad_norm=training.clip,
        seed=training.seed,
        data_seed=training.seed,
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model=setup.metric.name,
        greater_is_better=setup.metric.greater_is_better,
        label_names=["labels"],
        remove_unused_columns=False,
        logging_nan_inf_filter=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        disable_tqdm=True,
        report_to="none",
    )
