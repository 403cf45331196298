"""The history of a run lies beside its event: whole or absent, no part of the version, and checked when it is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from adapterhub_fin_registry import BadEvent, Corrupted, Registry, Version

HISTORY: dict[str, Any] = {
    "training": {"step": [1, 2, 3], "loss": [1.5, 0.25, None], "learning_rate": [0.001, 0.0005, 0.0]},
    "validation": {"step": [3], "epoch": [1.0], "loss": [0.5], "accuracy": [0.75]},
}
OTHER: dict[str, Any] = {**HISTORY, "training": {"step": [1], "loss": [2.0]}}


@pytest.fixture
def add(make_folder: Any, make_manifest: Any) -> Callable[..., Version]:
    def added(registry: Registry, history: Any = HISTORY) -> Version:
        return registry.add(make_folder(1), make_manifest(), name="acme/tone", history=history)

    return added


def test_a_version_and_its_history_are_stored_in_one_step(registry: Registry, add: Any, tmp_path: Path) -> None:
    version = add(registry)
    assert registry.history(version) == HISTORY
    [event] = registry.events(version)
    assert event["kind"] == "history" and event["number"] == 1
    assert registry.doctor() == [] and registry.verify(version) == version
    plain = add(Registry(tmp_path / "other"), history=None)
    assert plain.digest == version.digest and Registry(tmp_path / "other").history(plain) is None
    assert not any("history" in path.name for path in version.files.rglob("*"))


def test_the_same_history_is_stored_once_and_the_newest_is_read(registry: Registry, add: Any) -> None:
    version = add(registry, history=None)
    assert registry.history(version) is None
    assert add(registry) == version and add(registry) == version
    assert registry.add_history(version, HISTORY) == 1 and len(registry.events(version)) == 1
    assert registry.add_history(version, OTHER) == 2 and registry.history(version) == OTHER
    assert registry.add_history(version, HISTORY) == 1


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"training": {"step": []}}, "holds the tables training and validation"),
        ({**HISTORY, "more": {"step": []}}, "and this one more, training, validation"),
        ({**HISTORY, "training": {"loss": [1.0]}}, "table training .* needs a column 'step'"),
        ({**HISTORY, "training": {"step": [1], "loss": []}}, "columns of one length"),
        ({**HISTORY, "training": {"step": [1], "loss": [float("nan")]}}, "column 'loss' .* finite numbers"),
        ({**HISTORY, "validation": {"step": [1], "loss": ["x"]}}, "column 'loss' .* table validation"),
    ],
)
def test_what_is_no_history_is_refused_and_nothing_is_stored(
    registry: Registry, add: Any, wrong: Any, says: str
) -> None:
    with pytest.raises(BadEvent, match=says):
        add(registry, history=wrong)
    assert registry.names() == []
    version = add(registry, history=None)
    with pytest.raises(BadEvent, match=says):
        registry.add_history(version, wrong)
    with pytest.raises(BadEvent, match="use add_history"):
        registry.add_event(version, "history", {"loss": [1.0]})
    assert registry.events(version) == []


@pytest.mark.parametrize("damage", ["lost", "cut", "altered"])
def test_a_damaged_history_is_reported_and_removed_by_a_repair(registry: Registry, add: Any, damage: str) -> None:
    version = add(registry)
    path = version.folder / "events" / "1" / "history.json"
    whole = path.read_bytes()
    if damage == "lost":
        path.unlink()
    else:
        path.write_bytes(whole[:-9] if damage == "cut" else whole.replace(b"0.25", b"0.26"))
    for read in (registry.history, registry.verify):
        with pytest.raises(Corrupted, match=r"history\.json (is missing|has other bytes than its event says)"):
            read(version)
    assert [f.path for f in registry.doctor() if f.kind == "history"] == [path.parent]
    assert registry.path(version) == version.files  # which is as it was, and can be loaded
    assert all(finding.repaired for finding in registry.doctor(repair=True))
    assert registry.doctor() == [] and registry.history(version) is None and registry.verify(version) == version
    assert add(registry) == version and registry.history(version) == HISTORY


def test_many_that_store_one_run_leave_one_history(tmp_path: Path, make_folder: Any, make_manifest: Any) -> None:
    folder, manifest = make_folder(1), make_manifest()
    threads = [
        Thread(target=lambda: Registry(tmp_path).add(folder, manifest, name="acme/tone", history=HISTORY))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    registry = Registry(tmp_path)
    [version] = registry.versions("acme/tone")
    assert registry.history(version) == HISTORY and registry.doctor(repair=True) is not None
    assert len(registry.events(version)) == 1
    assert json.loads((version.folder / "events/1/history.json").read_bytes()) == HISTORY


def test_an_event_of_what_was_forgotten_holds_its_figures(registry: Registry, add: Any) -> None:
    stored = add(registry)
    body = {"corpus": "stories", "split": "test", "metric": "perplexity", "before": 9.0, "after": 9.9, "change": 0.1}
    number = registry.add_event(stored, "forgetting", body)
    assert {**body, "kind": "forgetting", "number": number}.items() <= registry.events(stored)[-1].items()
    for name, wrong in (("metric", ""), ("change", None), ("after", True), ("corpus", 3)):
        with pytest.raises(BadEvent, match="the forgetting event lacks"):
            registry.add_event(stored, "forgetting", {**body, name: wrong})
