"""Read the rows of another corpus by its name: what a corpus that is made of others needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapterhub_fin.errors import BadRecipe
from adapterhub_fin.plugin.descriptions import Corpus
from adapterhub_fin.plugin.interfaces import Rows
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.plugin.memory import taken_in


def corpus_options(corpus: Any) -> tuple[str, Any]:
    """Return the name and the checked options of a corpus given by its name, as in a recipe, or as a table.

    Raises UnknownName for a corpus that isn't installed, and BadRecipe for wrong options.
    """
    corpus = {"name": corpus} if isinstance(corpus, str) else taken_in(corpus)
    if not isinstance(corpus, Mapping):
        raise BadRecipe(f"a corpus is a name, a mapping with a name, or a table, and not {type(corpus).__name__}")
    given = dict(corpus)
    name = str(given.pop("name", "table"))
    if "splitter" in given:
        raise BadRecipe(f"the corpus {name} is a part of another, which has the splitter: give it there")
    return name, extensions().options(Corpus, name, given)


def load_corpus(name: str, options: Any) -> Rows:
    """Return the rows of an installed corpus with checked options. Raises BadCorpus as it does."""
    rows: Rows = extensions().get(Corpus, name).load()(options).load()
    return rows
