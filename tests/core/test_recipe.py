"""A recipe is checked whole, and what is wrong is said with the key and the near names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapterhub_fin import BadRecipe, Recipe, UnknownName, train

GOOD: dict[str, Any] = {"name": "acme/tone", "corpus": "headlines"}


def refusal(**changes: Any) -> str:
    with pytest.raises((BadRecipe, UnknownName)) as caught:
        train({**GOOD, **changes})
    return str(caught.value)


def test_defaults_are_a_whole_run() -> None:
    recipe = Recipe.read(GOOD)
    assert (recipe.base.id, recipe.method.name, recipe.head.name) == ("minilm", "lora", "classify")


def test_the_document_reads_back_as_the_same_recipe() -> None:
    recipe = Recipe.read({**GOOD, "method": {"name": "lora", "rank": 4}, "tags": ["a"], "base": {"path": "some/where"}})
    assert Recipe.read(recipe.document()) == recipe


def test_overrides_reach_into_a_plugin_given_by_name_alone() -> None:
    recipe = Recipe.read({**GOOD, "method": "lora"}, ["method.rank=8", "training.learning_rate=1e-3"])
    assert recipe.method.options == {"rank": 8}
    assert recipe.training.learning_rate == 1e-3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": "lorra"}, "did you mean lora"),
        ({"head": "clasify"}, "did you mean classify?"),
        ({"corpus": "headline"}, "did you mean headlines?"),
        ({"method": {"name": "lora", "rnak": 4}}, "did you mean rank"),
        ({"method": {"nmae": "lora"}}, "method lora: there is no option 'nmae'"),
        ({"head": {"lables": ["a", "b"]}}, "head classify: there is no option 'lables'; did you mean labels"),
        ({"corpus": {"name": "headlines", "splitt": {}}}, "did you mean split"),
        ({"schedule": {"windws": 3}}, "no option 'schedule.windws'; did you mean windows"),
        ({"trainning": {}}, "did you mean training?"),
        ({"training": {"learning_rte": 1}}, "did you mean learning_rate"),
        ({"training": {"learning_rate": 5}}, "training.learning_rate"),
        ({"training": {"learning_rate": -1e-3}}, "greater than 0"),
        ({"training": {"clip": float("inf")}}, "training.clip: Input should be a finite number"),
        ({"training": {"tolerance": float("inf")}}, "training.tolerance"),
        ({"training": {"metric": "macrof1"}}, "did you mean macro_f1?"),
        ({"corpus": {"name": "headlines", "splitter": {"by": "stratifed"}}}, "corpus.splitter.by"),
        ({"corpus": {"name": "headlines", "splitter": {"embargo": "5d"}}}, "by is left to the rows"),
        ({"corpus": {"name": "headlines", "splitter": {"by": "random", "embargo": "5d"}}}, "and by is random"),
        ({"corpus": {"name": "headlines", "splitter": {"by": "time", "embargo": "5 days"}}}, "corpus.splitter.embargo"),
        ({"corpus": {"name": "headlines", "splitter": {"by": "time", "fold": 1}}}, "fold 1 belongs to by walk-forward"),
        ({"corpus": {"name": "headlines", "splitter": {"folds": 3}}}, "folds 3 belongs to by walk-forward"),
        ({"corpus": {"name": "headlines", "splitter": {"by": "walk-forward", "folds": 3}}}, "both folds and fold"),
        (
            {"corpus": {"name": "headlines", "splitter": {"by": "walk-forward", "folds": 3, "fold": 4}}},
            "fold 4 is beyond folds 3",
        ),
        ({"corpus": {"name": "headlines", "splitter": {"test": 0.6, "validation": 0.5}}}, "nothing to train on"),
        ({"corpus": {"name": "headlines", "start": "2020-01-01", "end": "2019-01-01"}}, "must be before"),
        ({"name": "Acme/Tone"}, "Acme/Tone"),
        ({"name": "acme/tone@3"}, "NAMESPACE/NAME alone"),
        ({"base": {"id": "minilm", "knowledge_end": "2020-01-01"}}, "go together"),
        ({"training": {"max_length": 4096}}, "512 positions"),
        ({"base": {"id": "a/b/c", "path": "x"}}, "org/model"),
        ({"license": ""}, "license"),
        ({"tags": [""]}, "tags"),
        ({"corpus": {"name": "headlines", "start": "2020-01-04", "end": "2020-01-05"}}, "a week or more"),
    ],
)
def test_what_is_wrong_is_named_with_its_key(changes: dict[str, Any], said: str) -> None:
    assert said in refusal(**changes)


def test_a_layer_that_does_not_exist_is_refused_before_weights_are_read(encoder: Path, tmp_path: Path) -> None:
    """The folder holds a configuration and no weights: reading them would fail otherwise."""
    empty = tmp_path / "weightless"
    empty.mkdir()
    (empty / "config.json").write_bytes((encoder / "config.json").read_bytes())
    said = refusal(base={"path": str(empty)}, method={"name": "lora", "targets": ["qery"]}, training={"max_length": 32})
    assert "'qery'" in said and "query" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [("a: [", "is not YAML"), ("- a", "must hold a mapping"), ("name: acme/tone", "corpus")],
)
def test_a_file_that_is_no_recipe_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(BadRecipe, match=said) as caught:
        Recipe.read(path)
    assert str(path) in str(caught.value)


def test_an_override_that_is_no_assignment_is_refused() -> None:
    with pytest.raises(BadRecipe, match="KEY.KEY=VALUE"):
        Recipe.read(GOOD, ["method.rank"])


@pytest.mark.parametrize(("override", "said"), [("training.epochs=a: b: c", "quotes"), ("tags.0=c", "not a mapping")])
def test_an_override_that_cannot_be_set_is_refused(override: str, said: str) -> None:
    with pytest.raises(BadRecipe, match=said):
        Recipe.read({**GOOD, "tags": ["a"]}, [override])


def test_options_alone_are_those_of_what_is_there_by_default() -> None:
    recipe = Recipe.read({"corpus": "headlines"}, ["method.rank=4", "head.pooling=mean"])
    assert (recipe.method.name, recipe.method.options) == ("lora", {"rank": 4})
    assert (recipe.head.name, recipe.head.options) == ("classify", {"pooling": "mean"})


def test_a_date_is_written_as_yaml_writes_it() -> None:
    recipe = Recipe.read(GOOD, ["base.id=minilm", "base.knowledge_end=2021-01-01", "base.evidence=its card"])
    assert recipe.base.knowledge_end == "2021-01-01"


def test_a_recipe_without_a_name_is_refused() -> None:
    with pytest.raises(BadRecipe, match="--set name="):
        train(corpus="headlines")


@pytest.mark.parametrize(("embargo", "hours"), [("5d", 120), ("12h", 12), ("30min", 0.5)])
def test_an_embargo_is_a_length_of_time(embargo: str, hours: float) -> None:
    recipe = Recipe.read({**GOOD, "corpus": {"name": "headlines", "splitter": {"by": "time", "embargo": embargo}}})
    noon, span = datetime(2021, 6, 30, 12, tzinfo=UTC), recipe.corpus.splitter.embargo_span
    assert span is not None and span.before([noon]) == [noon - timedelta(hours=hours)]
    assert Recipe.read(recipe.document()) == recipe
