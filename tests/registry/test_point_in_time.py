"""Whatever happened to a walk-forward series, a date gives what was knowable before it, and never anything later."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub_fin_registry import NotFound, Refused, Registry
from adapterhub_fin_registry.model.knowledge import format_instant, parse_instant
from adapterhub_fin_registry.model.manifest import Knowledge, KnowledgeInput
from adapterhub_fin_registry.storage.name_folder import NameFolder

NAME = "acme/walk"
START = datetime(2019, 1, 1, tzinfo=UTC)
QUARTER, TICK = timedelta(days=91), timedelta(microseconds=1)
BOTH = (True, False)


@dataclass
class Made:
    """A version as the model of this test has it: when each of its inputs could have been known."""

    inputs: dict[str, datetime]
    yanked: bool = False
    deleted: bool = False

    def end(self, include_base: bool) -> datetime:
        own = [at for name, at in self.inputs.items() if name != "base"]
        return max(own if not include_base else self.inputs.values())


@dataclass
class History:
    """The registry under test beside a list of what was done to it; the version of a number stands one before it."""

    registry: Registry
    folder: Path
    make_manifest: Any
    made: list[Made] = field(default_factory=list)

    def add(self, kind: str, **inputs: datetime) -> None:
        dated = tuple(
            KnowledgeInput(input=name.replace("__", ":"), at=format_instant(at), kind=kind, evidence="a test")
            for name, at in inputs.items()
        )
        manifest = self.make_manifest(knowledge=Knowledge.of(dated), description=f"number {len(self.made) + 1}")
        version = self.registry.add(self.folder, manifest, name=NAME)
        self.made.append(Made(inputs))
        assert version.number == len(self.made)

    def train(self, window: int, embargo: int, horizon: int, gap: int, base: int) -> None:
        """A window whose last label was known just an embargo before the cut-off, or somewhat earlier."""
        cutoff = START + window * QUARTER
        labelled = cutoff - timedelta(days=embargo) - gap * timedelta(hours=7) - TICK
        known = {"corpus__rows": labelled - timedelta(days=horizon), "labels__rows": labelled}
        self.add("observed", base=START + (base - 4) * QUARTER, **known)

    def refit(self, of: int) -> None:
        """Rows of an old window were corrected: the highest number, the old dates."""
        self.add("observed", **self.made[of % len(self.made)].inputs)

    def take_in(self, day: int) -> None:
        """Nobody knows what an import saw: the day on which it was first seen bounds it."""
        seen = START + timedelta(days=day)
        self.add("bounded", base=seen, corpus__unknown=seen)

    def merge(self, one: int, other: int) -> None:
        inputs: dict[str, datetime] = {}
        for place in (one, other):
            for name, at in self.made[place % len(self.made)].inputs.items():
                inputs[name] = max(at, inputs.get(name, at))
        self.add("observed", **inputs)

    def yank(self, of: int, withdrawn: bool) -> None:
        number = of % len(self.made) + 1
        if not self.made[number - 1].deleted:
            self.registry.add_event(f"{NAME}@{number}", "yank" if withdrawn else "unyank")
            self.made[number - 1].yanked = withdrawn

    def delete(self, of: int) -> None:
        number = of % len(self.made) + 1
        if not self.made[number - 1].deleted:
            self.registry.delete(f"{NAME}@{number}")
            self.made[number - 1].deleted = True

    def knowable(self, date: datetime, include_base: bool) -> int | None:
        """The number that a date must give, by the words of the format."""
        found = [
            (made.end(include_base), number)
            for number, made in enumerate(self.made, 1)
            if not made.yanked and not made.deleted and made.end(include_base) < date
        ]
        return max(found)[1] if found else None


small = st.integers(0, 7)
changes = st.one_of(
    st.tuples(st.just("train"), small, st.integers(0, 10), st.integers(0, 120), st.integers(0, 3), small),
    st.tuples(st.just("refit"), small),
    st.tuples(st.just("take_in"), st.integers(0, 900)),
    st.tuples(st.just("merge"), small, small),
    *2 * [st.tuples(st.just("yank"), small, st.sampled_from([True, True, False]))],  # else most histories had none
    st.tuples(st.just("delete"), small),
)
first = st.tuples(st.just("train"), small, st.integers(0, 10), st.integers(0, 120), st.integers(0, 3), small)
histories = st.tuples(first, st.lists(changes, min_size=5, max_size=14)).map(lambda parts: [parts[0], *parts[1]])


@settings(max_examples=60, deadline=None)
@given(history=histories, day=st.integers(-100, 1000))
def test_a_date_gives_what_was_knowable_before_it(
    history: list[Any], day: int, make_folder: Any, make_manifest: Any
) -> None:
    with tempfile.TemporaryDirectory() as root:
        series = History(Registry(Path(root) / "root"), make_folder(), make_manifest)
        for change, *arguments in history:
            getattr(series, change)(*arguments)
        ends = {made.end(include_base) for made in series.made for include_base in BOTH}
        cutoffs = {START + window * QUARTER for window in range(8)}
        for date in sorted({START + timedelta(days=day)} | cutoffs | ends | {end + TICK for end in ends}):
            for include_base in BOTH:
                check(series, date, include_base)
        dates = [START + timedelta(days=day), *cutoffs, *ends, *(end + TICK for end in ends)]
        for include_base in BOTH:
            check_many(series, dates, include_base)
        for include_base in BOTH:
            check_numbers(series, START + timedelta(days=day), include_base)
            for date in sorted(ends)[:: max(1, len(ends) // 3)]:  # a version knows up to its own end, and not before it
                check_numbers(series, date, include_base)
            for date in sorted({START + timedelta(days=day)} | ends):
                check_search(series, date, include_base)
        check_rows(series)


def check(series: History, date: datetime, include_base: bool) -> None:
    registry, wanted = series.registry, series.knowable(date, include_base)
    if wanted is None:
        with pytest.raises((Refused, NotFound)):
            registry.resolve(NAME, as_of=date, include_base=include_base)
        with pytest.raises((Refused, NotFound)):
            registry.path(NAME, as_of=date, include_base=include_base)
    else:
        version = registry.resolve(NAME, as_of=date, include_base=include_base)
        assert version.number == wanted and version.knows_until(include_base) < date
        assert registry.path(NAME, as_of=date, include_base=include_base) == version.files


def check_many(series: History, dates: list[datetime], include_base: bool) -> None:
    """Many dates at once, in any order, are each alone; a version by its number is only checked against them."""
    wanted = [series.knowable(date, include_base) for date in dates]
    if not any(not made.yanked and not made.deleted for made in series.made):
        with pytest.raises(NotFound):
            series.registry.as_of_many(NAME, dates, include_base=include_base)
        return
    versions = series.registry.as_of_many(NAME, dates, include_base=include_base)
    assert [version and version.number for version in versions] == wanted
    for number, made in enumerate(series.made, 1):
        if not made.deleted:
            known = series.registry.as_of_many(f"{NAME}@{number}", dates, include_base=include_base)
            assert [version is not None for version in known] == [made.end(include_base) < date for date in dates]


def check_numbers(series: History, date: datetime, include_base: bool) -> None:
    """A date beside a number is a check: that version or a refusal, and never another one."""
    for number, made in enumerate(series.made, 1):
        if made.deleted:
            continue
        if made.end(include_base) < date:  # named outright, a yanked version still answers
            assert series.registry.resolve(f"{NAME}@{number}", as_of=date, include_base=include_base).number == number
        else:
            with pytest.raises(Refused, match="knows until"):
                series.registry.resolve(f"{NAME}@{number}", as_of=date, include_base=include_base)


def check_search(series: History, date: datetime, include_base: bool) -> None:
    """A search finds all that was knowable before the date, and nothing else."""
    knowable = [
        number
        for number, made in enumerate(series.made, 1)
        if not made.yanked and not made.deleted and made.end(include_base) < date
    ]
    page = series.registry.search("", limit=None, as_of=date, include_base=include_base)
    assert [row["version"] for row in page] == knowable and not page.damaged


def check_rows(series: History) -> None:
    """A list says the same: who chooses from its rows by the words of the format gets what `resolve` gives."""
    rows = series.registry.rows(NAME)
    assert rows == series.registry.search("yanked IN (true, false)", limit=None).rows
    assert [row["version"] for row in rows] == [n for n, made in enumerate(series.made, 1) if not made.deleted]
    for row in rows:
        made = series.made[row["version"] - 1]
        assert (parse_instant(row["knowledge_end"]), row["yanked"]) == (made.end("strict"), made.yanked)


@settings(max_examples=40, deadline=None)
@given(history=histories, date=st.integers(0, 800), after=st.lists(changes, max_size=6))
def test_a_locked_date_gives_the_same_version_whatever_comes_after(
    history: list[Any], date: int, after: list[Any], make_folder: Any, make_manifest: Any
) -> None:
    with tempfile.TemporaryDirectory() as root:
        series, lock = History(Registry(Path(root) / "root"), make_folder(), make_manifest), Path(root) / "a.lock"
        for change, *arguments in history:
            getattr(series, change)(*arguments)
        asked: dict[str, Any] = {"as_of": START + timedelta(days=date), "lock": lock}
        if series.knowable(asked["as_of"], "strict") is None:
            with pytest.raises((Refused, NotFound)):
                series.registry.resolve(NAME, **asked)
            assert not lock.exists(), "what was refused is not written down"
            return
        held = series.registry.resolve(NAME, **asked)
        for change, *arguments in after:
            getattr(series, change)(*arguments)
        if series.made[held.number - 1].deleted:
            with pytest.raises(NotFound, match="is gone from the registry"):
                series.registry.resolve(NAME, **asked)
        else:
            again = series.registry.resolve(NAME, **asked)
            assert again.digest == held.digest and again.knowledge_end < asked["as_of"]


def test_twenty_thousand_dates_read_the_versions_once(
    registry: Registry, make_folder: Any, make_manifest: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.add(make_folder(), make_manifest(), name=NAME)
    scans: list[str] = []
    newest_first = NameFolder.newest_first
    monkeypatch.setattr(NameFolder, "newest_first", lambda folder: (scans.append(folder.name), newest_first(folder))[1])
    dates = [START + timedelta(days=day % 9000, seconds=day) for day in range(20_000)]
    assert len(registry.as_of_many(NAME, dates)) == len(dates) and scans == [NAME]
