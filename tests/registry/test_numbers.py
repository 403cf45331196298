"""The end of the numbers: nothing is answered that no list shows, and no store uses them up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adapterhub_fin_registry import Refused, Registry

HIGHEST = 999_999_999


@pytest.fixture
def tone(registry: Registry, make_folder: Any, make_manifest: Any) -> Registry:
    registry.add(make_folder(1), make_manifest(), name="acme/tone")
    registry.set_alias("acme/tone", "champion", 1)
    registry.add_event("acme/tone@1", "tag", {"tag": "production"})
    return registry


@pytest.mark.parametrize("given", [HIGHEST, HIGHEST // 2 + 1])
def test_a_number_from_elsewhere_that_leaves_few_is_not_kept(
    tone: Registry, make_folder: Any, make_manifest: Any, given: int
) -> None:
    add = lambda seed, number: tone.add(make_folder(seed), make_manifest(), name="acme/tone", number=number).number  # noqa: E731
    assert add(2, given) == 2
    assert add(3, 20_261_127) == 20_261_127  # a date is a number like any other
    assert add(4, HIGHEST // 2) == HIGHEST // 2
    assert add(5, None) == HIGHEST // 2 + 1
    assert [version.number for version in tone.versions("acme/tone")][-1] == HIGHEST // 2 + 1


def _at_the_end(parent: Path, document: dict[str, Any] | None = None) -> None:
    first = parent / "1"
    if document is not None:
        (first / next(first.iterdir()).name).write_text(json.dumps(document))
    first.rename(parent / str(HIGHEST))


def test_after_the_highest_number_a_write_is_refused_and_nothing_is_left(
    tone: Registry, make_folder: Any, make_manifest: Any
) -> None:
    folder = tone.root / "adapters/acme/tone"
    _at_the_end(folder / "versions/1/events")
    _at_the_end(folder / "aliases/champion")
    with pytest.raises(Refused, match="999999999, after which there is none"):
        tone.add_event("acme/tone@1", "yank")
    with pytest.raises(Refused, match="999999999, after which there is none"):
        tone.set_alias("acme/tone", "champion", None)
    assert (tone.resolve("acme/tone").yanked, tone.aliases("acme/tone")) == (False, {"champion": 1})
    _at_the_end(folder / "versions")
    before = sorted(tone.root.rglob("*"))
    with pytest.raises(Refused, match="999999999, after which there is none"):
        tone.add(make_folder(2), make_manifest(), name="acme/tone")
    assert sorted(tone.root.rglob("*")) == before


@pytest.mark.parametrize("place", ["versions", "aliases/champion", "versions/1/events"])
def test_doctor_tells_of_digits_that_are_no_number(tone: Registry, place: str) -> None:
    parent = tone.root / "adapters/acme/tone" / place
    for name in ("0", "007", str(HIGHEST + 1)):
        (parent / name).mkdir()
    told = [found for found in tone.doctor(repair=True) if found.kind == "unexpected"]
    assert [found.path.name for found in told] == ["0", "007", str(HIGHEST + 1)]
    assert all(not found.repairable and found.path.is_dir() for found in told)
