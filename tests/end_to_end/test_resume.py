"""A run that SIGKILL ends at any step goes on to the weights that it would have had, to the last bit."""

from __future__ import annotations

import os
import signal
import time
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

import adapterhub_fin as ahf
from adapterhub_fin.testing.bench import Bench
from adapterhub_fin.testing.forked import start_forked
from adapterhub_fin.testing.killed import train_and_be_killed

METHODS: dict[str, dict[str, Any]] = {
    "lora": {"name": "lora", "rank": 4},
    "lora from pissa": {"name": "lora", "rank": 4, "init": "pissa"},
    "qlora": {"name": "qlora", "rank": 4},
    "adalora": {"name": "adalora", "initial_rank": 4, "target_rank": 2},
    "prefix-tuning": {"name": "prefix-tuning", "tokens": 4},
    "prefix-tuning through a projection": {"name": "prefix-tuning", "tokens": 4, "projection": True},
    "prompt-tuning": {"name": "prompt-tuning", "tokens": 4},
    "p-tuning": {"name": "p-tuning", "tokens": 4},
    "oft": {"name": "peft:oft"},
}
# Those that keep a state of their own; all of them, each killed at more steps, take minutes: `make resumes`.
EXHAUSTIVE = bool(os.environ.get("AHF_EVERY_RESUME"))
KILLS = 6 if EXHAUSTIVE else 2
TRIED = list(METHODS) if EXHAUSTIVE else ["lora", "adalora"]
STEPS = 15  # three epochs of five steps
WEIGHTS = "adapter_model.safetensors"


@cache
def uninterrupted(name: str, folder: Path) -> tuple[dict[str, Any], ahf.Registry, Any]:
    """A whole run: its recipe, the registry where it can be repeated, and what it gave."""
    bench = Bench(folder, "encoder" if "pissa" not in name else "decoder", METHODS[name], {"name": "classify"})
    recipe = {**bench.recipe("run"), "base": {"path": str(bench.base())}}
    # Small enough that no validation metric stops it, and that the best checkpoint is not always the last.
    recipe["training"] = {**recipe["training"], "epochs": 3, "checkpoint_steps": 2, "patience": 9}
    return recipe, bench.registry, ahf.train(recipe, registry=bench.registry)


@pytest.mark.parametrize("name", TRIED)
@settings(max_examples=KILLS, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(step=st.integers(1, STEPS))
def test_killed_and_resumed_is_uninterrupted(name: str, step: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    recipe, registry, whole = uninterrupted(name, tmp_path_factory.getbasetemp() / name.replace(" ", "-"))
    assert whole.steps == STEPS
    train_and_be_killed(recipe, registry.root, step)
    resumed = ahf.train(recipe, registry=registry, resume=True)
    wanted, found = (load_file(run.version.files / WEIGHTS) for run in (whole, resumed))
    assert wanted.keys() == found.keys()
    differing = [key for key in wanted if not wanted[key].equal(found[key])]
    assert not differing, f"{len(differing)} tensors differ, first {differing[0]}"
    assert dict(resumed.metrics) == dict(whole.metrics)
    assert resumed.history == whole.history == registry.history(resumed.version)
    assert whole.history["training"]["step"] == list(range(1, STEPS + 1))
    assert not list((registry.root / "runs").iterdir())


def interrupted(folder: Path, **training: Any) -> tuple[dict[str, Any], ahf.Registry]:
    """A recipe whose run was killed after its second checkpoint."""
    bench = Bench(folder, "encoder", METHODS["lora"], {"name": "classify"})
    recipe = {**bench.recipe("run", **training), "base": {"path": str(bench.base())}}
    train_and_be_killed(recipe, bench.registry.root, 8)
    return recipe, bench.registry


def test_what_broke_off_is_neither_continued_nor_thrown_away_unasked(tmp_path: Path) -> None:
    recipe, registry = interrupted(tmp_path)
    with pytest.raises(ahf.BadRecipe, match="was interrupted after step 5 .* --resume .* --restart"):
        ahf.train(recipe, registry=registry)
    with pytest.raises(ahf.BadRecipe, match="one of them"):
        ahf.train(recipe, registry=registry, resume=True, restart=True)
    anew = ahf.train(recipe, registry=registry, restart=True)
    assert anew.steps == 10 and not list((registry.root / "runs").iterdir())


def test_a_checkpoint_of_another_recipe_is_not_taken(tmp_path: Path) -> None:
    recipe, registry = interrupted(tmp_path)
    other = {**recipe, "method": {"name": "lora", "rank": 2}}
    with pytest.raises(ahf.BadRecipe, match="no interrupted run of this recipe.*contract--run-.* is of another recipe"):
        ahf.train(other, registry=registry, resume=True)
    assert ahf.train(other, registry=registry).reference == "contract/run@1"


def test_a_run_whose_data_changed_is_not_continued(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    lines = [f"Sales of firm {i} {('rose', 'fell')[i % 2]},{('up', 'down')[i % 2]}" for i in range(40)]
    rows.write_text("text,label\n" + "\n".join(lines) + "\n")
    bench = Bench(
        tmp_path,
        "encoder",
        METHODS["lora"],
        {"name": "classify"},
        {"name": "table", "path": str(rows), "label": "label"},
    )
    recipe = {**bench.recipe("run", epochs=3), "base": {"path": str(bench.base())}}
    train_and_be_killed(recipe, bench.registry.root, 6)
    rows.write_text(rows.read_text() + "Sales of firm 41 rose,up\n")
    with pytest.raises(ahf.BadRecipe, match="had another corpus"):
        ahf.train(recipe, registry=bench.registry, resume=True)


def test_a_run_that_is_going_on_is_not_taken_over(tmp_path: Path) -> None:
    from adapterhub_fin.engine.training.run_folder import open_run

    recipe = ahf.Recipe.read({"name": "acme/tone", "corpus": "headlines"})
    first = open_run(tmp_path, recipe, resume=False, restart=False)
    with pytest.raises(ahf.BadRecipe, match="running in another process"):
        open_run(tmp_path, recipe, resume=True, restart=False)
    second = open_run(tmp_path, recipe, resume=False, restart=False)
    assert first.path != second.path
    first.release()
    second.remove()


def test_control_c_leaves_a_run_that_resumes(tmp_path: Path) -> None:
    base, rows = Bench(tmp_path, "encoder", METHODS["lora"], {"name": "classify"}).base(), tmp_path / "rows.csv"
    rows.write_text("text,label\n" + "".join(f"Firm {i} {'rose' if i % 2 else 'fell'},{i % 2}\n" for i in range(200)))
    recipe = {
        "name": "acme/tone",
        "base": {"path": str(base)},
        "corpus": {"name": "table", "path": str(rows), "label": "label"},
        "training": {"epochs": 24, "patience": 24, "max_length": 32},
    }
    path, home = tmp_path / "recipe.yaml", tmp_path / "home"
    path.write_text(yaml.safe_dump(recipe))
    child = start_forked("-m", "adapterhub_fin.cli", "train", str(path))
    deadline = time.monotonic() + 240
    while not list((home / "runs").glob("*/checkpoint-*/complete")):
        assert child.poll() is None and time.monotonic() < deadline, child.stderr
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    assert child.wait() == 130 and "stopped" in child.stderr and "--resume" in child.stderr
    left = ahf.Registry(home)
    assert left.names() == []
    ahf.train(recipe, registry=left, overrides=[], resume=True)
    assert left.names() == ["acme/tone"]
