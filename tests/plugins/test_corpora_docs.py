"""Every corpus has its section, and every recipe in it is right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from adapterhub_fin import Recipe
from adapterhub_fin.plugin.descriptions import Corpus
from adapterhub_fin.plugin.manager import extensions

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "corpora.md").read_text(encoding="utf-8")
FRAGMENTS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("fragment", FRAGMENTS, ids=[yaml.safe_load(each)["corpus"]["name"] for each in FRAGMENTS])
def test_a_recipe_of_the_page_is_right(fragment: str) -> None:
    assert Recipe.read({"name": "acme/tone", **yaml.safe_load(fragment)}).check()


def test_every_shipped_corpus_has_a_recipe_there() -> None:
    ours = [plugin for plugin in extensions().plugins if plugin.distribution == "adapterhub-fin"]
    shipped = {each.name for plugin in ours for each in plugin.gives if each.kind == "corpus"}
    assert shipped == {yaml.safe_load(each)["corpus"]["name"] for each in FRAGMENTS}
    assert set(extensions().all(Corpus)) >= shipped
