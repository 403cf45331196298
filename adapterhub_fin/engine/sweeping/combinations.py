"""Make the combinations of options that a sweep tries, and check every one of them before the first run."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import product

from adapterhub_fin.engine.sweeping.options import Range, Swept, Values
from adapterhub_fin.errors import AdapterHubError, BadRecipe
from adapterhub_fin.plugin.faults import Faults
from adapterhub_fin.recipe.recipe import Recipe

Combination = tuple[tuple[str, str], ...]  # keys and values as `--set` takes them, in the order of the sweep


@dataclass(frozen=True)
class Job:
    """Represent one run of a sweep: a combination with a seed, and in a cross-validation one fold of it."""

    combination: Combination
    seed: int
    fold: int | None  # from 0

    @property
    def key(self) -> str:
        """Return the name of the job's folder, which is the same whenever the sweep is started."""
        return sha256(json.dumps([self.combination, self.seed, self.fold]).encode()).hexdigest()[:16]

    def __str__(self) -> str:
        fold = "" if self.fold is None else f", fold {self.fold + 1}"
        return f"{label(self.combination)}, seed {self.seed}{fold}"


def grid(swept: Sequence[Swept]) -> list[Combination]:
    """Return every combination, the last key's values first. Raises BadRecipe for a range, which has no end."""
    if ranges := [option.key for option in swept if isinstance(option, Range)]:
        raise BadRecipe(
            f"{ranges[0]} is a range, and a grid tries every value: list them, or search by random or optuna"
        )
    return [*product(*([(each.key, text) for text in each.texts] for each in swept if isinstance(each, Values)))]


def drawn(swept: Sequence[Swept], count: int, seed: int) -> list[Combination]:
    """Return distinct combinations drawn with a seed; fewer than `count` are the first of more.

    Raises BadRecipe where there are not so many.
    """
    most = size(swept)
    if most is not None and count > most:
        raise BadRecipe(f"there are {most} combinations, and {count} are to be drawn: lower trials, or search by grid")
    rng, combinations = random.Random(seed), dict[Combination, None]()
    for _ in range(1000 * count):
        if len(combinations) == count:
            break
        combinations[tuple((option.key, _draw(option, rng)) for option in swept)] = None
    if len(combinations) < count:
        raise BadRecipe(f"{count} distinct combinations could not be drawn: lower trials, or widen the ranges")
    return list(combinations)


def size(swept: Sequence[Swept]) -> int | None:
    """Return how many combinations there are; None where a range has no end."""
    counts = [len(each.texts) if isinstance(each, Values) else _whole_numbers(each) for each in swept]
    return math.prod(count for count in counts if count is not None) if None not in counts else None


def outermost(swept: Sequence[Swept]) -> list[Combination]:
    """Return combinations that hold every listed value and both ends of each range: what a search may come to."""
    choices = [
        each.texts if isinstance(each, Values) else (each.text(each.low), each.text(each.high)) for each in swept
    ]
    first = tuple((each.key, texts[0]) for each, texts in zip(swept, choices, strict=True))
    others = [
        (*first[:place], (option.key, text), *first[place + 1 :])
        for place, (option, texts) in enumerate(zip(swept, choices, strict=True))
        for text in texts[1:]
    ]
    return [first, *others]


def label(combination: Combination) -> str:
    """Return a combination in one line."""
    return ", ".join(f"{key}={text}" for key, text in combination)


def with_options(recipe: Recipe, combination: Combination, seed: int | None = None) -> Recipe:
    """Return the recipe with a combination's options, checked without torch. Raises what `Recipe.check` raises."""
    overrides = [f"{key}={text}" for key, text in combination]
    overrides += [] if seed is None else [f"training.seed={seed}"]
    return Recipe.read(recipe.document(), overrides).check()


def check_all(recipe: Recipe, combinations: Sequence[Combination]) -> list[Recipe]:
    """Return the recipe of each combination. Raises BadRecipe, which names every combination that is wrong."""
    wrong, recipes = dict[Combination, AdapterHubError](), []
    for combination in combinations:
        try:
            recipes.append(with_options(recipe, combination))
        except AdapterHubError as error:
            wrong[combination] = error
    refuse(wrong, len(combinations))
    return recipes


def refuse(wrong: Mapping[Combination, AdapterHubError], count: int) -> None:
    """Raise BadRecipe with what is wrong with each combination, of `count` in all, if there is something.

    Where all of them are wrong in the same way, that error is raised: it is of what they share.
    """
    if len(wrong) == count and len({str(error) for error in wrong.values()}) == 1:
        raise next(iter(wrong.values()))
    faults = Faults()
    for number, (combination, error) in enumerate(wrong.items()):
        faults.add((number,), f"{label(combination)}: {error}")
    faults.check("sweep", BadRecipe)


def jobs_of(combination: Combination, seeds: Sequence[int], folds: int | None) -> Iterator[Job]:
    """Yield the runs of one combination: one for each seed, and of a cross-validation for each fold too."""
    for seed in seeds:
        for fold in (None,) if folds is None else range(folds):
            yield Job(combination, seed, fold)


def _draw(option: Swept, rng: random.Random) -> str:
    if isinstance(option, Values):
        return rng.choice(option.texts)
    low, high = (math.log(end) if option.log else end for end in (option.low, option.high))
    value = rng.uniform(low, high)
    value = min(max(math.exp(value) if option.log else value, option.low), option.high)
    return option.text(rng.randint(round(option.low), round(option.high)) if option.whole and not option.log else value)


def _whole_numbers(option: Range) -> int | None:
    return round(option.high - option.low) + 1 if option.whole else None
