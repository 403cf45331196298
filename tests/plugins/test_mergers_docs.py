"""Every merger stands in the tables with what it is, and every option with its default."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from adapterhub_fin import Merger
from adapterhub_fin.plugin.manager import extensions

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "mergers.md").read_text(encoding="utf-8")
MERGERS = {
    each.name: each
    for plugin in extensions().plugins
    if plugin.shipped
    for each in plugin.gives
    if isinstance(each, Merger)
}


def rows(heading: str) -> dict[tuple[str, ...], list[str]]:
    """Cells of the tables of a section, by the names in code of their first; `the same` is the row's above."""
    found: dict[tuple[str, ...], list[str]] = {}
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    names: tuple[str, ...] = ()
    for line in re.findall(r"^\| (.*) \|$", section, re.MULTILINE):
        first, *cells = line.split(" | ")
        names = tuple(re.findall(r"`([^`]+)`", first)) or names
        if "`" in first or first == "the same":
            found[(*names, *re.findall(r"^`([^`]+)`$", cells[0]))] = cells
    return found


def test_every_merger_stands_in_the_table_of_its_space_with_its_weight() -> None:
    exact, elementwise = rows("On factors, exactly"), rows("On single elements")
    assert {name for (name,) in exact} == {name for name, each in MERGERS.items() if each.commutes != "none"}
    assert {name for (name,) in elementwise} == {name for name, each in MERGERS.items() if each.commutes == "none"}
    for (name,), cells in {**exact, **elementwise}.items():
        assert cells[2] in {None: ("1/K each", "equal"), 1.0: ("1 each",)}[MERGERS[name].weight], name


def test_one_adapter_is_said_of_every_merger() -> None:
    assert sorted(name for names in rows("One adapter") for name in names) == sorted(MERGERS)


@pytest.mark.parametrize("name", sorted(MERGERS))
def test_every_option_stands_there_with_its_default(name: str) -> None:
    stated = {key[-1]: cells[1] for key, cells in rows("Options").items() if name in key[:-1]}
    fields = MERGERS[name].load_options().model_fields
    assert stated == {option: str(field.default).replace("True", "true") for option, field in fields.items()}
