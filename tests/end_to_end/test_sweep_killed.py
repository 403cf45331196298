"""A sweep that SIGKILL ends at any moment goes on to the same table; with Optuna, nothing finished is lost or redone.

The trials train nothing (stand_ins/quick_trial.py), so that a sweep takes seconds; processes, pipes, locks, files and
signals are the real ones. `make sweeps` tries many more moments.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import sweep_killed  # noqa: E402

from adapterhub_fin.engine.sweeping.combinations import Job  # noqa: E402
from adapterhub_fin.engine.sweeping.folder import SweepFolder  # noqa: E402
from adapterhub_fin.errors import BadRecipe  # noqa: E402

KILLS = range(40) if os.environ.get("AHF_EVERY_KILL") else range(1)
GRID = {"over": {"method.rank": [2, 4]}, "processes": 2}
OPTUNA = {
    "over": {"method.rank": [2, 4, 8], "training.learning_rate": "1e-5..1e-1,log"},
    "options": {"search": "optuna", "trials": 6, "seeds": 1},
    "processes": 2,
}


def task_of(folder: Path, task: dict[str, Any], **behave: Any) -> dict[str, Any]:
    return {**task, "registry": str(folder / "registry"), "recipe": {"description": json.dumps(behave)}}


def start(folder: Path, task: dict[str, Any]) -> subprocess.Popen[str]:
    path = folder / "task.json"
    path.write_text(json.dumps(task))
    command = [sys.executable, str(HERE / "sweep_killed.py"), str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(folder: Path, task: dict[str, Any]) -> dict[str, Any]:
    process = start(folder, task)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err[-3000:]
    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    return result


def results(folder: Path) -> dict[Path, tuple[str, int]]:
    """Return the finished trials: what each result says, and when it was written."""
    return {
        path: (path.read_text(), path.stat().st_mtime_ns)
        for path in folder.glob("registry/runs/*/trials/*/result.json")
    }


def starts(folder: Path) -> dict[Path, list[int]]:
    """Return the processes of each trial."""
    paths = folder.glob("registry/runs/*/trials/*/starts")
    return {path.parent: [int(line) for line in path.read_text().splitlines()] for path in paths}


def kill_after(folder: Path, task: dict[str, Any], count: int, delay: float) -> dict[Path, tuple[str, int]]:
    """Kill the sweep's process once `count` trials have ended, and see that none of its trials' processes lives on."""
    process = start(folder, task)
    while len(results(folder)) < count and process.poll() is None:
        time.sleep(0.005)
    time.sleep(delay)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 20
    while alive := [pid for pids in starts(folder).values() for pid in pids if is_alive(pid)]:
        assert time.monotonic() < deadline, f"{alive} outlived the sweep"
        time.sleep(0.01)
    return results(folder)


def is_alive(pid: int) -> bool:
    """Return whether a process runs: one that has ended, and that nobody waited for yet, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("whole")
    return finish(folder, task_of(folder, GRID))


@pytest.mark.parametrize("number", KILLS)
def test_a_grid_goes_on_to_the_same_table(number: int, tmp_path: Path, whole: dict[str, Any]) -> None:
    task, rng = task_of(tmp_path, GRID), random.Random(number)
    for count in sorted(rng.sample(range(4), 2)):
        ended = kill_after(tmp_path, task, count, rng.uniform(0, 0.4))
        before = starts(tmp_path)
    tasks = {path: (path.parent / "task.json").stat().st_mtime_ns for path in ended}
    resumed = finish(tmp_path, task)
    assert resumed["rows"] == whole["rows"] and len(resumed["rows"]) == 2
    assert {path: results(tmp_path)[path] for path in ended} == ended, "a finished trial was run again"
    assert all(starts(tmp_path)[path.parent] == before[path.parent] for path in ended)
    assert {path: (path.parent / "task.json").stat().st_mtime_ns for path in ended} == tasks, "it was started again"
    assert len(results(tmp_path)) == 4


