"""What of a recipe's training reaches the Trainer, and how many steps a run has."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.trainer_utils import IntervalStrategy, SchedulerType

import adapterhub_fin as ahf
from adapterhub_fin.engine.data.sampling import LengthGroupedBatches
from adapterhub_fin.engine.evaluation.metrics import metric_for
from adapterhub_fin.engine.training.arguments import arguments, check_training, total_steps
from adapterhub_fin.recipe.recipe import Recipe, Training


def training(**options: Any) -> Training:
    return Recipe.read({"name": "a/b", "corpus": "headlines", "training": options}).check().resolved().training


def test_each_option_reaches_the_trainer(tmp_path: Path) -> None:
    given = training(
        epochs=7,
        learning_rate=1.5e-3,
        batch_size=12,
        accumulate=3,
        weight_decay=0.03,
        warmup=0.2,
        schedule="cosine_with_restarts",
        cycles=4,
        clip=0.7,
        neftune=5.0,
        seed=9,
    )
    found = arguments(given, 160, metric_for("classify", "mcc"), tmp_path)
    assert (found.num_train_epochs, found.learning_rate, found.weight_decay) == (7, 1.5e-3, 0.03)
    assert (found.per_device_train_batch_size, found.gradient_accumulation_steps) == (4, 3)
    assert found.per_device_eval_batch_size == 8, "evaluation goes by it, to the last bit"
    assert found.get_warmup_steps(100) == 20 and found.max_grad_norm == 0.7 and found.neftune_noise_alpha == 5.0
    assert found.lr_scheduler_type == SchedulerType.COSINE_WITH_RESTARTS
    assert found.lr_scheduler_kwargs == {"num_cycles": 4} and (found.seed, found.data_seed) == (9, 9)
    assert (found.metric_for_best_model, found.greater_is_better) == ("mcc", True)
    assert found.eval_strategy == found.save_strategy == IntervalStrategy.EPOCH and found.logging_steps == 1
    assert found.load_best_model_at_end and not found.logging_nan_inf_filter and not found.remove_unused_columns
    assert found.report_to == [] and found.output_dir == str(tmp_path) and not (found.bf16 or found.fp16)


def test_the_defaults_are_those_of_the_recipe(tmp_path: Path) -> None:
    found = arguments(training(), 160, metric_for("regress", "mse"), tmp_path)
    assert (found.num_train_epochs, found.per_device_train_batch_size, found.gradient_accumulation_steps) == (20, 16, 1)
    assert (found.learning_rate, found.weight_decay, found.max_grad_norm) == (1e-3, 0.01, 1.0)
    assert found.lr_scheduler_type == SchedulerType.LINEAR and not found.lr_scheduler_kwargs
    assert found.get_warmup_steps(100) == 6 and found.neftune_noise_alpha is None
    assert found.greater_is_better is False, "an error is better where it is smaller"
    assert arguments(training(precision="bf16"), 160, metric_for("regress", "mae"), tmp_path).bf16


@pytest.mark.parametrize("head", ["classify", "regress", "causal-lm"])
def test_each_metric_has_its_direction(head: str, tmp_path: Path) -> None:
    better = {"accuracy", "macro_f1", "mcc", "r2", "spearman"}
    from adapterhub_fin.engine.evaluation.metrics import metrics_for

    for name, metric in metrics_for(head).items():
        assert arguments(training(), 160, metric, tmp_path).greater_is_better == (name in better)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 300), st.integers(1, 12), st.integers(1, 4), st.sampled_from([0.5, 1, 1.5, 3]))
def test_steps_are_counted_as_the_trainer_goes(examples: int, micro: int, parts: int, epochs: float) -> None:
    """A last part may be smaller, and so may a last step; a part of an epoch is rounded up to steps."""
    given = training(batch_size=micro * parts, accumulate=parts, epochs=epochs)
    sampler = list(LengthGroupedBatches([1] * examples, micro * parts))
    per_epoch = len([sampler[start : start + micro * parts] for start in range(0, examples, micro * parts)])
    assert total_steps(given, examples) == math.ceil(per_epoch * epochs)


@pytest.mark.parametrize(
    ("given", "examples", "epochs"),
    [
        ({}, 160, 20),  # 10 steps each: 30 passes would give 300
        ({}, 500, 10),
        ({}, 960, 5),
        ({}, 1_000_000, 5),
        ({"min_steps": 100}, 160, 10),
        ({"min_steps": 100, "batch_size": 32}, 160, 20),
        ({"epochs": 0.5}, 160, 0.5),
        ({"epochs": 40}, 160, 40),
    ],
)
def test_few_rows_are_passed_more_often_unless_epochs_are_given(
    given: dict[str, Any], examples: int, epochs: float, tmp_path: Path
) -> None:
    of = training(**given)
    assert arguments(of, examples, metric_for("classify", "mcc"), tmp_path).num_train_epochs == epochs
    assert total_steps(of, examples) == math.ceil(math.ceil(examples / of.batch_size) * epochs)


@pytest.mark.parametrize("other", [{"epochs": 3}, {"max_steps": 10}])
def test_min_steps_beside_another_length_is_refused(other: dict[str, Any]) -> None:
    with pytest.raises(ahf.BadRecipe, match="min_steps is for runs without epochs and max_steps"):
        training(min_steps=100, **other)


def test_what_does_not_go_together_is_refused() -> None:
    method: Any = SimpleNamespace(checkpointing=False, num_virtual_tokens=4)
    for options, said in (
        ({"batch_size": 10, "accumulate": 3}, "batch_size is 10 and must divide into 3 parts"),
        ({"recompute": True}, "recompute does not go with the method some"),
        ({"neftune": 5.0}, "neftune adds noise to embeddings, where the method some"),
        ({"report_to": ["nobody"]}, "report_to names nobody"),
    ):
        with pytest.raises(ahf.BadRecipe, match=said):
            check_training(training(**options), method, "some")
    plain: Any = SimpleNamespace(checkpointing=True, num_virtual_tokens=0)
    check_training(training(batch_size=12, accumulate=3, recompute=True, neftune=5.0), plain, "some")
    if not torch.cuda.is_available():
        with pytest.raises(ahf.BadRecipe, match="precision is fp16 and this machine has no GPU"):
            check_training(training(precision="fp16"), plain, "some")
