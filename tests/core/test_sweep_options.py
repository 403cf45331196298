"""What a sweep searches over is read as --set reads it, and whatever can't be searched is refused before a run."""

from __future__ import annotations

from typing import Any

import pytest

from adapterhub_fin.engine.sweeping.combinations import drawn, jobs_of, label, outermost, size
from adapterhub_fin.engine.sweeping.definition import Definition, define
from adapterhub_fin.engine.sweeping.options import Range, Values, over_of, read_over
from adapterhub_fin.errors import BadConfiguration, BadRecipe
from adapterhub_fin.recipe.recipe import Recipe

RECIPE = Recipe.read({"name": "acme/tone", "corpus": "headlines"})


def defined(over: Any, recipe: Recipe = RECIPE, **options: Any) -> Definition:
    given = {"seeds": 2, "search": "grid", "trials": None, "search_seed": 0, "folds": None, **options}
    return define(recipe, over, **given)


def test_values_and_ranges_are_read() -> None:
    given = {
        "method.rank": [4, 8],
        "training.learning_rate": "1e-5..1e-3,log",
        "method.targets": "[query, value],all",
        "training.warmup": ".1..0.5",
        "training.epochs": "1..9",
        "training.neftune": [None, 5],
        "training.recompute": [True],
    }
    assert read_over(given) == (
        Values("method.rank", ("4", "8")),
        Range("training.learning_rate", 1e-5, 1e-3, log=True, whole=False),
        Values("method.targets", ("[query, value]", "all")),
        Range("training.warmup", 0.1, 0.5, log=False, whole=False),
        Range("training.epochs", 1, 9, log=False, whole=True),
        Values("training.neftune", ("", "5")),
        Values("training.recompute", ("true",)),
    )
    assert over_of(["method.rank=4,8", "head.a=b=c"]) == {"method.rank": "4,8", "head.a": "b=c"}


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({}, "needs a key"),
        ({"training.seed": [1, 2]}, "training.seed: seeds are repetitions: .* --seeds"),
        ({"name": ["a/b"]}, "can't be over name"),
        ({"description": ["a"]}, "no score depends on it"),
        ({"training.metric": ["accuracy"]}, "different metrics"),
        ({"corpus.splitter.seed": [0, 1]}, "different validation rows"),
        ({"schedule.windows": ["monthly"]}, "validation part of its own"),
        ({"method.rank": []}, "has no values"),
        ({"method.rank": ""}, "has no values"),
        ({"method.rank": 8}, "is int: give a list"),
        ({"method.rank": [4, 4]}, "the value 4 twice"),
        ({"method.rank": "8..4"}, "first end must be below"),
        ({"training.learning_rate": "0..1,log"}, "both ends must be above 0"),
        ({"method.rank": "8..4", "name": ["a/b"]}, "below the second; a sweep can't be over name"),
    ],
)
def test_what_can_t_be_searched_is_refused(over: Any, message: str) -> None:
    with pytest.raises(BadRecipe, match=message):
        read_over(over)


@pytest.mark.parametrize(
    ("arguments", "message"), [(["method.rank"], "takes KEY"), ([".=1"], "takes KEY"), (["a=1", "a=2"], "twice")]
)
def test_what_is_no_over_option_is_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(BadRecipe, match=message):
        over_of(arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": 0}, "seeds is 0"),
        ({"folds": 1}, "folds is 1"),
        ({"search": "best"}, "no search 'best'"),
        ({"trials": 3}, "a grid tries all"),
        ({"search": "random"}, "--trials 20"),
        ({"search": "optuna", "trials": 0}, "--trials 20"),
        ({"search": "random", "trials": 3}, "there are 2 combinations, and 3"),
        ({"search_seed": -1}, "search_seed is -1"),
    ],
)
def test_numbers_that_make_no_sweep_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRecipe, match=message):
        defined({"method.rank": [4, 8]}, **options)


def test_a_range_is_no_grid() -> None:
    with pytest.raises(BadRecipe, match=r"training.learning_rate is a range"):
        defined({"training.learning_rate": "1e-5..1e-3"})


