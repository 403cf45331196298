"""Translate a recipe's training section into Transformers' TrainingArguments, and refuse what can't run here."""

from __future__ import annotations

import math
import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.training.distributed import world_size
from adapterhub_fin.engine.training.sharded import is_sharded
from adapterhub_fin.errors import BadRecipe

if TYPE_CHECKING:
    import torch
    from transformers import TrainingArguments

    from adapterhub_fin.plugin.descriptions import Metric
    from adapterhub_fin.plugin.heads import HeadImplementation
    from adapterhub_fin.plugin.interfaces import MethodImplementation
    from adapterhub_fin.recipe.recipe import Training
else:
    torch = Lazy("torch")


TORCH = ("adamw_torch", "adamw_torch_fused", "adafactor", "rmsprop", "adagrad", "sgd")  # without bitsandbytes


def is_installed(package: str) -> bool:
    """Return whether a package can be imported, without importing it."""
    return find_spec(package) is not None


def check_training(training: Training, method: MethodImplementation, name: str) -> None:
    """Raise BadRecipe for training options that this device, this method or this number of processes can't honour."""
    share = training.accumulate * world_size()
    if training.batch_size % share:
        raise BadRecipe(
            f"training.batch_size is {training.batch_size} and must divide into {share} parts (accumulate "
            f"{training.accumulate} x {world_size()} processes): choose a multiple of {share}"
        )
    if is_sharded() and os.environ.get("FSDP_VERSION", "1") != "2":
        raise BadRecipe(
            "accelerate's configuration asks for FSDP 1, and training shards with FSDP 2: set fsdp_version: 2"
        )
    if training.optimizer not in TORCH and not is_installed("bitsandbytes"):
        raise BadRecipe(
            f"training.optimizer {training.optimizer} needs bitsandbytes: pip install 'adapterhub-fin[qlora]', or "
            f"choose one of {', '.join(TORCH)}"
        )
    if training.precision == "fp16" and not torch.cuda.is_available():
        raise BadRecipe("training.precision is fp16 and this machine has no GPU for it: use bf16 or fp32")
    if training.precision == "bf16" and torch.cuda.is_available() and not torch.cuda.is_bf16_supported():
        raise BadRecipe(f"training.precision is bf16 and {torch.cuda.get_device_name()} lacks it: use fp16 or fp32")
    if training.recompute and not method.checkpointing:
        raise BadRecipe(f"training.recompute does not go with the method {name}, whose cache it would throw away")
    if training.report_to and (missing := sorted(set(training.report_to) - set(_trackers()))):
        raise BadRecipe(
            f"training.report_to names {missing[0]}, which is unknown or not installed: install it, or choose of "
            f"{', '.join(_trackers()) or 'tensorboard, mlflow and wandb, none of which is installed'}"
        )
    if training.neftune is not None and method.num_virtual_tokens:
        raise BadRecipe(f"training.neftune adds noise to embeddings, where the method {name} puts its prompt: drop one")


def check_batch(training: Training, head: HeadImplementation, name: str) -> None:
    """Raise BadRecipe where fewer examples pass through the model together than the head's loss needs."""
    if (part := part_size(training)) < head.min_batch:
        raise BadRecipe(
            f"training.batch_size gives parts of {part}, and {name} compares the {head.min_batch} or more rows of a "
            "part: raise it, or lower training.accumulate"
        )


def _trackers() -> list[str]:
    """Return the Trainer's reporting integrations whose packages are installed."""
    import transformers.integrations

    integrations: Any = transformers.integrations  # untyped
    names: list[str] = integrations.get_available_reporting_integrations()
    return names


def part_size(training: Training) -> int:
    """Return the rows that pass through the model together in one process; evaluation takes twice as many."""
    return training.batch_size // (training.accumulate * world_size())


def total_steps(training: Training, examples: int) -> int:
    """Return the optimizer steps of a whole run, counted as the Trainer counts them."""
    return training.max_steps or math.ceil(steps_of_an_epoch(training, examples) * passes(training, examples))


def passes(training: Training, examples: int) -> float:
    """Return the passes over the training rows: those of the recipe, or as many as give its `min_steps`, 5 to 20."""
    if training.epochs is not None:
        return training.epochs
    return float(min(max(math.ceil(training.min_steps / steps_of_an_epoch(training, examples)), 5), 20))


def steps_of_an_epoch(training: Training, examples: int) -> int:
    """Return the optimizer steps of one pass over the training rows."""
    micro = training.batch_size // training.accumulate
    return math.ceil(math.ceil(examples / micro) / training.accumulate)


def arguments(
    training: Training, examples: int, metric: Metric, folder: Path, run_name: str | None = None
) -> TrainingArguments:
    """Return the TrainingArguments of a resolved recipe for so many training examples.

    Checkpoints go to `folder`, and trackers show `run_name`.
    """
    per_device = part_size(training)
    assert training.learning_rate is not None, "a resolved recipe has one"
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=passes(training, examples),
        max_steps=training.max_steps or -1,
        optim=training.optimizer,
        per_device_train_batch_size=per_device,
        per_device_eval_batch_size=2 * per_device,
        gradient_accumulation_steps=training.accumulate,
        learning_rate=training.learning_rate,
        lr_scheduler_type=training.schedule,
        lr_scheduler_kwargs=_cycles(training),
        warmup_steps=training.warmup,
        weight_decay=training.weight_decay,
        max_grad_norm=training.clip,
        neftune_noise_alpha=training.neftune,
        **_recomputed(training),
        torch_compile=training.compile,
        bf16=training.precision == "bf16",
        fp16=training.precision == "fp16",
        use_cpu=not torch.cuda.is_available(),
        seed=training.seed,
        data_seed=training.seed,
        **_evaluated(training),
        logging_strategy="steps",
        logging_steps=1,  # the history has every step; each step's loss is read anyway, to see that it is finite
        load_best_model_at_end=True,
        metric_for_best_model=metric.name,
        greater_is_better=metric.greater_is_better,
        restore_callback_states_from_checkpoint=True,
        label_names=["labels"],
        remove_unused_columns=False,
        logging_nan_inf_filter=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        ddp_find_unused_parameters=False if world_size() > 1 else None,
        disable_tqdm=True,
        report_to=list(training.report_to) or "none",
        run_name=run_name,
    )


def _evaluated(training: Training) -> dict[str, Any]:
    """Return the arguments that evaluate and save after each epoch, or every `eval_steps` and at the end."""
    if training.eval_steps is None:
        return {"eval_strategy": "epoch", "save_strategy": "epoch"}
    every = {f"{what}_steps": training.eval_steps for what in ("eval", "save")}
    return {"eval_strategy": "steps", "save_strategy": "steps", **every}


def _recomputed(training: Training) -> dict[str, Any]:
    """Return the arguments that recompute activations, under the name that the installed Transformers has for them."""
    if not training.recompute:
        return {}
    from transformers import TrainingArguments

    renamed = hasattr(TrainingArguments, "activation_checkpointing")  # since 5.23; before, gradient_checkpointing
    name = "activation_checkpointing" if renamed else "gradient_checkpointing"
    return {name: True, f"{name}_kwargs": {"use_reentrant": False}}


def _cycles(training: Training) -> dict[str, Any] | None:
    return {"num_cycles": training.cycles} if training.schedule == "cosine_with_restarts" else None
