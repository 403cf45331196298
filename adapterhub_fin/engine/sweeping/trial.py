"""Run one trial of a sweep in a process of its own: `python -m adapterhub_fin.engine.sweeping.trial FOLDER`.

The process ends with the one that started it: it reads a pipe that nobody writes to, which ends when the parent does,
in whatever way that was. A lock keeps a later process of the same trial waiting until this one is gone.
"""

from __future__ import annotations

import json
import math
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, Final

from filelock import FileLock

from adapterhub_fin.engine.sweeping.folder import COMPLETE, FAILED, LOCK, MEASURED, RESULT, RUN, TASK, read_result
from adapterhub_fin.engine.training.run_folder import write_json
from adapterhub_fin.errors import AdapterHubError

PATIENCE: Final = 120.0  # seconds for an earlier process of the same trial to end


def main(folder: Path) -> None:
    """Run the trial whose task is in a folder, and write its result there: a score, or the reason why it has none."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with FileLock(folder / LOCK, timeout=PATIENCE):
        if read_result(folder) is not None:
            return
        task = json.loads((folder / TASK).read_text(encoding="utf-8"))
        try:
            result = _validated(task, folder)
        except Exception as error:  # of a plugin, of torch: the sweep goes on, and its table has the reason
            traceback.print_exc()
            reason = str(error) if isinstance(error, AdapterHubError) else f"{type(error).__name__}: {error}"
            result = {"state": FAILED, "reason": reason}
        write_json(folder / RESULT, result)


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)  # at once: nothing that is only half done may go on


def _validated(task: dict[str, Any], folder: Path) -> dict[str, Any]:
    from adapterhub_fin.engine.sweeping.folds import prepare_fold
    from adapterhub_fin.engine.sweeping.validating import validate
    from adapterhub_fin.engine.training.prepare import prepare
    from adapterhub_fin.plugin.memory import restored
    from adapterhub_fin.recipe.recipe import Recipe
    from adapterhub_fin_registry import Registry

    registry = Registry(task["registry"])
    recipe = Recipe.read(task["recipe"])
    memory_rows = restored(recipe.document(), registry.root / "runs")
    if task["fold"] is None:
        prepared = prepare(recipe, download=task["download"], registry=registry)
    else:
        prepared = prepare_fold(recipe, task["folds"], task["fold"], download=task["download"], registry=registry)

    def measured(number: int, score: float, step: int, steps: int) -> None:
        line = {"number": number, "score": score if math.isfinite(score) else None, "step": step, "steps": steps}
        with (folder / MEASURED).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    validated = validate(prepared, folder / RUN, registry.root / "tensorboard" / folder.name, measured)
    del memory_rows
    return {"state": COMPLETE, "score": validated.score, "steps": validated.steps, "base": validated.base}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
