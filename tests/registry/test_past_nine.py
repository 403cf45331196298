"""Numbers are numbers: 10 comes after 9 in every list, for versions, events and settings of aliases alike (G 39)."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from adapterhub_fin_registry import Registry
from adapterhub_fin_registry.registry_chain import Member, RegistryChain

NAME = "acme/tone"
SLOW = settings(
    max_examples=4, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)
# Digits of other lengths, so that an order by letters is another one.
NUMBERS = st.sets(st.integers(1, 1200), min_size=9, max_size=9).map(lambda found: {*found, 2, 9, 10, 11, 100})


def filled(root: Path, numbers: list[int], make_folder: Any, make_manifest: Any) -> Registry:
    registry, folder = Registry(root), make_folder(1)
    for number in numbers:
        assert registry.add(folder, make_manifest(seed=number), name=NAME, number=number).number == number
    return registry


@SLOW
@given(numbers=NUMBERS, order=st.randoms(use_true_random=False))
def test_versions_are_in_the_order_of_their_numbers(
    numbers: set[int], order: random.Random, make_folder: Any, make_manifest: Any
) -> None:
    shuffled = sorted(numbers)
    order.shuffle(shuffled)
    with tempfile.TemporaryDirectory() as place:
        registry = filled(Path(place), shuffled, make_folder, make_manifest)
        wanted = sorted(numbers)
        assert [version.number for version in registry.versions(NAME)] == wanted
        assert [row["version"] for row in registry.rows(NAME)] == wanted
        assert [row["version"] for row in registry.rows()] == wanted
        for number in wanted:
            assert registry.resolve(f"{NAME}@{number}").manifest.seed == number
        for chosen in (registry, RegistryChain([Member("one", registry)])):
            assert chosen.resolve(NAME).number == wanted[-1]
            assert chosen.resolve(NAME, as_of="2024-01-01").number == wanted[-1], "of equals the highest"
            assert chosen.resolve(NAME, as_of="now", include_base=False).number == wanted[-1]
        _search(registry, wanted)
        registry.add_event(f"{NAME}@{wanted[-1]}", "yank", {})
        assert registry.resolve(NAME).number == wanted[-2]
        registry.delete(f"{NAME}@{wanted[-1]}")
        assert registry.add(make_folder(2), make_manifest(), name=NAME).number == wanted[-1] + 1, "and never again"
        assert registry.doctor() == [] and registry.damaged() == {}


def _search(registry: Registry, wanted: list[int]) -> None:
    for query, found in (
        ("ORDER BY version", wanted),
        ("ORDER BY version DESC", wanted[::-1]),
        ("version > 9 ORDER BY version", [number for number in wanted if number > 9]),
        ("version <= 10 ORDER BY version", [number for number in wanted if number <= 10]),
        ("version = 10", [10]),
    ):
        assert [row["version"] for row in registry.search(query, limit=None)] == found, query
        paged, after = [], None
        while True:
            page = registry.search(query, limit=4, after=after)
            paged += [row["version"] for row in page]
            if (after := page.next) is None:
                break
        assert paged == found, f"{query}, page by page"
    unordered = [row["version"] for row in registry.search("", limit=None)]
    assert unordered in (wanted, wanted[::-1])


@SLOW
@given(kinds=st.lists(st.booleans(), min_size=9, max_size=13))
def test_the_last_of_many_events_and_settings_counts(kinds: list[bool], make_folder: Any, make_manifest: Any) -> None:
    kinds = [*kinds, not kinds[8]]  # so that whoever takes the ninth for the last is wrong
    with tempfile.TemporaryDirectory() as place:
        registry = filled(Path(place), list(range(1, 12)), make_folder, make_manifest)
        for turn, yanked in enumerate(kinds):
            registry.add_event(f"{NAME}@11", "yank" if yanked else "unyank", {"turn": turn})
            registry.add_event(f"{NAME}@10", "tag" if yanked else "untag", {"tag": "live"})
            registry.set_alias(NAME, "champion", 11 if yanked else turn % 9 + 1)
        events = registry.events(f"{NAME}@11")
        assert [event["number"] for event in events] == list(range(1, len(kinds) + 1))
        assert [event["turn"] for event in events] == list(range(len(kinds)))
        assert registry.resolve(f"{NAME}@11").yanked == kinds[-1]
        assert registry.resolve(NAME).number == (10 if kinds[-1] else 11)
        assert registry.resolve(f"{NAME}@10").tags == (["live"] if kinds[-1] else [])
        last = 11 if kinds[-1] else (len(kinds) - 1) % 9 + 1
        assert registry.aliases(NAME)["champion"] == registry.resolve(f"{NAME}@champion").number == last
        history = [setting["version"] for setting in registry.alias_history(NAME, "champion")]
        assert history[-1] == last
        [row] = registry.search("alias = champion AND yanked IN (true, false)")
        assert row["version"] == last
        found = [row["version"] for row in registry.search("tag = live")]
        assert found == ([10] if kinds[-1] else [])


def test_twelve_versions_in_a_row_get_twelve_numbers(tmp_path: Path, make_folder: Any, make_manifest: Any) -> None:
    registry, folder = Registry(tmp_path / "root"), make_folder(1)
    given = [registry.add(folder, make_manifest(seed=seed), name=NAME).number for seed in range(12)]
    assert given == list(range(1, 13))
    again = registry.add(folder, make_manifest(seed=10), name=NAME)
    assert again.number == 11, "it is found among those past nine too"


@pytest.mark.parametrize("width", [2, 3])
def test_doctor_looks_at_versions_past_nine(width: int, tmp_path: Path, make_folder: Any, make_manifest: Any) -> None:
    number = 10 ** (width - 1)
    registry = filled(tmp_path / "root", [9, number], make_folder, make_manifest)
    (registry.resolve(f"{NAME}@{number}").folder / "record.json").unlink()
    assert [finding.kind for finding in registry.doctor(repair=True)][:1] == ["record"]
    assert registry.doctor() == [] and registry.resolve(NAME).number == number
