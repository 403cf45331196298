"""The forks in which tests run Python are processes of their own, which end as a new interpreter would."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from adapterhub_fin.testing.forked import run_forked, start_forked

STATE = """
import json, os, sys, threading
modules = sorted({"torch", "peft"} & set(sys.modules))
here = [os.getpid(), os.getcwd(), os.environ["AHF_HOME"], sys.argv, sys.stdin.read(), modules, threading.active_count()]
print(json.dumps(here))
"""
ENDINGS = [
    ("pass", 0, "", ""),
    ("import atexit; atexit.register(print, 'left'); raise SystemExit(3)", 3, "left\n", ""),
    ("raise SystemExit('no')", 1, "", "no\n"),
    ("print(1 / 0)", 1, "", "ZeroDivisionError: division by zero\n"),
    ("import os; os._exit(9)", 9, "", ""),
    ("import os; os.kill(os.getpid(), 15)", -15, "", ""),
    ("import threading; threading.Timer(0.05, print, ['late']).start()", 0, "late\n", ""),
]


def test_a_child_has_the_environment_folder_arguments_and_input_of_its_caller(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    numbers = []
    for _ in range(2):
        done = run_forked("-c", STATE, "a", "b", text="typed")
        number, *state = json.loads(done.stdout)
        assert state == [str(tmp_path), str(home), ["-c", "a", "b"], "typed", ["peft", "torch"], 1], done.stderr
        numbers.append(number)
    assert len({os.getpid(), *numbers}) == 3


@pytest.mark.parametrize(("code", "status", "printed", "error"), ENDINGS)
def test_a_child_ends_as_an_interpreter_does(code: str, status: int, printed: str, error: str) -> None:
    done = run_forked("-c", code)
    assert (done.returncode, done.stdout) == (status, printed)
    assert done.stderr.endswith(error) and bool(done.stderr) == bool(error)


def test_modules_and_scripts_run_by_name(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("VALUE = 7")
    (tmp_path / "script.py").write_text("import sys, beside\nprint(__name__, beside.VALUE, sys.argv[1:])")
    assert run_forked(str(tmp_path / "script.py"), "a").stdout == "__main__ 7 ['a']\n"
    assert run_forked("-m", "adapterhub_fin.cli", "show", "acme/none").returncode == 1


def test_a_running_child_shows_what_it_printed_and_takes_signals() -> None:
    for number, status in ((signal.SIGINT, 1), (signal.SIGKILL, -signal.SIGKILL)):
        child = start_forked("-c", "import time; print('ready', flush=True); time.sleep(300)")
        while "ready" not in child.stdout:
            assert child.poll() is None
        child.send_signal(number)
        assert child.wait() == status and child.poll() == status
    child = start_forked("-c", "import time; time.sleep(300)")
    with pytest.raises(TimeoutError, match="for more than 0.1 s"):
        child.wait(0.1)
    assert child.wait() == -signal.SIGKILL
