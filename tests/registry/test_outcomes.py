"""The outcomes by row of an evaluation: beside their event, whole or absent, checked when read, and nobody else's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from adapterhub_fin_registry import BadEvent, Corrupted, Registry, Version

BODY: dict[str, Any] = {"corpus": "headlines", "split": "test", "metrics": {"accuracy": 0.5}}
ROWS = b"PAR1 what each row got PAR1"


@pytest.fixture
def version(registry: Registry, make_folder: Any, make_manifest: Any) -> Version:
    return registry.add(make_folder(1), make_manifest(), name="acme/tone")


def test_outcomes_stand_beside_their_event_in_one_step(registry: Registry, version: Version) -> None:
    assert registry.outcomes(version) is None
    digest = version.digest
    assert registry.add_event(version, "evaluation", BODY, outcomes=ROWS) == 1
    [event] = registry.events(version)
    assert event["outcomes"]["size"] == len(ROWS) and event["metrics"] == BODY["metrics"]
    path = registry.outcomes(version)
    assert path is not None and path.read_bytes() == ROWS and path.parent.name == "1"
    assert registry.doctor() == [] and registry.verify(version).digest == digest
    assert not any("outcomes" in file.name for file in version.files.rglob("*"))


def test_the_newest_are_read_and_any_by_its_event(registry: Registry, version: Version) -> None:
    registry.add_event(version, "evaluation", BODY, outcomes=ROWS)
    registry.add_event(version, "evaluation", BODY, outcomes=ROWS + b"2")
    registry.add_event(version, "evaluation", BODY)
    registry.add_event(version, "tag", {"tag": "new"})
    newest, first = registry.outcomes(version), registry.outcomes(version, 1)
    assert newest is not None and newest.read_bytes() == ROWS + b"2"
    assert first is not None and first.read_bytes() == ROWS
    assert registry.outcomes(version, 3) is None and registry.outcomes(version, 9) is None


def test_what_is_no_outcome_is_refused_and_nothing_is_stored(registry: Registry, version: Version) -> None:
    with pytest.raises(BadEvent, match="a tag event has no outcomes by row"):
        registry.add_event(version, "tag", {"tag": "new"}, outcomes=ROWS)
    with pytest.raises(BadEvent, match="holds 'outcomes', which the registry sets"):
        registry.add_event(version, "evaluation", {**BODY, "outcomes": {"sha256": "0" * 64, "size": 1}})
    with pytest.raises(BadEvent, match="give corpus and split"):
        registry.add_event(version, "evaluation", {}, outcomes=ROWS)
    assert registry.events(version) == [] and registry.doctor() == []


@pytest.mark.parametrize("damage", ["lost", "cut", "altered", "a link", "a folder"])
def test_damaged_outcomes_are_reported_and_forgotten_by_a_repair(
    registry: Registry, version: Version, damage: str, tmp_path: Path
) -> None:
    registry.add_event(version, "evaluation", BODY, outcomes=ROWS)
    path = version.folder / "events" / "1" / "outcomes.parquet"
    if damage in ("cut", "altered"):
        path.write_bytes(ROWS[:-3] if damage == "cut" else ROWS.replace(b"what", b"When"))
    else:
        path.unlink()
    if damage == "a link":
        (tmp_path / "elsewhere").write_bytes(ROWS)
        path.symlink_to(tmp_path / "elsewhere")
    elif damage == "a folder":
        path.mkdir()
    for read in (registry.outcomes, registry.verify):
        with pytest.raises(Corrupted, match=r"outcomes\.parquet"):
            read(version)
    assert [finding.path for finding in registry.doctor() if finding.kind == "outcomes"] == [path]
    assert registry.path(version) == version.files  # which is as it was, and can be loaded
    assert all(finding.repaired for finding in registry.doctor(repair=True))
    [event] = registry.events(version)
    assert registry.doctor() == [] and registry.outcomes(version) is None and registry.verify(version) == version
    assert event["metrics"] == BODY["metrics"] and "outcomes" not in event
    assert [file.name for file in path.parent.iterdir()] == ["event.json"]


def test_a_repair_that_was_killed_half_way_is_gone_on_with(registry: Registry, version: Version) -> None:
    registry.add_event(version, "evaluation", BODY, outcomes=ROWS)
    event_file = version.folder / "events" / "1" / "event.json"
    event = json.loads(event_file.read_bytes())
    del event["outcomes"]
    event_file.write_bytes(json.dumps(event, sort_keys=True, separators=(",", ":")).encode())
    assert "outcomes" in [finding.kind for finding in registry.doctor()]
    registry.doctor(repair=True)
    assert registry.doctor() == [] and [file.name for file in event_file.parent.iterdir()] == ["event.json"]


def test_evaluations_of_many_threads_each_keep_their_own(
    tmp_path: Path, make_folder: Callable[..., Path], make_manifest: Any
) -> None:
    version = Registry(tmp_path).add(make_folder(1), make_manifest(), name="acme/tone")

    def evaluate(number: int) -> None:
        Registry(tmp_path).add_event(version, "evaluation", {**BODY, "rows": number}, outcomes=b"%d" % number)

    threads = [Thread(target=evaluate, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    registry = Registry(tmp_path)
    for event in registry.events(version):
        path = registry.outcomes(version, event["number"])
        assert path is not None and path.read_bytes() == b"%d" % event["rows"]
    assert len(registry.events(version)) == 8 and registry.doctor(repair=True) is not None
