"""Train in several processes, with `torchrun -m adapterhub_fin.testing.several TASK.json`."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adapterhub_fin.testing.fresh import CALM


def train_in_processes(
    recipe: Mapping[str, Any],
    registry: Path,
    folder: Path,
    processes: int,
    accelerate: Path | None = None,
    *,
    resume: bool = False,
) -> dict[str, Any]:
    """Train with torchrun, or as a configuration of accelerate says; `resume` continues an interrupted run.

    Returns the reference, losses and metrics, the kinds of the model's parameters while it trains, and whether the
    process group was left.

    Raises AssertionError with the end of standard error if the processes fail.
    """
    task, result_path = folder / "task.json", folder / "result.json"
    asked = {"recipe": recipe, "registry": str(registry), "result": str(result_path), "resume": resume}
    task.write_text(json.dumps(asked, default=str))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    if accelerate is not None:
        launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(accelerate)]
        launch.append(f"--num_processes={processes}")
    ran = subprocess.run(
        [*launch, "-m", __name__, str(task)], capture_output=True, text=True, env={**os.environ, **CALM}
    )
    assert ran.returncode == 0, f"the processes failed:\n{ran.stderr[-6000:]}"
    result: dict[str, Any] = json.loads(result_path.read_text())
    return result


def _train(task: dict[str, Any]) -> None:
    import adapterhub_fin as ahf
    from adapterhub_fin.engine.training import train as training
    from adapterhub_fin.engine.training.distributed import is_first
    from adapterhub_fin.engine.training.fitting import train_to_end
    from adapterhub_fin.testing.tiny import tiny_corpus

    result: dict[str, Any] = {}
    if is_first():
        atexit.register(_write, result, Path(task["result"]))  # registered first, so it runs last
    tiny_corpus()
    train = train_to_end

    def watched(trainer: Any, folder: Any) -> None:
        train(trainer, folder)
        kinds = {(type(value).__name__, value.requires_grad) for value in trainer.adapted.parameters()}
        result["kinds"] = sorted(kinds)

    setattr(training, train.__name__, watched)
    run = ahf.train(task["recipe"], registry=ahf.Registry(task["registry"]), resume=task["resume"])
    result |= {"reference": run.reference, "losses": list(run.losses), "metrics": dict(run.metrics)}


def _write(result: dict[str, Any], path: Path) -> None:
    from torch import distributed

    path.write_text(json.dumps({**result, "left": not distributed.is_initialized()}))


if __name__ == "__main__":
    from adapterhub_fin.engine.training.distributed import end

    _train(json.loads(Path(sys.argv[1]).read_text()))
    end(0)
