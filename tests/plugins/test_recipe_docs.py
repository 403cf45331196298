"""Every recipe in the pages of methods, heads and training is right, and their tables are true to the options."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from adapterhub_fin import Recipe
from adapterhub_fin.engine.base.build_plugin import build_plugin
from adapterhub_fin.plugin.descriptions import Head, Method
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.recipe.forgetting import ForgettingLimit
from adapterhub_fin.recipe.recipe import Training
from adapterhub_fin.recipe.schedule import Schedule

DOCS = Path(__file__).parents[2] / "docs"
ROOMS = {
    "methods": "reference/methods",
    "heads": "reference/heads",
    "recipe": "reference/recipe",
    "walk_forward": "how-to/walk_forward",
}
PAGES = {name: (DOCS / f"{path}.md").read_text(encoding="utf-8") for name, path in ROOMS.items()}
FRAGMENTS = [
    pytest.param(fragment, id=f"{name}-{number}")
    for name, page in PAGES.items()
    for number, fragment in enumerate(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL))
]
KINDS: dict[str, type[Method] | type[Head]] = {"methods": Method, "heads": Head}


def sections(page: str) -> dict[str, str]:
    """What stands under each heading of a page."""
    return dict(re.findall(r"^## (\S[^\n]*)\n(.*?)(?=^## |\Z)", PAGES[page], re.DOTALL | re.MULTILINE))


def shipped(kind: str) -> set[str]:
    """What is brought of a kind, PEFT's own types left out."""
    ours = (plugin for plugin in extensions().plugins if plugin.distribution == "adapterhub-fin")
    given = (each for plugin in ours for each in plugin.gives)
    return {each.name for each in given if each.kind == kind and not each.name.startswith("peft:")}


@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_a_recipe_of_a_page_is_right(fragment: str) -> None:
    given = yaml.safe_load(fragment)
    rows = {} if "curriculum" in given else {"corpus": "headlines"}
    whole = Recipe.read({"name": "acme/tone", **rows, **given}).check()
    for kind, choice in ((Method, whole.method), (Head, whole.head)):
        build_plugin(kind, choice.name, choice.options)  # PEFT's own types tell a wrong option here


@pytest.mark.parametrize("page", KINDS)
def test_every_shipped_plugin_has_its_section(page: str) -> None:
    assert set(sections(page)) - {"peft:TYPE"} == shipped(KINDS[page].kind)


@pytest.mark.parametrize(("page", "name"), [(page, name) for page in KINDS for name in sorted(shipped(page[:-1]))])
def test_a_table_of_options_is_true(page: str, name: str) -> None:
    check_table(sections(page)[name], "option", extensions().get(KINDS[page], name).load_options())


def test_the_table_of_training_is_true() -> None:
    check_table(PAGES["recipe"], "key", Training)


def test_the_table_of_forgetting_is_true() -> None:
    check_table(sections("recipe")["Forgetting"], "option", ForgettingLimit)


def test_the_table_of_a_schedule_is_true() -> None:
    check_table(PAGES["walk_forward"], "key", Schedule)


def test_the_learning_rates_are_those_of_the_methods() -> None:
    said = re.findall(r"^\| `([\w:-]+)` \| [^|]+ \| (\d+e-\d+) \|$", PAGES["methods"], re.MULTILINE)
    rates = {name: method.learning_rate for name, method in extensions().all(Method).items()}
    assert {name: float(rate) for name, rate in said} == {
        **{name: rates[name] for name in shipped("method")},
        "peft:TYPE": rates["peft:loha"],
    }


def check_table(text: str, title: str, model: type[BaseModel]) -> None:
    """The first table with that title has every field in its order, with its default where a value can say it."""
    table = text.partition(f"| {title} | default | |\n|---|---|---|\n")[2].partition("\n\n")[0]
    rows: list[tuple[str, Any]] = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", table, re.MULTILINE)
    assert [name for name, _ in rows] == list(model.model_fields)
    for name, said in rows:
        default = model.model_fields[name].default
        if model.model_fields[name].is_required():
            assert said == "required"
            continue
        if default in (None, ()) or said == "an instruction":
            assert isinstance(yaml.safe_load(said), str) and (default in (None, ()) or len(default) > 40)
            continue
        assert yaml.safe_load(said) == default, f"{name} is {default!r} by default, and the page says {said}"