def test_recipes_that_are_several_runs_are_refused() -> None:
    scheduled = Recipe.read(
        {"name": "acme/tone", "corpus": "headlines", "schedule": {"windows": "monthly", "start": "2020-01-01"}}
    )
    with pytest.raises(BadRecipe, match="has a schedule"):
        defined({"method.rank": [4]}, scheduled)
    with pytest.raises(BadRecipe, match="has no name"):
        defined({"method.rank": [4]}, Recipe.read({"corpus": "headlines"}))
    staged = Recipe.read({"name": "acme/tone", "curriculum": [{"name": "headlines"}, {"name": "headlines"}]})
    with pytest.raises(BadRecipe, match="folds divide one corpus"):
        defined({"method.rank": [4]}, staged, folds=3)


def test_several_processes_of_torchrun_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BadRecipe, match="without torchrun"):
        defined({"method.rank": [4]})


def test_optuna_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapterhub_fin.engine.sweeping.asking.find_spec", lambda name: None)
    with pytest.raises(BadConfiguration, match=r"adapterhub-fin\[evidence\]"):
        defined({"method.rank": [4, 8]}, search="optuna", trials=2)


def test_every_wrong_combination_is_in_one_error() -> None:
    with pytest.raises(BadRecipe) as refused:
        defined({"method.rank": [0, 4, -1], "training.learning_rate": [0.1, 2]})
    assert "5 faults" in str(refused.value)
    for wrong in ("method.rank=0, training.learning_rate=0.1", "method.rank=4, training.learning_rate=2"):
        assert wrong in str(refused.value)
    with pytest.raises(BadRecipe, match="there is no option 'rnk'; did you mean rank"):
        defined({"method.rnk": [4, 8]})
    with pytest.raises(BadRecipe, match="method.rank=0"):  # an end of a range is tried out too
        defined({"method.rank": "0..8", "training.epochs": [1]}, search="optuna", trials=3)


def test_a_grid_and_its_runs() -> None:
    sweep = defined({"method.rank": "4,8", "training.learning_rate": "1e-3,2e-3"}, seeds=3, folds=2)
    assert [label(each) for each in sweep.combinations] == [
        "method.rank=4, training.learning_rate=1e-3",
        "method.rank=4, training.learning_rate=2e-3",
        "method.rank=8, training.learning_rate=1e-3",
        "method.rank=8, training.learning_rate=2e-3",
    ]
    assert sweep.runs == 4 * 3 * 2
    jobs = [*jobs_of(sweep.combinations[0], sweep.seeds, 2)]
    assert [(job.seed, job.fold) for job in jobs] == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
    assert len({job.key for job in jobs}) == 6
    assert defined({"method.rank": [4]}, Recipe.read({**RECIPE.document(), "training": {"seed": 7}})).seeds == (7, 8)


def test_random_combinations_are_seeded_distinct_and_within_the_ranges() -> None:
    swept = read_over({"method.rank": [4, 8], "training.learning_rate": "1e-5..1e-1,log", "training.epochs": "2..4"})
    combinations = drawn(swept, 40, 3)
    assert combinations == drawn(swept, 40, 3) and combinations[:9] == drawn(swept, 9, 3)
    assert combinations != drawn(swept, 40, 4) and len(set(combinations)) == 40
    rates = [float(dict(each)["training.learning_rate"]) for each in combinations]
    assert all(1e-5 <= rate <= 1e-1 for rate in rates)
    assert 10 <= sum(rate < 1e-3 for rate in rates) <= 30  # by order of magnitude: one in a hundred otherwise
    assert {dict(each)["training.epochs"] for each in combinations} == {"2", "3", "4"}
    whole = read_over({"method.rank": [4, 8], "training.epochs": "2..4"})
    assert size(whole) == 6 == len(set(drawn(whole, 6, 0)))
    assert size(swept) is None


def test_what_a_search_may_come_to_has_every_value_and_both_ends() -> None:
    swept = read_over({"method.rank": [4, 8, 16], "training.learning_rate": "1e-5..1e-1,log"})
    assert [dict(each) for each in outermost(swept)] == [
        {"method.rank": "4", "training.learning_rate": "1e-05"},
        {"method.rank": "8", "training.learning_rate": "1e-05"},
        {"method.rank": "16", "training.learning_rate": "1e-05"},
        {"method.rank": "4", "training.learning_rate": "0.1"},
    ]
