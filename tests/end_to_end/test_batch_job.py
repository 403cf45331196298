"""The nightly job in examples/: each file is scored exactly once, wherever a run of it is killed."""

from __future__ import annotations

import json
import runpy
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import adapterhub_fin as ahf
from adapterhub_fin.engine.training.run import Run
from adapterhub_fin.testing.forked import ForkedProcess, run_forked, start_forked

JOB = Path(__file__).parents[2] / "examples" / "batch_job.py"
KILLED = Path(__file__).with_name("batch_job_killed.py")
TEXTS = [f"Firm {number}: profit {'rose' if number % 2 else 'fell'}." for number in range(40)]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the job locks with flock")


@pytest.fixture
def desk(trained: Run, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a registry of this test's own with acme/tone@1 as champion, and an inbox with two files."""
    source = ahf.Registry(trained.version.folder.parents[4])
    registry = ahf.Registry(tmp_path / "registry")
    registry.add(source.path("acme/tone@1"), trained.version.manifest, name="acme/tone")
    registry.set_alias("acme/tone", "champion", 1)
    monkeypatch.setenv("AHF_HOME", str(registry.root))
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (inbox / "a.jsonl").write_text("".join(f"{json.dumps({'id': n, 'title': t})}\n" for n, t in enumerate(TEXTS)))
    pd.DataFrame({"title": TEXTS[:9]}).to_parquet(inbox / "b.parquet")
    (inbox / ".c.jsonl").write_text("half a ro")
    return tmp_path


def start(desk: Path, base: Path, reference: str = "acme/tone@champion") -> ForkedProcess:
    folders = [str(desk / "inbox"), str(desk / "out")]
    return start_forked(str(JOB), reference, *folders, "--text", "title", "--base", str(base))


def run(desk: Path, base: Path, reference: str = "acme/tone@champion") -> tuple[int, list[str]]:
    process = start(desk, base, reference)
    status = process.wait()
    return status, [line for line in process.stderr.splitlines() if "Z " in line]


def scored(desk: Path) -> dict[str, Any]:
    return {path.name: path.read_bytes() for path in (desk / "out").iterdir() if path.is_file()}


def test_each_file_is_scored_once_with_the_version_of_the_first_run(
    desk: Path, encoder: Path, trained: Run, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "batch_job")

    def run_here() -> tuple[int, list[str]]:
        caplog.clear()
        folders = ["acme/tone@champion", str(desk / "inbox"), str(desk / "out")]
        status = runpy.run_path(str(JOB))["main"]([*folders, "--text", "title", "--base", str(encoder)])
        return status, [f"{r.levelname} {r.getMessage()}" for r in caplog.records if r.name == "batch_job"]

    status, log = run_here()
    assert status == 0 and len(log) == 3, "\n".join(log)
    assert "INFO a.jsonl: 40 rows in " in log[0] and log[0].endswith("with acme/tone@1")
    assert log[2].endswith("2 files scored with acme/tone@1, 0 not scored, 0 before")
    table = pd.read_json(desk / "out" / "a.jsonl", lines=True)
    assert list(table["predicted_label"]) == [answer.label for answer in trained.adapter.predict(TEXTS)]
    assert set(table["reference"]) == {"acme/tone@1"} and list(table["id"]) == list(range(40))
    assert len(pd.read_parquet(desk / "out" / "b.parquet")) == 9

    registry = ahf.Registry()
    manifest = trained.version.manifest.model_copy(update={"description": "another"})
    registry.add(registry.path("acme/tone@1"), manifest, name="acme/tone")
    registry.set_alias("acme/tone", "champion", 2)
    pd.DataFrame({"title": TEXTS[:2]}).to_parquet(desk / "inbox" / "d.parquet")
    (desk / "inbox" / "bad.jsonl").write_text('{"title": "Firm 1"}\n{"title": ""}\n')
    (desk / "inbox" / "a.jsonl").write_text('{"title": "another file of this name"}\n')
    before = scored(desk)
    status, log = run_here()
    assert status == 1 and len(log) == 4, log
    assert "a.jsonl was scored from another file of this name" in log[0] and "ERROR a.jsonl" in log[0]
    assert "ERROR bad.jsonl: not scored: " in log[1] and "bad.jsonl, line 2: text is empty" in log[1]
    assert "d.parquet: 2 rows" in log[2] and log[3].endswith("1 files scored with acme/tone@1, 2 not scored, 1 before")
    assert before.items() < scored(desk).items() and set(scored(desk)) == {"a.jsonl", "b.parquet", "d.parquet"}


def test_what_the_job_can_not_do_is_a_status_and_a_sentence(desk: Path, encoder: Path) -> None:
    status, log = run(desk, encoder, "acme/nobody")
    assert status == 2 and "the job could not run: " in log[0] and "acme/nobody" in log[0]
    import fcntl

    with (desk / "out" / ".job" / "at-work").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        status, log = run(desk, encoder)
    assert status == 75 and "another run is at work" in log[0] and len(log) == 1
    assert not scored(desk)


def test_a_process_that_is_killed_is_run_again(desk: Path, encoder: Path) -> None:
    with (desk / "inbox" / "b.jsonl").open("w") as file:
        file.writelines(f"{json.dumps({'title': text})}\n" for text in TEXTS * 500)
    process = start(desk, encoder)
    while not (desk / "out" / "a.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.01)
    first = scored(desk)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and "b.jsonl" not in scored(desk)
    (desk / "inbox" / "b.jsonl").write_text("".join(f"{json.dumps({'title': text})}\n" for text in TEXTS))
    status, log = run(desk, encoder)
    assert (
        status == 0
        and log[-1][10] == "T"
        and log[-1].endswith("2 files scored with acme/tone@1, 0 not scored, 1 before")
    )
    assert first.items() < scored(desk).items() and not any((desk / "out" / ".job" / "drafts").iterdir())


def test_wherever_it_is_killed_the_next_run_ends_with_the_same_files(desk: Path, encoder: Path) -> None:
    options = ["--text", "title", "--base", str(encoder)]
    arguments = ["acme/tone@champion", str(desk / "inbox")]
    task = {"script": str(JOB), "arguments": arguments, "options": options, "out": str(desk / "points")}
    done = run_forked(str(KILLED), text=json.dumps(task))
    assert done.returncode == 0, done.stderr
    points = json.loads(done.stdout.splitlines()[-1])
    whole = points[-1][1]
    assert len(points) > 12 and points[-1][0] == 0 and set(whole) == {"a.jsonl", "b.parquet"}
    for number, (status, left, again, after) in enumerate(points[:-1], 1):
        assert status == -signal.SIGKILL and again == 0, number
        assert left.items() <= whole.items() and after == whole, number
    assert {len(left) for _, left, *_ in points} == {0, 1, 2}
