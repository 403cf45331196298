"""A wrong clock dates nothing: it is refused, or what is known to have passed counts in its place (G 3)."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification

import adapterhub_fin as ahf
from adapterhub_fin.engine.data.known import knowledge_record
from adapterhub_fin.plugin.interfaces import BoundedNow, KnownAt
from adapterhub_fin.testing.store import small_version
from adapterhub_fin_registry.io import clock
from adapterhub_fin_registry.io.clock import RELEASED, SKEW, Passed, bounded_now, read_clock
from adapterhub_fin_registry.model.knowledge import format_instant, parse_instant

HOUR = timedelta(hours=1)
SetClock = Callable[[datetime], None]
ROOT = Path(__file__).parents[2]
PACKAGES = ("adapterhub_fin", "plugins/adapterhub_fin_plugins", "registry/adapterhub_fin_registry")
TRUE = RELEASED + timedelta(days=400, hours=5, microseconds=1)


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Set the clock of this process, as the project reads it."""

    def set_to(instant: datetime) -> None:
        monkeypatch.setattr(clock, "_wall", lambda: instant)

    set_to(TRUE)
    return set_to


@pytest.fixture
def theirs(tmp_path: Path, home: Path) -> Path:
    """A PEFT folder, written when the clock was right."""
    folder = tmp_path / "theirs"
    small_version(ahf.Registry(tmp_path / "elsewhere"), folder, 2021)
    touch(folder, TRUE - timedelta(days=300))
    return folder


def touch(place: Path, at: datetime) -> None:
    for path in [place, *place.rglob("*")]:
        os.utime(path, (at.timestamp(), at.timestamp()))


def take(folder: Path, name: str = "acme/tone", **told: Any) -> datetime:
    """Take it in, and return its knowledge end."""
    taken = ahf.import_folder(folder, name, base="acme/base", **told)
    return taken.version.knowledge_end


def recipe(encoder: Path) -> dict[str, Any]:
    return {
        "name": "acme/trained",
        "base": {"id": "acme/tiny", "path": str(encoder)},
        "method": {"name": "lora", "rank": 2},
        "corpus": {"name": "headlines", "rows": 60, "start": "2015-01-01", "end": "2018-01-01"},
        "training": {"epochs": 1, "max_length": 32},
    }


def stored_at(reference: str, at: datetime) -> None:
    """Let a version have been stored at another time, by its record and by its file."""
    path = ahf.Registry().resolve(reference).folder / "record.json"
    record = json.loads(path.read_text())
    path.chmod(0o600)
    path.write_text(json.dumps({**record, "added_at": format_instant(at.replace(microsecond=0))}))
    os.utime(path, (at.timestamp(), at.timestamp()))


