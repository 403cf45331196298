"""Train in several processes, with `torchrun -m adapterhub_fin.testing.several TASK.json`."""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adapterhub_fin.testing.forked import start_forked
from adapterhub_fin.testing.fresh import CALM


def train_in_processes(
    recipe: Mapping[str, Any],
    registry: Path,
    folder: Path,
    processes: int,
    accelerate: Path | None = None,
    *,
    resume: bool = False,
    forked: bool = False,
    kill: int | None = None,
) -> dict[str, Any]:
    """Train with torchrun, or as a configuration of accelerate says; `resume` continues an interrupted run.

    The recipe of a base is one with `base.new`.

    `forked` starts the processes as torchrun does, as forks that need not import torch again. With `kill`, each is
    killed after that optimizer step, and nothing is returned.

    Returns the reference, losses and metrics, the kinds of the model's parameters while it trains, and whether the
    process group was left.

    Raises AssertionError with the end of standard error if the processes fail.
    """
    task, result_path = folder / "task.json", folder / "result.json"
    request = {"recipe": recipe, "registry": str(registry), "result": str(result_path), "resume": resume, "kill": kill}
    task.write_text(json.dumps(request, default=str))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    if accelerate is not None:
        launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(accelerate)]
        launch.append(f"--num_processes={processes}")
    if forked:
        status, error = _fork(processes, str(task))
    else:
        command = [*launch, "-m", __name__, str(task)]
        ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **CALM})
        status, error = ran.returncode, ran.stderr
    if kill is not None:
        assert status == -signal.SIGKILL, f"the processes were not killed:\n{error[-3000:]}"
        return {}
    assert status == 0, f"the processes failed:\n{error[-6000:]}"
    result: dict[str, Any] = json.loads(result_path.read_text())
    return result


def _fork(processes: int, task: str) -> tuple[int, str]:
    """Return the first exit status that is not 0, and standard error; the other processes are ended where one fails."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(processes)}
    group["LOCAL_WORLD_SIZE"] = group["WORLD_SIZE"]
    children = [
        start_forked("-m", __name__, task, environment={**group, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(processes)
    ]
    while None in (statuses := [child.poll() for child in children]) and not any(statuses):
        time.sleep(0.01)
    for child in children:
        child.kill()
    return next((status for status in statuses if status), 0), "".join(child.stderr for child in children)


def _train(task: dict[str, Any]) -> None:
    import adapterhub_fin as ahf
    from adapterhub_fin.engine.pretraining import pretrain as pretraining
    from adapterhub_fin.engine.training import train as training
    from adapterhub_fin.engine.training.distributed import is_first
    from adapterhub_fin.engine.training.fitting import train_to_end
    from adapterhub_fin.testing.killed import kill_after
    from adapterhub_fin.testing.tiny import tiny_corpus

    result: dict[str, Any] = {}
    if is_first():
        atexit.register(_write, result, Path(task["result"]))  # registered first, so it runs last
    tiny_corpus()
    if task["kill"] is not None:
        kill_after(task["kill"])
    train = train_to_end

    def watched(trainer: Any, folder: Any) -> None:
        train(trainer, folder)
        kinds = {(type(value).__name__, value.requires_grad) for value in trainer.adapted.parameters()}
        result["kinds"] = sorted(kinds)

    for module in (training, pretraining):
        setattr(module, train.__name__, watched)
    start: Any = ahf.pretrain if "new" in task["recipe"]["base"] else ahf.train
    run = start(task["recipe"], registry=ahf.Registry(task["registry"]), resume=task["resume"])
    result |= {"reference": run.reference, "losses": list(run.losses), "metrics": dict(run.metrics)}


def _write(result: dict[str, Any], path: Path) -> None:
    from torch import distributed

    path.write_text(json.dumps({**result, "left": not distributed.is_initialized()}))


if __name__ == "__main__":
    from adapterhub_fin.engine.training.distributed import end

    _train(json.loads(Path(sys.argv[1]).read_text()))
    end(0)
