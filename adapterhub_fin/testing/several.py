"""Train in several processes, by `torchrun -m adapterhub_fin.testing.several TASK.json`."""

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


def train_in_processes(recipe: Mapping[str, Any], registry: Path, folder: Path, processes: int) -> dict[str, Any]:
    """Reference, losses and metrics of a run that torchrun spreads out, and whether it left its group in the end."""
    task, told = folder / "task.json", folder / "told.json"
    task.write_text(json.dumps({"recipe": recipe, "registry": str(registry), "told": str(told)}, default=str))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    ran = subprocess.run(
        [*launch, "-m", __name__, str(task)], capture_output=True, text=True, env={**os.environ, **CALM}
    )
    assert ran.returncode == 0, f"the processes failed:\n{ran.stderr[-3000:]}"
    found: dict[str, Any] = json.loads(told.read_text())
    return found


def _train(task: dict[str, Any]) -> None:
    import adapterhub_fin as ahf
    from adapterhub_fin.engine.training.distributed import is_first
    from adapterhub_fin.testing.tiny import tiny_corpus

    told: dict[str, Any] = {}
    if is_first():
        atexit.register(_tell, told, Path(task["told"]))  # what is registered first runs last
    tiny_corpus()
    run = ahf.train(task["recipe"], registry=ahf.Registry(task["registry"]))
    told |= {"reference": run.reference, "losses": list(run.losses), "metrics": dict(run.metrics)}


def _tell(told: dict[str, Any], path: Path) -> None:
    from torch import distributed

    path.write_text(json.dumps({**told, "left": not distributed.is_initialized()}))


if __name__ == "__main__":
    from adapterhub_fin.engine.training.distributed import end

    _train(json.loads(Path(sys.argv[1]).read_text()))
    end(0)
