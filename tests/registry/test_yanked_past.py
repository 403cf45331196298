"""Rows of the past have what stood then: a version that was yanked since counts from its adding to its yank."""

from __future__ import annotations

import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub_fin_registry import BadInstant, NotFound, Registry
from adapterhub_fin_registry import registry as writing
from adapterhub_fin_registry.errors import Corrupted
from adapterhub_fin_registry.model.knowledge import format_instant

NAME, CASES = "acme/past", int(os.environ.get("AHF_CASES", "25"))
START, DAY = datetime(2020, 1, 1, tzinfo=UTC), timedelta(days=1)


def on(day: int) -> datetime:
    return START + day * DAY


class Dated:
    """A registry whose records and events are dated by the day that is given."""

    def __init__(self, root: Path, make_folder: Any, make_manifest: Any) -> None:
        self.registry, self.folder, self.make_manifest, self.count = Registry(root), make_folder(), make_manifest, 0

    def add(self, day: int, end: int) -> None:
        self.count += 1
        manifest = self.make_manifest("2019-01-01T00:00:00Z", format_instant(on(end)), description=f"{self.count}")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(writing, "now", lambda: format_instant(on(day)))
            self.registry.add(self.folder, manifest, name=NAME)

    def change(self, day: int, number: int, kind: str, **body: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(writing, "now", lambda: format_instant(on(day)))
            self.registry.add_event(f"{NAME}@{number}", kind, body)

    def each(self, days: list[int], yanked: Any) -> list[int | None]:
        versions = self.registry.as_of_many(NAME, [on(day) for day in days], yanked=yanked)
        return [version and version.number for version in versions]  # type: ignore[misc]


@pytest.fixture
def dated(registry: Registry, make_folder: Any, make_manifest: Any) -> Dated:
    """Return version 1, added on day 10, and version 2, of later knowledge, added on day 20 and yanked on day 30."""
    dated = Dated(registry.root, make_folder, make_manifest)
    dated.add(10, 5)
    dated.add(20, 8)
    dated.change(30, 2, "yank", reason="trained on the wrong rows")
    return dated


def test_a_yank_counts_from_its_instant_on(dated: Dated) -> None:
    days = [5, 6, 9, 20, 21, 29, 30, 31]
    assert dated.each(days, "left_out") == [None, 1, 1, 1, 1, 1, 1, 1]
    assert dated.each(days, "as_then") == [None, 1, 1, 1, 2, 2, 1, 1], "it stood from day 20 to day 30"
    assert dated.each(days, "before_yank") == [None, 1, 2, 2, 2, 2, 1, 1], "also before it was added"
    assert dated.registry.as_of_many(NAME, [on(25)]) == [dated.registry.resolve(NAME, as_of=on(25))], "as resolve does"
    assert dated.registry.resolve(NAME).number == 1 and dated.registry.resolve(NAME, as_of=on(25)).number == 1
    yank = dated.registry.resolve(f"{NAME}@2").yank
    assert yank is not None and (yank.at, yank.reason) == (on(30), "trained on the wrong rows")
    choice = dated.registry.choose_each(NAME, [on(9), on(25), on(31)], yanked="as_then")
    assert {index: version.number for index, version in choice.passed_over.items()} == {0: 2, 2: 2}


def test_an_undone_yank_counts_while_it_held(dated: Dated) -> None:
    dated.change(40, 2, "unyank")
    days = [9, 25, 30, 39, 40, 41]
    assert dated.each(days, "as_then") == [2, 2, 1, 1, 2, 2]
    assert dated.each(days, "left_out") == [2, 2, 2, 2, 2, 2] and dated.registry.resolve(f"{NAME}@2").yank is None


def test_a_name_of_yanked_versions_alone(dated: Dated) -> None:
    dated.change(35, 1, "yank")
    assert dated.each([9, 15, 25, 32, 36], "as_then") == [None, 1, 2, 1, None]
    [passed] = dated.registry.choose_each(NAME, [on(36)], yanked="as_then").passed_over.values()
    assert passed.number == 2, "that which knew most"
    with pytest.raises(NotFound, match="every version of acme/past is yanked"):
        dated.each([25], "left_out")
    with pytest.raises(NotFound, match="every version of acme/past is yanked"):
        dated.registry.resolve(NAME)


def test_what_can_not_be_dated_does_not_answer(dated: Dated) -> None:
    with pytest.raises(BadInstant, match="yanked is 'never': use as_then, before_yank or left_out"):
        dated.each([25], "never")
    event = dated.registry.resolve(f"{NAME}@2").folder / "events" / "1" / "event.json"
    event.write_text(event.read_text().replace(format_instant(on(30)), "lately"))
    for yanked in ("as_then", "before_yank", "left_out"):
        assert dated.each([25], yanked) == [1]
    with pytest.raises(Corrupted, match="a yank event has no date"):
        _ = dated.registry.resolve(f"{NAME}@2").yank


changes = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 60), st.integers(0, 40)),
        *3 * [st.tuples(st.sampled_from(["yank", "yank", "unyank"]), st.integers(0, 60), st.integers(0, 9))],
    ),
    min_size=2,
    max_size=14,
)


@settings(max_examples=CASES, deadline=None)
@given(history=changes, first=st.integers(0, 40))
def test_many_instants_are_each_chosen_by_the_words_of_the_rule(
    history: list[Any], first: int, make_folder: Any, make_manifest: Any
) -> None:
    """Clocks go back and forth: events count in the order of their numbers among those dated by then."""
    with tempfile.TemporaryDirectory() as root:
        dated = Dated(Path(root) / "root", make_folder, make_manifest)
        made: list[tuple[int, int]] = []  # the day of adding, and of the knowledge end
        events: dict[int, list[tuple[int, str]]] = {}
        for kind, day, number in [("add", 1, first), *history]:
            if kind == "add":
                dated.add(day, number)
                made.append((day, number))
                events[len(made)] = []
            else:
                dated.change(day, number % len(made) + 1, kind)
                events[number % len(made) + 1].append((day, kind))

        def counts(number: int, day: int, yanked: str) -> bool:
            now = [kind for _, kind in events[number]][-1:] == ["yank"]
            then = [kind for at, kind in events[number] if at <= day][-1:] == ["yank"]
            added = made[number - 1][0]
            return {"left_out": not now, "before_yank": not then, "as_then": not then and (not now or added < day)}[
                yanked
            ]

        days = list(range(0, 64, 3))
        for yanked in ("as_then", "before_yank", "left_out"):
            expected = []
            for day in days:
                ended = [
                    (end, number)
                    for number, (_, end) in enumerate(made, 1)
                    if end < day and counts(number, day, yanked)
                ]
                expected.append(max(ended)[1] if ended else None)
            if yanked == "left_out" and all([kind for _, kind in events[number]][-1:] == ["yank"] for number in events):
                with pytest.raises(NotFound):
                    dated.each(days, yanked)
            else:
                assert dated.each(days, yanked) == expected
