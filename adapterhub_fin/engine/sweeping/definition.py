"""Define a sweep: the recipe, what it searches over and how, all of it checked before torch is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from adapterhub_fin.engine.sweeping.asking import check_optuna
from adapterhub_fin.engine.sweeping.combinations import Combination, check_all, drawn, grid, outermost
from adapterhub_fin.engine.sweeping.options import Range, Swept, read_over
from adapterhub_fin.engine.training.distributed import world_size
from adapterhub_fin.errors import BadRecipe
from adapterhub_fin.recipe.given import require_name
from adapterhub_fin.recipe.recipe import NO_NAME, Recipe

SearchName = Literal["grid", "random", "optuna"]


@dataclass(frozen=True)
class Definition:
    """Hold what decides the table of a sweep."""

    recipe: Recipe
    swept: tuple[Swept, ...]
    seeds: tuple[int, ...]
    search: SearchName
    trials: int | None  # combinations that random and optuna try
    search_seed: int
    folds: int | None
    combinations: tuple[Combination, ...]  # of a grid and of a random search all; of Optuna's the outermost

    def document(self) -> dict[str, Any]:
        """Return the definition as plain values: the same sweep has the same."""
        return {
            "recipe": self.recipe.document(),
            "over": {option.key: _plain(option) for option in self.swept},
            "seeds": list(self.seeds),
            "search": self.search,
            "trials": self.trials,
            "search_seed": self.search_seed,
            "folds": self.folds,
        }

    @property
    def runs(self) -> int:
        """Return how many runs there are, at most."""
        combinations = self.trials if self.search == "optuna" and self.trials else len(self.combinations)
        return combinations * len(self.seeds) * (self.folds or 1)


def define(
    recipe: Recipe,
    over: Mapping[str, Any],
    *,
    seeds: int,
    search: str,
    trials: int | None,
    search_seed: int,
    folds: int | None,
) -> Definition:
    """Return the checked definition of a sweep, each combination's recipe checked.

    Raises BadRecipe, which names every wrong combination, and BadConfiguration for a search by optuna without Optuna.
    """
    checked = require_name(recipe, NO_NAME).check()
    if checked.schedule is not None:
        raise BadRecipe("the recipe has a schedule, whose windows are versions of their own: sweep without one")
    if world_size() > 1:
        raise BadRecipe("a sweep starts processes of its own: run it without torchrun, with --processes (processes=N)")
    swept = read_over(over)
    _check_numbers(search, seeds, trials, folds, search_seed)
    if folds is not None and checked.curriculum is not None:
        raise BadRecipe("folds divide one corpus, and a curriculum has several: leave one of them out")
    if search == "optuna":
        check_optuna()
        combinations = outermost(swept)
    else:
        combinations = grid(swept) if search == "grid" else drawn(swept, trials or 0, search_seed)
    check_all(checked, combinations)
    first = checked.training.seed
    return Definition(
        recipe=checked,
        swept=swept,
        seeds=tuple(range(first, first + seeds)),
        search=search,  # type: ignore[arg-type]
        trials=trials,
        search_seed=search_seed,
        folds=folds,
        combinations=tuple(combinations),
    )


def _check_numbers(search: str, seeds: int, trials: int | None, folds: int | None, search_seed: int) -> None:
    if search not in get_args(SearchName):
        raise BadRecipe(f"there is no search {search!r}: choose grid, random or optuna")
    if seeds < 1:
        raise BadRecipe(f"seeds is {seeds}: give 1 or more runs of each combination")
    if folds is not None and folds < 2:
        raise BadRecipe(f"folds is {folds}: give 2 or more, or none to use the recipe's own validation part")
    if search == "grid" and trials is not None:
        raise BadRecipe(f"trials is {trials}, and a grid tries all combinations: search by random or optuna")
    if search != "grid" and (trials is None or trials < 1):
        raise BadRecipe(f"a search by {search} needs the number of combinations to try: give --trials 20 (trials=20)")
    if search_seed < 0:
        raise BadRecipe(f"search_seed is {search_seed}: give 0 or more")


def _plain(option: Swept) -> Any:
    if isinstance(option, Range):
        return f"{option.text(option.low)}..{option.text(option.high)}{',log' if option.log else ''}"
    return list(option.texts)
