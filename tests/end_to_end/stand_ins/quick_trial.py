"""A trial of a sweep that trains nothing, run as `python quick_trial.py FOLDER`: its score is its task's alone.

It ends with its parent, waits for its lock and writes its result as a real trial does, with the same code. `behave` in
the recipe's description makes it fail, end without a result, or be killed by a signal.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

from adapterhub_fin.engine.sweeping import trial
from adapterhub_fin.engine.sweeping.folder import COMPLETE, MEASURED


def score(task: dict[str, Any], number: int) -> float:
    text = json.dumps([task["combination"], task["seed"], task["fold"], number])
    return int(sha256(text.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF


def quick(task: dict[str, Any], folder: Path) -> dict[str, Any]:
    behave = json.loads(task["recipe"].get("description") or "{}")
    with (folder / "starts").open("a") as file:
        file.write(f"{os.getpid()}\n")
    for number in range(1, 4):
        time.sleep(behave.get("seconds", 0.02))
        line = {"number": number, "score": score(task, number), "step": number, "steps": 3}
        with (folder / MEASURED).open("a") as file:
            file.write(json.dumps(line) + "\n")
    rank = dict(task["combination"]).get("method.rank", "")
    is_first = (folder / "starts").read_text().count("\n") == 1
    if rank == behave.get("killed") or (rank == behave.get("killed once") and is_first):
        os.kill(os.getpid(), signal.SIGKILL)
    if rank == behave.get("ended"):
        os._exit(3)
    if rank == behave.get("failed"):
        raise ValueError("the method broke")
    return {"state": COMPLETE, "score": score(task, 3), "steps": 3, "base": behave.get("base", "one")}


if __name__ == "__main__":
    setattr(trial, trial._validated.__name__, quick)
    trial.main(Path(sys.argv[1]))
