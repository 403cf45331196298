"""What `--set KEY=VALUE` means, over the fields of the recipe and of every plugin's options. G 30"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from adapterhub_fin.errors import BadRecipe
from adapterhub_fin.plugin import descriptions
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.plugin.options import Options
from adapterhub_fin.plugin.overrides import override
from adapterhub_fin.recipe.choices import CorpusChoice
from adapterhub_fin.recipe.recipe import Recipe
from adapterhub_fin.recipe.schedule import Schedule
from adapterhub_fin.recipe.tokenize_recipe import NewTokenizer, TokenizeRecipe

# What YAML 1.1 reads as something else than the text, or can't read at all.
TRAPS = [
    *("no", "yes", "on", "Off", "true", "null", "~", "01234567", "0x1F", "1_000", "12:30", "1e-3", "1.0", ".5"),
    *("2021-06-30", "2021-06-30 14:00:00", "runs #2/rows.csv", "a: b", "- a", "[a", "{a}", "*star", "&a", "!tag x"),
    *(
        "'quoted'",
        '"quoted"',
        "%20",
        "@me",
        "`x`",
        "tab\there",
        "a\nb",
        " lead",
        "trail ",
        ">",
        "|",
        "---",
        "\\n",
        "=",
        "é",
    ),
    *("\x07", "\x85", "\ufeffa"),
]
TEXTS = st.one_of(st.sampled_from(TRAPS), st.text(min_size=1, max_size=20))


def _text_fields() -> Iterator[tuple[str, ...]]:
    """Settings that name a field of text alone, with what must be set beside it."""
    text = (str, Path)
    models: list[tuple[str, type[BaseModel], tuple[str, ...]]] = [("", Recipe, ())]
    models += [("base.", Recipe.model_fields["base"].annotation, ()), ("schedule.", Schedule, ())]  # type: ignore[list-item]
    for key, kind in (
        ("method", descriptions.Method),
        ("head", descriptions.Head),
        ("corpus", descriptions.Corpus),
    ):
        for name, plugin in extensions().all(kind).items():  # type: ignore[type-abstract]
            models.append((f"{key}.", plugin.load_options(), (f"{key}.name={name}",)))
    for start, model, beside in models:
        for name, field in model.model_fields.items():
            union = get_origin(field.annotation) in (Union, UnionType)
            kinds = {*(get_args(field.annotation) if union else (field.annotation,))} - {type(None)}
            if kinds <= set(text):
                yield (f"{start}{name}", *beside)


TEXT_FIELDS = sorted(_text_fields())


def test_the_recipe_and_the_plugins_have_fields_of_text() -> None:
    keys = {key for key, *_ in TEXT_FIELDS}
    assert {"name", "license", "description", "base.id", "base.path", "base.knowledge_end", "corpus.path"} <= keys
    assert {"corpus.label", "corpus.glob", "corpus.license", "method.text", "schedule.embargo"} <= keys
    assert len(TEXT_FIELDS) > 40


@given(st.sampled_from(TEXT_FIELDS), TEXTS)
def test_a_field_of_text_takes_the_text_as_it_was_typed(field: tuple[str, ...], text: str) -> None:
    key, *beside = field
    found: Any = override({}, [f"{key}={text}", *beside], Recipe)  # the plugin's name may come later
    for part in key.split("."):
        found = found[part]
    assert found == text


@given(st.sampled_from(["training.epochs", "training.batch_size", "training.recompute", "schedule.start"]), TEXTS)
def test_other_fields_are_read_as_yaml(key: str, text: str) -> None:
    outer, inner = key.split(".")
    try:
        expected = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        with pytest.raises(BadRecipe, match=f"--set {key}="):
            override({}, [f"{key}={text}"], Recipe)
        return
    found = override({}, [f"{key}={text}"], Recipe)[outer][inner]
    if isinstance(expected, str) and re.fullmatch(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+", text):
        expected = float(text)  # which YAML 1.1 takes for a text
    assert found == expected or (found != found and expected != expected)


class Inner(Options):
    """What is nested."""

    words: tuple[str, ...] = ()
    table: Mapping[str, str] = Field(default_factory=dict)
    sizes: dict[str, int] = Field(default_factory=dict)


class Mixed(BaseModel):
    """Fields that take text or something else."""

    model_config = ConfigDict(extra="allow")

    text_or_flag: str | bool = ""
    text_or_number: float | str | None = None
    text_or_list: str | list[str] = ""
    text_or_day: date | str = ""
    one_of: Literal[50, "all", "no"] = "all"
    inner: Inner = Inner()
    maybe: str | None = "x"
    pairs: list[Inner] = []


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("text_or_flag=no", False),
        ("text_or_flag=007", "007"),
        ("text_or_number=1e-3", 0.001),
        ("text_or_number=0.5", 0.5),
        ("text_or_number=no", "no"),
        ("text_or_number=", None),
        ("text_or_number=auto #1", "auto #1"),
        ("text_or_list=[a, no, 01]", ["a", "no", "01"]),
        ("text_or_list=no", "no"),
        ("text_or_list=[open", "[open"),
        ("text_or_list=a: b", "a: b"),
        ("text_or_day=2021-06-30", date(2021, 6, 30)),
        ("text_or_day=Q3 2021", "Q3 2021"),
        ("one_of=50", 50),
        ("one_of=all", "all"),
        ("one_of=no", "no"),
        ("maybe=null", "null"),
        ("maybe=", None),
        ("inner.words=[no, 2021-06-30, 'it''s', 1e3]", ("no", "2021-06-30", "it's", "1e3")),
        ("inner.table={no: yes, 1: 01}", {"no": "yes", "1": "01"}),
        ("inner.sizes={no: 0x10, b: 2}", {"no": 16, "b": 2}),
        ("inner={words: [on, off], sizes: {a: 1}}", Inner(words=("on", "off"), sizes={"a": 1})),
        ("pairs=[{words: [y]}, {table: {n: 1.0}}]", [Inner(words=("y",)), Inner(table={"n": "1.0"})]),
        ("undeclared=no", False),
        ("undeclared=[1, 'a']", [1, "a"]),
        ("undeclared=1e-3", 0.001),
    ],
)
def test_what_is_text_or_not_by_its_type(setting: str, expected: object) -> None:
    model: Any = Mixed.model_validate(override({}, [setting], Mixed))
    for part in setting.partition("=")[0].split("."):
        model = getattr(model, part)
    assert model == expected and type(model) is type(expected)


def test_a_plugin_or_a_base_is_named_by_its_text() -> None:
    read = override({}, ["method=on", "base=./runs #2", "head.name=off", "corpus=007", "schedule=null"], Recipe)
    assert read == {"method": "on", "base": "./runs #2", "head": {"name": "off"}, "corpus": "007", "schedule": None}


def test_what_a_file_gives_stays_and_overrides_go_together_in_order() -> None:
    given_by_file = {"method": "lora", "corpus": {"name": "table", "path": Path("a.csv")}, "tags": ["x"]}
    settings = [
        "method.rank=8",
        "corpus.label=no",
        "corpus.label=yes",
        "corpus.splitter={by: time}",
        "corpus.splitter.seed=3",
    ]
    assert override(given_by_file, settings, Recipe) == {
        "method": {"name": "lora", "rank": 8},
        "corpus": {"name": "table", "path": Path("a.csv"), "label": "yes", "splitter": {"by": "time", "seed": 3}},
        "tags": ["x"],
    }
    assert given_by_file["method"] == "lora"


@pytest.mark.parametrize(
    "setting",
    ["rank", "=1", "a..b=1", "training.epochs=[1", "training.epochs=&a [*a]", "tags=[1]x.y=2"],
)
def test_a_setting_that_can_t_be_read_is_named(setting: str) -> None:
    with pytest.raises(BadRecipe, match="--set"):
        Recipe.read({"corpus": "headlines"}, [setting])


def test_a_path_with_a_hash_and_a_label_of_digits_reach_the_corpus() -> None:
    settings = ["path=runs #2/rows.csv", "label=no", "text=[title, 01]", "split=01234567", "license=null"]
    choice = CorpusChoice.read("table", settings)
    options: Any = extensions().options(descriptions.Corpus, choice.name, choice.options)
    assert (options.path, options.label, options.text) == (Path("runs #2/rows.csv"), "no", ("title", "01"))
    assert (options.split, options.license) == ("01234567", "null")


def test_a_mapping_takes_the_place_of_a_path() -> None:
    path = {"files": "a.jsonl", "until": "2013-12-31", "tokenizer": "tokenizers/fed"}
    recipe = TokenizeRecipe.read(path, ["tokenizer.train=8192"])
    assert isinstance(recipe.tokenizer, NewTokenizer) and recipe.tokenizer.train == 8192
    with pytest.raises(BadRecipe, match="there is no option 'trian'; did you mean train"):
        TokenizeRecipe.read(path, ["tokenizer.trian=8192"])
