"""Find other ways to run a recipe that need less memory, the least costly ones first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.training.arguments import check_training
from adapterhub_fin.engine.training.distributed import world_size
from adapterhub_fin.errors import BadRecipe, PluginError
from adapterhub_fin.plugin.contributed import build_contribution
from adapterhub_fin.plugin.descriptions import Method
from adapterhub_fin.plugin.examples import lengths
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.recipe.choices import MethodChoice

if TYPE_CHECKING:
    from adapterhub_fin.engine.training.prepare import PreparedRun

Setting = tuple[str, "PreparedRun"]  # as --set takes it, and the run with it
SHORTEST = 16  # tokens: no row is cut below this


def alternatives(prepared: PreparedRun) -> Iterator[Sequence[Setting]]:
    """Yield groups of settings, each from mild to strong.

    The groups are, in order: the same result in smaller parts, more time, both, a base in four bits, and shorter rows.
    Settings that the recipe has already, or that do not go with its method, are left out.
    """
    training = prepared.recipe.training
    parts = [(f"training.accumulate={n}", {"accumulate": n}) for n in _divisors(prepared)]
    recompute = [("training.recompute=true", {"recompute": True})] if not training.recompute else []
    both = [(f"{recompute[0][0]} {parts[-1][0]}", {**recompute[0][1], **parts[-1][1]})] if recompute and parts else []
    for group in (parts, recompute, both):
        yield [(setting, variant) for setting, keys in group if (variant := _with(prepared, keys)) is not None]
    yield list(_four_bits(prepared))
    yield list(_shorter(prepared))


def _divisors(prepared: PreparedRun) -> list[int]:
    """Return larger numbers of parts for a step, each about twice the one before, up to one row a part."""
    training = prepared.recipe.training
    rows = training.batch_size // world_size()
    divisors, last = [], training.accumulate
    for parts in range(training.accumulate + 1, rows + 1):
        if rows % parts == 0 and (parts >= 2 * last or parts == rows):
            divisors.append(parts)
            last = parts
    return divisors


def _with(prepared: PreparedRun, keys: dict[str, Any]) -> PreparedRun | None:
    """Return the run with other training options; None where its method can't have them."""
    training = prepared.recipe.training.model_copy(update=keys)
    try:
        check_training(training, prepared.method, prepared.recipe.method.name)
    except BadRecipe:
        return None
    return replace(prepared, recipe=prepared.recipe.model_copy(update={"training": training}))


def _four_bits(prepared: PreparedRun) -> Iterator[Setting]:
    """Yield LoRA on a base in four bits, where the run is LoRA and bitsandbytes is installed."""
    methods = extensions().all(Method)
    if prepared.recipe.method.name != "lora" or "qlora" not in methods:
        return
    options = methods["qlora"].load_options().model_fields
    shared = {name: value for name, value in prepared.recipe.method.options.items() if name in options}
    if shared != prepared.recipe.method.options:
        return  # qlora lacks one of its options
    try:
        method = build_contribution(Method, "qlora", shared)
        method.check(prepared.config, prepared.head.task)
    except (BadRecipe, PluginError):
        return
    recipe = prepared.recipe.model_copy(update={"method": MethodChoice(name="qlora", **shared)})
    yield "method.name=qlora", replace(prepared, recipe=recipe, method=method)


def _shorter(prepared: PreparedRun) -> Iterator[Setting]:
    """Yield half of the longest row, and half of that: the one change that loses text."""
    length = max(lengths(prepared.examples["train"])) // 2
    for size in (length, length // 2):
        if size < SHORTEST:
            return
        examples = {split: [_cut(example, size) for example in rows] for split, rows in prepared.examples.items()}
        training = prepared.recipe.training.model_copy(update={"max_length": size})
        recipe = prepared.recipe.model_copy(update={"training": training})
        yield f"training.max_length={size}", replace(prepared, recipe=recipe, examples=examples)


def _cut(example: dict[str, Any], size: int) -> dict[str, Any]:
    return {name: value[:size] if isinstance(value, list) else value for name, value in example.items()}
