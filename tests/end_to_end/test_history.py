"""Each run leaves its history beside its version: every step, every epoch, and what it saw is what the Trainer saw."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import adapterhub_fin as ahf
from adapterhub_fin.engine.training import history as module
from adapterhub_fin.engine.training.history import losses_by_epoch, run_history
from adapterhub_fin.testing.bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, "encoder", {"name": "lora", "rank": 4}, {"name": "classify"})


def test_a_run_leaves_its_history(bench: Bench) -> None:
    run = bench.train("run", warmup=0.2, epochs=3, patience=9)
    history = bench.registry.history(run.version)
    assert history == run.history
    training, validation = history["training"], history["validation"]
    assert training["step"] == list(range(1, run.steps + 1)) and validation["step"] == [5, 10, 15]
    assert validation["epoch"] == [1.0, 2.0, 3.0] and training["epoch"][4] == 1.0
    assert {"loss", "accuracy", "macro_f1"} <= validation.keys() and "runtime" not in validation
    assert len(set(training["loss"])) == run.steps and all(norm > 0 for norm in training["grad_norm"])
    peak = max(training["learning_rate"])
    assert training["learning_rate"].index(peak) == 3 and training["learning_rate"][0] == 0.0 < peak <= 1e-2
    assert list(run.losses) == pytest.approx([math.fsum(training["loss"][i : i + 5]) / 5 for i in (0, 5, 10)])
    best = bench.registry.history(run.version)["validation"]["macro_f1"]
    assert run.validation["macro_f1"] in best


def test_the_history_is_no_part_of_the_version(bench: Bench) -> None:
    run = bench.train("run")
    (event,) = bench.registry.events(run.version)
    assert event["kind"] == "history" and "history" not in run.version.manifest_bytes.decode()
    assert not [path for path in bench.registry.path(run.version).rglob("*") if "history" in path.name]
    exported = bench.folder / "exported"
    ahf.export(run.reference, exported, registry=bench.registry)
    assert exported.is_dir() and not [path for path in exported.rglob("*") if "history" in path.name]


LOG: list[dict[str, Any]] = [
    {"step": 1, "epoch": 0.5, "loss": 4.0, "grad_norm": math.inf, "learning_rate": 0.5},
    {"step": 2, "epoch": 1.0, "loss": 2.0, "grad_norm": 1.0, "learning_rate": 0.25},
    {"step": 2, "epoch": 1.0, "eval_loss": math.nan, "eval_runtime": 3.0, "eval_samples_per_second": 9.0},
    {"step": 3, "epoch": 1.5, "loss": 1.0, "learning_rate": 0.0},
    {"step": 3, "epoch": 1.5, "eval_loss": 0.5, "eval_mae": 0.25},
    {"step": 3, "epoch": 1.5, "train_runtime": 2.0, "train_loss": 2.0},
]


def test_numbers_that_are_none_are_so_in_the_history() -> None:
    assert run_history(LOG) == {
        "training": {
            "step": [1, 2, 3],
            "epoch": [0.5, 1.0, 1.5],
            "loss": [4.0, 2.0, 1.0],
            "learning_rate": [0.5, 0.25, 0.0],
            "grad_norm": [None, 1.0, None],
        },
        "validation": {"step": [2, 3], "epoch": [1.0, 1.5], "loss": [None, 0.5], "mae": [None, 0.25]},
    }
    assert losses_by_epoch(LOG) == [3.0, 1.0]


def test_a_long_run_keeps_a_part_of_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    assert run_history(LOG)["training"]["step"] == [1, 3]
