"""Type the keys of a recipe that `train` and `plan` take as keyword arguments, so that editors complete them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

from adapterhub_fin.recipe.recipe import Optimizer


class TrainingKeys(TypedDict, total=False):
    """Name the options of training; `Training` says what each does."""

    epochs: float | None
    min_steps: int
    max_steps: int | None
    learning_rate: float | None
    head_learning_rate: float | None
    batch_size: int
    accumulate: int
    max_length: int
    over_length: Literal["cut", "drop"]
    optimizer: Optimizer
    weight_decay: float
    warmup: float
    schedule: Literal["linear", "cosine", "cosine_with_restarts", "constant_with_warmup"]
    cycles: int
    clip: float
    precision: Literal["fp32", "bf16", "fp16"]
    recompute: bool
    attn_implementation: Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"] | None
    compile: bool
    neftune: float | None
    patience: int
    eval_steps: int | None
    metric: str | None
    tolerance: float
    checkpoint_steps: int | None
    report_to: str | Sequence[str]
    sampling: Mapping[str, Any] | None
    baseline: bool
    forgetting: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
    seed: int


class RecipeKeys(TypedDict, total=False):
    """Name the keys of a recipe; `Recipe` says what each holds."""

    name: str
    base: str | Path | Mapping[str, Any]
    method: str | Mapping[str, Any]
    head: str | Mapping[str, Any]
    start: str | None
    corpus: object  # a name, a mapping, or rows in memory
    curriculum: Sequence[object] | None  # each as a corpus, with epochs, max_steps and learning_rate
    training: TrainingKeys | Mapping[str, Any]
    schedule: Mapping[str, Any] | None
    description: str
    license: str | None
    tags: Sequence[str]
