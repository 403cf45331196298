"""Attach an adapter to a loaded base and train it to the end, from the last checkpoint if there is one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.base.load_base import fingerprint_key
from adapterhub_fin.engine.base.provenance import libraries
from adapterhub_fin.engine.evaluation.metrics import measured
from adapterhub_fin.engine.inference.find import is_same_head
from adapterhub_fin.engine.training.distributed import is_first, world_size
from adapterhub_fin.engine.training.prepare import LoadedRun, referred
from adapterhub_fin.engine.training.start import check_start_base, fill_from_start

if TYPE_CHECKING:
    from torch import nn
    from transformers import TrainerCallback

    from adapterhub_fin.engine.training.run_folder import RunFolder
    from adapterhub_fin.engine.training.trainer import AdapterTrainer


def bind_inputs(loaded: LoadedRun, run_folder: RunFolder) -> None:
    """Record what a run reads in its folder, or compare with what is recorded there.

    Raises BadRecipe where the corpus, the base or the start is another than before.
    """
    if not is_first():
        return
    start = {} if loaded.start is None else {"start": loaded.start.version.digest}
    stages = {f"stage {n}": stage.record["digest"] for n, stage in enumerate(loaded.corpora.stages, 1)}
    inputs = {"corpus": loaded.corpora.record["digest"], **stages, "base": fingerprint_key(loaded.base), **start}
    run_folder.bind({**inputs, "number of processes": world_size(), "set of libraries": libraries()})


def attach_adapter(loaded: LoadedRun) -> tuple[LoadedRun, nn.Module]:
    """Return the run and its model with a new adapter, filled from the version that the run starts from."""
    if loaded.start is not None:
        check_start_base(loaded.start, loaded.model, loaded.base_tokenizer, loaded.source.folder)
    model = loaded.method.attach(loaded.model, loaded.context)
    if loaded.start is not None:
        same = is_same_head(loaded.start, loaded.recipe.head.name, loaded.head)
        fill_from_start(loaded.start, model, loaded.context, loaded.method, keep_head=same)
        loaded = referred(loaded, model)
    return loaded, model


def build_trainer(
    loaded: LoadedRun, model: nn.Module, folder: Path, title: str, callbacks: Sequence[TrainerCallback] = ()
) -> AdapterTrainer:
    """Return the trainer of a run whose adapter is attached; its checkpoints go to `folder`."""
    training = loaded.recipe.training
    from transformers import EarlyStoppingCallback

    from adapterhub_fin.engine.training.arguments import arguments
    from adapterhub_fin.engine.training.progress_bar import ProgressBar
    from adapterhub_fin.engine.training.trainer import AdapterTrainer

    kind: Callable[..., AdapterTrainer] = AdapterTrainer
    if loaded.stages is not None:
        from adapterhub_fin.engine.training.staged_trainer import StagedTrainer

        kind = partial(StagedTrainer, loaded.stages)
    return kind(
        method=loaded.method,
        head=loaded.head,
        adapter_name=loaded.context.adapter_name,
        modules_to_save=loaded.context.modules_to_save,
        head_rate=training.head_learning_rate,
        checkpoint_steps=training.checkpoint_steps,
        tolerance=training.tolerance,
        weights=loaded.weights,
        model=model,
        args=arguments(training, len(loaded.examples["train"]), loaded.metric, folder, str(loaded.recipe.name)),
        train_dataset=loaded.examples["train"],
        eval_dataset=loaded.examples["validation"],
        data_collator=loaded.head.collator(loaded.tokenizer),
        compute_metrics=measured(loaded.recipe.head.name, loaded.head),
        callbacks=[
            EarlyStoppingCallback(training.patience),
            ProgressBar(loaded.metric.name, title, loaded.stages),
            *loaded.method.callbacks(model, loaded.context.adapter_name, loaded.steps),
            *callbacks,
        ],
    )


def train_to_end(trainer: AdapterTrainer, run_folder: RunFolder) -> None:
    """Train to the end, from the last checkpoint if there is one; that checkpoint may be the end already."""
    checkpoint = run_folder.checkpoint
    if checkpoint is not None:
        from transformers import TrainerState

        state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        control: Any = state.stateful_callbacks.get("TrainerControl", {})
        if control.get("args", {}).get("should_training_stop") or state.global_step >= state.max_steps:
            trainer.finish(state)
            return
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    trainer.check_best()