def test_trials_end_with_the_sweep_whatever_ends_it(tmp_path: Path) -> None:
    process = start(tmp_path, task_of(tmp_path, GRID, seconds=60))
    while len(starts(tmp_path)) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 30  # half of what they would take for their first evaluation
    while any(is_alive(pid) for pids in starts(tmp_path).values() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert not results(tmp_path)


@pytest.mark.parametrize("number", KILLS)
def test_optuna_neither_loses_nor_repeats_a_finished_trial(number: int, tmp_path: Path) -> None:
    import optuna

    task, rng = task_of(tmp_path, OPTUNA), random.Random(1000 + number)
    for count in sorted(rng.sample(range(6), 2)):
        ended = kill_after(tmp_path, task, count, rng.uniform(0, 0.4))
        before = starts(tmp_path)
    resumed = finish(tmp_path, task)
    assert {path: results(tmp_path)[path] for path in ended} == ended
    assert all(starts(tmp_path)[path.parent] == before[path.parent] for path in ended)
    options = [json.dumps(row["options"]) for row in resumed["rows"]]
    assert len(options) == len(set(options)) == 6
    study = optuna.load_study(study_name="sweep", storage=f"sqlite:///{resumed['folder']}/study.db")
    states = [trial.state.name for trial in study.trials if "repeats" not in trial.user_attrs]
    assert sorted(states) == sorted(row["state"].upper() for row in resumed["rows"])
    scores = [trial.value for trial in study.trials if trial.state.name == "COMPLETE"]
    assert scores == [row["score"] for row in resumed["rows"] if row["score"] is not None]


def test_optuna_prunes_by_the_validation_scores(tmp_path: Path) -> None:
    task = {**OPTUNA, "options": {"search": "optuna", "trials": 9, "seeds": 1}}
    rows = finish(tmp_path, task_of(tmp_path, task, seconds=0.5))["rows"]
    pruned = [row for row in rows if row["state"] == "pruned"]
    assert pruned and all(row["score"] is None and "pruned after evaluation" in row["reason"] for row in pruned)
    assert [row["state"] for row in rows[:3]] == ["complete"] * 3  # until five are over, none is


def test_optuna_runs_several_at_a_time_and_stops_where_all_was_tried(tmp_path: Path) -> None:
    task = {
        "over": {"method.rank": [2, 4, 8]},
        "options": {"search": "optuna", "trials": 9, "seeds": 1},
        "processes": 3,
    }
    rows = finish(tmp_path, task_of(tmp_path, task))["rows"]
    assert sorted(row["options"]["method.rank"] for row in rows) == ["2", "4", "8"]


def test_a_trial_whose_process_is_killed_goes_on(tmp_path: Path, whole: dict[str, Any]) -> None:
    task = task_of(tmp_path, GRID, **{"killed once": "4"})
    assert finish(tmp_path, task)["rows"] == whole["rows"]
    assert sorted(len(pids) for pids in starts(tmp_path).values()) == [1, 1, 2, 2]


def test_a_trial_that_fails_is_in_the_table_with_its_reason(tmp_path: Path, whole: dict[str, Any]) -> None:
    behave = {"killed": "2", "ended": "4", "failed": "8"}
    task = task_of(tmp_path, {**GRID, "over": {"method.rank": [2, 4, 8, 16]}, "options": {"seeds": 1}}, **behave)
    killed, ended, failed, complete = finish(tmp_path, task)["rows"]
    assert [row["state"] for row in (killed, ended, failed, complete)] == ["failed", "failed", "failed", "complete"]
    assert killed["reason"].startswith("seed 0: its process was killed by SIGKILL 3 times, which happens where memory")
    assert ended["reason"].startswith("seed 0: its process ended with status 3 and no result: ")
    assert failed["reason"] == "seed 0: ValueError: the method broke"
    assert not any(row["score"] or row["scores"] for row in (killed, ended, failed)) and complete["score"]
    assert max(len(pids) for pids in starts(tmp_path).values()) == 3
    again = finish(tmp_path, task)  # what failed is tried again: its cause may be gone
    assert again["rows"][3] == complete and max(len(pids) for pids in starts(tmp_path).values()) == 6


def test_two_processes_can_t_run_one_sweep(tmp_path: Path) -> None:
    task = task_of(tmp_path, GRID, seconds=0.5)
    process = start(tmp_path, task)
    try:
        while not starts(tmp_path):
            assert process.poll() is None
            time.sleep(0.02)
        with pytest.raises(BadRecipe, match="this sweep runs in another process"):
            sweep_killed.run(task)
    finally:
        process.kill()
        process.communicate()


def test_ctrl_c_ends_the_trials_too(tmp_path: Path) -> None:
    process = start(tmp_path, task_of(tmp_path, GRID, seconds=5))
    while not starts(tmp_path):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert not [pid for pids in starts(tmp_path).values() for pid in pids if is_alive(pid)]


def test_a_base_that_changes_meanwhile_is_noticed(tmp_path: Path) -> None:
    task = task_of(tmp_path, GRID)
    folder = Path(finish(tmp_path, task)["folder"])
    record = json.loads((folder / "sweep.json").read_text())
    assert record["inputs"]["base"] == "one"
    record["inputs"]["base"] = "another"
    (folder / "sweep.json").write_text(json.dumps(record))
    process = start(tmp_path, task)
    assert process.wait() == 1 and "had another base (another) than there is now (one)" in str(process.stderr.read())  # type: ignore[union-attr]


def test_a_job_has_the_same_folder_in_every_process() -> None:
    job = Job((("method.rank", "4"),), 1, None)
    assert job.key == Job((("method.rank", "4"),), 1, None).key == "a8c16f00d77d34b9"
    assert SweepFolder(Path("sweep"), None).of(job).name == job.key  # type: ignore[arg-type]
