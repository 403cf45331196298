"""Run Python in forks of one process that has imported torch, Transformers and PEFT.

A new interpreter takes five seconds of a core to import them. The child of a fork has them at once, and is otherwise a
process of its own: it prints, exits and is killed as any other. The parent, `python -m adapterhub_fin.testing.forked`,
only imports: no thread of Python, model or registry is ever in it. A test of imports, or of what the environment says
to a module while it is imported, needs `subprocess`.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import weakref
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from adapterhub_fin.testing.fresh import CALM

IMPORTED = (  # nothing of `adapterhub_fin.cli` and `adapterhub_fin.testing`, whose modules are run by name
    *("torch", "transformers", "peft", "datasets", "pandas", "pyarrow.parquet", "scipy.stats", "rich.progress"),
    *("transformers.trainer", "transformers.models.bert.modeling_bert", "transformers.models.llama.modeling_llama"),
    *("adapterhub_fin.engine.training.train", "adapterhub_fin.engine.training.trainer"),
)
WRITE = os.O_WRONLY | os.O_CREAT | os.O_APPEND
STREAMS = {"stdin": os.O_RDONLY, "stdout": WRITE, "stderr": WRITE}
LOCK = threading.Lock()  # one task and its answer at a time


class ForkedProcess:
    """Represent one child that was started, with what tests use of `subprocess.Popen`."""

    def __init__(self, pid: int, folder: Path, stdin: IO[bytes] | None) -> None:
        self.pid, self.stdin, self._folder = pid, stdin, folder
        self.returncode: int | None = None
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    @property
    def stdout(self) -> str:
        """Return what the child has printed so far."""
        return (self._folder / "stdout").read_text()

    @property
    def stderr(self) -> str:
        """Return what the child has written to standard error so far."""
        return (self._folder / "stderr").read_text()

    def poll(self) -> int | None:
        """Return the exit status, which is negative for a signal, or None while the child runs."""
        if self.returncode is None:
            self.returncode = _ask({"wait": self.pid})
            if self.returncode is not None and self.stdin is not None:
                self.stdin.close()
        return self.returncode

    def kill(self) -> None:
        """Send the child SIGKILL unless it has ended."""
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: int) -> None:
        """Send a signal to the child unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def wait(self, timeout: float = 300) -> int:
        """Return the exit status. Kills the child and raises TimeoutError if it takes longer than `timeout` seconds."""
        end = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > end:
                self.kill()
                raise TimeoutError(f"the process ran for more than {timeout:g} s:\n{self.stderr[-3000:]}")
            time.sleep(0.005)
        return status


def start_forked(
    *arguments: str, text: str | None = "", environment: Mapping[str, str] | None = None, **terminals: str
) -> ForkedProcess:
    """Start what `python ARGUMENTS` would run: `-m MODULE`, `-c CODE` or a script, with `text` on standard input.

    With None, standard input is a pipe that ends with this process. `environment` is added to this process's own.
    `stdout` and `stderr` are paths of terminals.
    """
    folder = Path(tempfile.mkdtemp(prefix="forked-"))
    stdin = None
    if text is None:
        os.mkfifo(folder / "stdin")
        stdin = (folder / "stdin").open("r+b", buffering=0)  # before the child opens it, which waits for a writer
    else:
        (folder / "stdin").write_text(text)
    for name in ("stdout", "stderr"):
        if name in terminals:
            (folder / name).symlink_to(terminals[name])
        else:
            (folder / name).touch()
    given = {**os.environ, **CALM, **(environment or {})}
    task = {"arguments": arguments, "environment": given, "cwd": str(Path.cwd()), "streams": str(folder)}
    return ForkedProcess(_ask(task), folder, stdin)


def run_forked(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run what `python ARGUMENTS` would run until it ends; see `start_forked`."""
    process = start_forked(*arguments, text=text)
    return subprocess.CompletedProcess(arguments, process.wait(), process.stdout, process.stderr)


def _ask(task: dict[str, Any]) -> Any:
    parent = _parent()
    assert parent.stdin is not None and parent.stdout is not None, "both are pipes"
    with LOCK:
        parent.stdin.write(json.dumps(task) + "\n")
        parent.stdin.flush()
        return json.loads(parent.stdout.readline())


@cache
def _parent() -> subprocess.Popen[str]:
    command, pipe = [sys.executable, "-m", __name__], subprocess.PIPE
    parent = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env={**os.environ, **CALM})
    atexit.register(parent.communicate)  # closes its standard input, which ends the process
    return parent


def _serve() -> list[str]:
    """Start a child for each task, and tell how children ended. Returns in a child, with what it has to run."""
    for name in IMPORTED:
        import_module(name)
    gc.collect()
    gc.freeze()  # a child's collections would copy the pages of what was imported
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in the terminal is for the tests
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    while line := requests.readline():
        task = json.loads(line)
        if "wait" in task:
            pid, status = os.waitpid(task["wait"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        elif os.fork():
            continue  # the child answers, once its streams are open
        else:
            try:
                return _begin(task)
            finally:
                os.write(answers.fileno(), f"{os.getpid()}\n".encode())
                os.close(requests.fileno())
                os.close(answers.fileno())
        print(json.dumps(answer), file=answers, flush=True)
    sys.exit()


def _begin(task: dict[str, Any]) -> list[str]:
    """Turn the child of a fork into what a new interpreter is."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(task["environment"])
    os.chdir(task["cwd"])
    folder = Path(task["streams"])
    for number, (name, flags) in enumerate(STREAMS.items()):
        file = os.open(folder / name, flags)
        os.dup2(file, number)
        os.close(file)
        stream = os.fdopen(number, "r" if number == 0 else "w", closefd=False, encoding="utf-8")
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    return list(task["arguments"])


def _run(first: str, *rest: str) -> None:
    sys.path[0] = str(Path.cwd())
    if first == "-m":
        sys.argv = list(rest)
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv, sys.path[0] = [first, *rest], str(Path(first).parent)
        runpy.run_path(first, run_name="__main__")


def _exit(status: int) -> None:
    """Leave as an interpreter does, but don't take apart what was imported, which would copy all of its pages."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    arguments = _serve()
    try:
        _run(*arguments)
        status: object = 0
    except SystemExit as leave:
        status = leave.code or 0
        if not isinstance(status, int):
            print(status, file=sys.stderr)
    except BaseException:
        status = 1
        traceback.print_exc()
    _exit(status if isinstance(status, int) else 1)
