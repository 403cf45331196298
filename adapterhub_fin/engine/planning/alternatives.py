"""Other ways to run a recipe that need less memory, the least costly ones first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.base.build_plugin import build_installed_plugin
from adapterhub_fin.engine.training.arguments import check_training
from adapterhub_fin.engine.training.distributed import world_size
from adapterhub_fin.errors import BadRecipe, PluginError
from adapterhub_fin.plugin.descriptions import Method
from adapterhub_fin.plugin.examples import lengths
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.recipe.recipe import MethodChoice

if TYPE_CHECKING:
    from adapterhub_fin.engine.training.prepare import PreparedRun

Setting = tuple[str, "PreparedRun"]  # as --set takes it, and the run with it
SHORTEST = 16  # tokens: half of a shorter row would say nothing


def alternatives(draft: PreparedRun) -> Iterator[Sequence[Setting]]:
    """Groups of settings, each from mild to strong: the same result in parts, then more time, then other weights.

    What a recipe has already, and what does not go with it, is left out.
    """
    training = draft.recipe.training
    parts = [(f"training.accumulate={n}", {"accumulate": n}) for n in _divisors(draft)]
    again = [("training.recompute=true", {"recompute": True})] if not training.recompute else []
    both = [(f"{again[0][0]} {parts[-1][0]}", {**again[0][1], **parts[-1][1]})] if again and parts else []
    for group in (parts, again, both):
        yield [(setting, changed) for setting, keys in group if (changed := _with(draft, keys)) is not None]
    yield list(_four_bits(draft))
    yield list(_shorter(draft))


def _divisors(draft: PreparedRun) -> list[int]:
    """More parts for a step, each time about twice as many, down to one row a part."""
    training = draft.recipe.training
    rows = training.batch_size // world_size()
    found, last = [], training.accumulate
    for parts in range(training.accumulate + 1, rows + 1):
        if rows % parts == 0 and (parts >= 2 * last or parts == rows):
            found.append(parts)
            last = parts
    return found


def _with(draft: PreparedRun, keys: dict[str, Any]) -> PreparedRun | None:
    """The run with other training; None where its method can't have it."""
    training = draft.recipe.training.model_copy(update=keys)
    try:
        check_training(training, draft.method, draft.recipe.method.name)
    except BadRecipe:
        return None
    return replace(draft, recipe=draft.recipe.model_copy(update={"training": training}))


def _four_bits(draft: PreparedRun) -> Iterator[Setting]:
    """LoRA on a base in four bits, where the run is LoRA and bitsandbytes is installed."""
    known = extensions().all(Method)
    if draft.recipe.method.name != "lora" or "qlora" not in known:
        return
    options = known["qlora"].load_options().model_fields
    given = {name: value for name, value in draft.recipe.method.options.items() if name in options}
    if given != draft.recipe.method.options:
        return  # it starts in a way that four bits don't know
    try:
        method = build_installed_plugin(Method, "qlora", given)
        method.check(draft.config, draft.head.task)
    except (BadRecipe, PluginError):
        return
    recipe = draft.recipe.model_copy(update={"method": MethodChoice(name="qlora", **given)})
    yield "method.name=qlora", replace(draft, recipe=recipe, method=method)


def _shorter(draft: PreparedRun) -> Iterator[Setting]:
    """Half of the longest row, and half of that: the one change that loses text."""
    length = max(lengths(draft.examples["train"])) // 2
    for size in (length, length // 2):
        if size < SHORTEST:
            return
        examples = {part: [_cut(example, size) for example in rows] for part, rows in draft.examples.items()}
        training = draft.recipe.training.model_copy(update={"max_length": size})
        recipe = draft.recipe.model_copy(update={"training": training})
        yield f"training.max_length={size}", replace(draft, recipe=recipe, examples=examples)


def _cut(example: dict[str, Any], size: int) -> dict[str, Any]:
    return {name: value[:size] if isinstance(value, list) else value for name, value in example.items()}
