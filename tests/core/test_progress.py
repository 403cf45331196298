"""What long work says where nobody draws a bar: a line when one is due, with what is left, and never an error."""

from __future__ import annotations

import os
import pty
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from adapterhub_fin.engine.training.progress_bar import ProgressBar
from adapterhub_fin.plugin import progress_lines as module
from adapterhub_fin.plugin.progress_lines import ProgressLines, progress, time_text
from adapterhub_fin.testing.forked import start_forked


class Clock:
    """Represent a clock that stands still until it is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_line_is_printed_when_it_is_due(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    lines = ProgressLines("training: step", 1200, 200, clock)
    for clock.now, done in ((1.0, 210), (29.9, 280), (30.0, 300), (31.0, 310), (59.0, 390), (61.0, 400)):
        lines.show(done, "loss 0.5000")
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "training: step 300 of 1,200, loss 0.5000, 4 min left",  # of a run that was resumed at step 200
        "training: step 400 of 1,200, loss 0.5000, 4 min left",
    ]


def test_the_end_has_nothing_left_and_a_line_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    lines = ProgressLines("measuring", 8, clock=Clock())
    lines.show(8, at_once=True)
    assert capsys.readouterr().err == "measuring 8 of 8\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (91, "2 min"), (5399, "90 min"), (9000, "2.5 h")]
)
def test_a_duration_has_the_unit_that_fits(seconds: float, text: str) -> None:
    assert time_text(seconds) == text


def test_work_goes_on_where_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as closed:  # noqa: PTH123 - a pipe whose reader is gone
        monkeypatch.setattr(sys, "stderr", closed)
        module.say("lost")
        monkeypatch.undo()
        with suppress(OSError):
            closed.close()


def test_work_in_a_pipe_tells_of_itself(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(module, "EVERY", 0.0)
    with progress("answering", 4) as advance:
        advance(2)
        advance(2)
    assert [line.split(", ")[0] for line in capsys.readouterr().err.splitlines()] == [
        "answering 2 of 4",
        "answering 4 of 4",
    ]
    with progress("answering", 4, shown=False) as advance:
        advance(4)
    assert capsys.readouterr().err == ""


def _state(step: int, epoch: float, **fields: Any) -> Any:
    return SimpleNamespace(global_step=step, max_steps=20, epoch=epoch, is_world_process_zero=True, **fields)


def test_a_run_says_its_loss_and_its_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    bar = ProgressBar("macro_f1")
    bar.on_train_begin(None, _state(0, 0), None)
    for step in range(1, 11):
        bar.on_log(None, _state(step, step / 10), None, logs={"loss": 1 / step})
    bar.on_evaluate(None, _state(10, 1.0), None, metrics={"eval_macro_f1": 0.4126})
    bar.on_log(None, _state(10, 1.0), None, logs={"eval_loss": 3.0})
    bar.on_train_end(None, _state(10, 1.0), None)
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("training: step 10 of 20, loss 0.1000, epoch 1: validation macro_f1 0.413, ")
    assert line.endswith(" s left")


SCRIPT = """
import sys
from types import SimpleNamespace
from adapterhub_fin.engine.training.progress_bar import ProgressBar
bar = ProgressBar("accuracy")
state = SimpleNamespace(global_step=0, max_steps=4, epoch=0.0, is_world_process_zero=True)
bar.on_train_begin(None, state, None)
state.global_step = 2
bar.on_log(None, state, None, logs={"loss": 0.1234})
bar.bar.refresh()
bar.on_train_end(None, state, None)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_the_bar_on_a_terminal_shows_the_loss(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    environment = {"COLUMNS": "120", "TERM": "xterm"}
    ran = start_forked("-c", SCRIPT, environment=environment, stderr=os.ttyname(slave))
    ran.wait()
    os.close(slave)
    shown = os.read(master, 100_000).decode()
    os.close(master)
    assert ran.returncode == 0 and "training" in shown and "2/4" in shown and "loss 0.1234" in shown
