"""Every option of a corpus of dated text stands in the reference."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from adapterhub_fin.plugin.descriptions import Corpus
from adapterhub_fin_markets.hooks import ahf_corpora

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "corpora.md").read_text(encoding="utf-8")


def section(name: str) -> str:
    found = re.search(rf"^## [^\n]*\b{name}\b[^\n]*\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert found, name
    return found[1]


@pytest.mark.parametrize("corpus", ahf_corpora(), ids=lambda corpus: corpus.name)
def test_every_option_is_documented(corpus: Corpus) -> None:
    text = section(corpus.name) + section("dated texts")
    lacking = [
        name for name in corpus.load_options().model_fields if not re.search(rf"`{name}`|^\s+{name}:", text, re.M)
    ]
    assert not lacking, lacking