def test_the_release_is_a_day_that_has_passed_and_is_set_with_the_version() -> None:
    assert datetime(2026, 11, 1, tzinfo=UTC) <= RELEASED <= datetime.now(UTC)
    heading = next(line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## "))
    version, _, date = heading.removeprefix("## ").partition(", ")
    if version == ahf.__version__ and date != "unreleased":
        assert RELEASED.date().isoformat() == date
    assert "RELEASED" in (ROOT / "CONTRIBUTING.md").read_text()


@given(
    behind=st.timedeltas(timedelta(days=-400), timedelta(days=4000)),
    others=st.lists(st.timedeltas(timedelta(0), timedelta(days=4000)), max_size=4),
)
def test_a_bound_is_the_latest_of_all_or_refused(behind: timedelta, others: list[timedelta]) -> None:
    now = TRUE - behind
    last = max([RELEASED, TRUE, *(TRUE - each for each in others)])
    passed = [Passed(TRUE - each, f"it was {number}") for number, each in enumerate(others)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "_wall", lambda: now)
        if now < last - SKEW:
            with pytest.raises(ahf.Refused, match="set the clock"):
                bounded_now([*passed, Passed(TRUE, "it was")])
        else:
            assert bounded_now([*passed, Passed(TRUE, "it was")]) == max(now, last)


@pytest.mark.parametrize("year", [1970, 1999, 2016, 2025])
def test_a_clock_before_the_release_is_refused_wherever_it_is_asked(
    year: int, theirs: Path, set_clock: SetClock, encoder: Path
) -> None:
    version = small_version(ahf.Registry(), theirs.with_name("own"), 2022)
    set_clock(datetime(year, 6, 1, tzinfo=UTC))
    registry = ahf.Registry()
    doing: list[Callable[[], object]] = [
        lambda: take(theirs, "acme/new"),
        lambda: take(theirs, "acme/new", corpus={"name": "x", "knowledge_end": "2020-01-01", "evidence": "a paper"}),
        lambda: ahf.train(recipe(encoder)),
        lambda: registry.add(version.files, version.manifest, name="acme/again"),
        lambda: registry.add_event(version.reference, "tag", {"tag": "live"}),
        lambda: registry.set_alias(version.name, "live", 1),
        lambda: registry.delete(version.reference),
        lambda: registry.resolve(version.name, as_of="now"),
        lambda: BoundedNow.of("a third party's corpus"),
    ]
    for do in doing:
        with pytest.raises(ahf.Refused, match="the clock says .* set the clock"):
            do()
    assert registry.names() == [version.name] and not registry.events(version.name)


def test_a_clock_a_day_before_the_release_is_taken_for_right(theirs: Path, set_clock: SetClock) -> None:
    touch(theirs, RELEASED - timedelta(days=100))
    set_clock(RELEASED - SKEW)
    assert read_clock() == RELEASED - SKEW
    assert take(theirs) == RELEASED - SKEW
    set_clock(RELEASED - SKEW - timedelta(microseconds=1))
    with pytest.raises(ahf.Refused):
        read_clock()


@pytest.mark.parametrize("behind", [HOUR, 23 * HOUR, 25 * HOUR, timedelta(days=90)])
@pytest.mark.parametrize("evidence", ["another name's record", "the same name's record", "the files", "one file"])
def test_a_clock_behind_what_has_passed(evidence: str, behind: timedelta, theirs: Path, set_clock: SetClock) -> None:
    own = small_version(ahf.Registry(), theirs.with_name("own"), 2022)
    shutters = {"another name's record": "acme/other", "the same name's record": own.name}
    if evidence in shutters:
        stored_at(own.reference, TRUE)
    else:
        stored_at(own.reference, TRUE - timedelta(days=300))
        touch(theirs if evidence == "the files" else theirs / "adapter_model.safetensors", TRUE)
    set_clock(TRUE - behind)
    name = shutters.get(evidence, "acme/other")
    if behind > SKEW:
        with pytest.raises(ahf.Refused, match="set the clock, or, where the clock is right, .*(ahf rm|touch)"):
            take(theirs, name)
        assert len(ahf.Registry().versions(own.name)) == 1
    else:
        assert abs(take(theirs, name) - TRUE) < timedelta(seconds=1.1), "what has passed bounds it, not the clock"
    set_clock(TRUE + HOUR)
    assert take(theirs, "acme/later") == TRUE + HOUR, "and a clock that is right is believed"


def test_a_run_and_a_save_are_not_dated_before_what_is_stored(
    theirs: Path, set_clock: SetClock, encoder: Path, tmp_path: Path
) -> None:
    version = small_version(ahf.Registry(), theirs.with_name("own"), 2022)
    stored_at(version.reference, TRUE)
    set_clock(TRUE - 10 * HOUR)
    run = ahf.train(recipe(encoder))
    known = {each.input: each for each in run.version.manifest.knowledge.inputs}
    assert known["base"].kind == "bounded" and abs(parse_instant(known["base"].at) - TRUE) < timedelta(seconds=1.1)
    assert known["corpus:headlines"].kind == "observed" and known["corpus:headlines"].at.startswith("201")
    set_clock(TRUE - 30 * HOUR)
    model = AutoModelForSequenceClassification.from_pretrained(encoder)
    with pytest.raises(ahf.Refused, match="set the clock"):
        ahf.save(get_peft_model(model, LoraConfig(r=2, task_type="SEQ_CLS")), "acme/saved", base="acme/tiny")
    with pytest.raises(ahf.Refused, match="set the clock"):
        ahf.train({**recipe(encoder), "name": "acme/again"})
    assert ahf.Registry().names() == ["acme/tone", "acme/trained"]


def test_a_file_from_the_future_is_refused_until_its_time_is_mended(theirs: Path, set_clock: SetClock) -> None:
    touch(theirs / "adapter_config.json", datetime(2090, 1, 1, tzinfo=UTC))
    with pytest.raises(ahf.Refused, match=r"adapter_config.json was written at 2090-01-01.*`touch`"):
        take(theirs)
    touch(theirs, TRUE)
    assert take(theirs) == TRUE


def test_a_version_stored_by_a_clock_ahead_is_named_and_can_be_removed(theirs: Path, set_clock: SetClock) -> None:
    set_clock(TRUE + timedelta(days=1000))
    assert take(theirs, "acme/ahead") == TRUE + timedelta(days=1000)
    stored_at("acme/ahead@1", TRUE + timedelta(days=1000))
    set_clock(TRUE)
    with pytest.raises(ahf.Refused, match=r"acme/ahead@1 .*`ahf rm acme/ahead@1`"):
        take(theirs)
    ahf.Registry().delete("acme/ahead@1")
    assert take(theirs) == TRUE


def test_what_carries_a_date_keeps_it(theirs: Path, set_clock: SetClock) -> None:
    corpus = {"name": "x", "knowledge_end": "2020-01-01T00:00:00Z", "evidence": "a paper"}
    base = {"id": "acme/base", "knowledge_end": "2019-01-01T00:00:00Z", "evidence": "a card"}
    version = ahf.import_folder(theirs, "acme/tone", base=base, corpus=corpus).version
    assert version.knowledge_end == parse_instant("2020-01-01T00:00:00Z")
    published = KnownAt(parse_instant("2014-04-01T00:00:00Z"), "bounded", "its publication")
    assert knowledge_record({"corpus:x": published}, TRUE)["end"] == published.at


def test_many_names_and_damaged_records_cost_nothing_of_it(theirs: Path, set_clock: SetClock) -> None:
    registry = ahf.Registry()
    own = small_version(registry, theirs.with_name("own"), 2022)
    for number in range(20):
        registry.add(own.files, own.manifest, name=f"acme/n{number}")
    for number in range(20):
        stored_at(f"acme/n{number}@1", TRUE - timedelta(days=100))
    record = registry.resolve("acme/n3@1").folder / "record.json"
    record.chmod(0o600)
    record.write_text("{")
    stored_at("acme/n7@1", TRUE)
    registry.set_alias("acme/n7", "live", 1)
    set_clock(TRUE - 30 * HOUR)
    with pytest.raises(ahf.Refused, match="acme/n7@1"):
        take(theirs)


IMPORT = """
import sys
from adapterhub_fin_registry.io import clock
from datetime import datetime, UTC
now = datetime.fromisoformat(sys.argv[1])
clock._wall = lambda: now
from adapterhub_fin.cli import main
sys.argv[1:] = ["import", sys.argv[2], "--as", "acme/tone", "--base", "acme/base"]
main()
"""


def test_a_command_says_it_in_one_sentence(theirs: Path) -> None:
    command = [sys.executable, "-c", IMPORT, "2016-06-01T00:00:00+00:00", str(theirs)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "the clock says 2016-06-01T00:00:00Z" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and ahf.Registry().names() == []


def test_nothing_else_reads_the_clock_for_a_date() -> None:
    found = []
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute) and node.attr in ("now", "utcnow", "today"):
                    source = ast.unparse(node)
                    if source.split(".")[-2] in ("datetime", "date"):
                        found.append(f"{path.relative_to(ROOT)}: {source}")
    assert found == ["registry/adapterhub_fin_registry/io/clock.py: datetime.now"]
