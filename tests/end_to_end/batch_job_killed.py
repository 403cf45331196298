"""Kill the batch job at each call that changes a file, run it again, and print what each point left; one process a run.

Reads {"arguments": [...], "script": path, "out": folder} as JSON; run by test_batch_job.py. Each point has a folder of
its own, `out/N`. The first run, in this process, imports everything, so that a run in a fork takes little.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

CHANGES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def kill_before(number: int, folder: Path) -> None:
    """Kill this process before its change of that number in a folder; 0 never does."""
    numbers = count(1)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in CHANGES or not str(arguments[0]).startswith(str(folder)):
            return
        if event == "open" and not arguments[2] & WRITES:
            return
        if next(numbers) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def in_child(work: Callable[[], int]) -> int:
    """Return the exit status of the work in a fork; -9 where it was killed."""
    child = os.fork()
    if child == 0:
        status = 99
        try:
            status = work()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run(task: dict[str, Any], number: int) -> int:
    """Run the job into the folder of this point, and kill it there; a number below 0 never does."""
    out = Path(task["out"]) / str(abs(number))
    if number > 0:
        kill_before(number, out)
    return int(runpy.run_path(task["script"])["main"]([*task["arguments"], str(out), *task["options"]]))


def files(folder: Path) -> dict[str, str]:
    """Return the scored files that a reader sees, by name."""
    return {path.name: path.read_bytes().hex() for path in sorted(folder.glob("*")) if path.is_file()}


def main() -> None:
    """Print, for each point until the job ends by itself: its status, then what it left, and the same run again."""
    task, points = json.load(sys.stdin), []
    assert run(task, 0) == 0
    for number in count(1):
        status = in_child(lambda number=number: run(task, number))  # type: ignore[misc]
        left = files(Path(task["out"]) / str(number))
        again = in_child(lambda number=number: run(task, -number))  # type: ignore[misc]
        points.append([status, left, again, files(Path(task["out"]) / str(number))])
        if status != -signal.SIGKILL:
            break
    print(json.dumps(points))


if __name__ == "__main__":
    main()
