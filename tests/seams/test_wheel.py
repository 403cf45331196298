"""What the wheel puts on a user's path."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

PROJECT = Path(__file__).parents[2]
PACKAGES = {"adapterhub_fin", "adapterhub_fin_plugins", "adapterhub_fin_markets", "adapterhub_fin_registry"}


def test_top_level_is_the_three_packages(wheel_of: Callable[[Path], Path]) -> None:
    names = zipfile.ZipFile(wheel_of(PROJECT)).namelist()
    top = {name.partition("/")[0] for name in names}
    (metadata,) = (name for name in top if name.endswith(".dist-info"))
    assert top == {*PACKAGES, metadata}
    for package in PACKAGES:
        assert f"{package}/py.typed" in names


def test_templates_of_new_plugin_are_inside(wheel_of: Callable[[Path], Path]) -> None:
    names = zipfile.ZipFile(wheel_of(PROJECT)).namelist()
    folder = PROJECT / "adapterhub_fin" / "cli" / "templates" / "plugin"
    templates = [path.relative_to(PROJECT).as_posix() for path in folder.rglob("*") if path.is_file()]
    assert templates
    assert not set(templates) - set(names)


def test_the_grammar_of_the_headlines_corpus_is_inside(wheel_of: Callable[[Path], Path]) -> None:
    assert "adapterhub_fin_plugins/corpora/headlines.txt" in zipfile.ZipFile(wheel_of(PROJECT)).namelist()
