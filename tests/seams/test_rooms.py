"""The rooms: no circle of imports, one way between folders, and the field's words in local names."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the scripts that measure stand beside this file

import layout
import local_names


def test_no_modules_import_each_other_in_a_circle() -> None:
    house = layout.read_layout()
    assert len(house.lines) > 300, "the packages were not found"
    assert house.circles() == [] and house.room_circles() == []


def test_a_circle_is_seen() -> None:
    assert layout.circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": {"e"}}) == [["a", "b", "c"]]


def test_local_names_are_the_field_s() -> None:
    names = [(path, name, line) for path, name, line in local_names.all_local_names()]
    pooled = [f"{path.name}:{line} {name}" for path, name, line in names if name in local_names.POOL]
    assert len(names) > 5000 and len(pooled) < 0.01 * len(names), f"{len(pooled)} of {len(names)}: {pooled[:40]}"


def test_rows_are_divided_in_one_place() -> None:
    """Only `divide_rows` divides: it refuses parts that what their rows hold was fitted to."""
    folder = layout.ROOT / "adapterhub_fin"
    dividing = re.compile(r"import [^\n]*\bdivide\b|\bdivide\(table|splits\.divide\b")
    divided = [path.name for path in sorted(folder.rglob("*.py")) if dividing.search(path.read_text("utf-8"))]
    assert divided == ["corpus.py", "splits.py"]


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("adapterhub_fin_plugins", {"adapterhub_fin.plugin", "adapterhub_fin_registry"}),
        ("adapterhub_fin_markets", {"adapterhub_fin", "adapterhub_fin.plugin", "adapterhub_fin.stats"}),
    ],
)
def test_shipped_plugins_import_public_names_alone(package: str, allowed: set[str]) -> None:
    """Of the core the seam and the statistics, of the registry its face and its Hub client: what anyone may import."""
    folder = layout.ROOT / "plugins" / package
    line = re.compile(r"^\s*(?:from|import) (adapterhub_fin(?:_registry)?(?:\.\w+)*)\b", re.MULTILINE)
    imports = {path.name: set(line.findall(path.read_text("utf-8"))) for path in sorted(folder.rglob("*.py"))}
    public = {re.sub(r"^(adapterhub_fin\.stats)\.\w+$", r"\1", name) for names in imports.values() for name in names}
    assert public <= allowed and public, imports
