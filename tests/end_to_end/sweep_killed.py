"""Run the trials of a sweep whose trials train nothing: `python sweep_killed.py TASK.json` prints the table as JSON.

TASK has the registry, what `define` takes, and `processes`. Everything but the training is what a sweep runs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from adapterhub_fin.engine.sweeping.definition import define
from adapterhub_fin.engine.sweeping.folder import SweepFolder
from adapterhub_fin.engine.sweeping.preparing import Inputs
from adapterhub_fin.engine.sweeping.running import Running, common_task, run_trials, search_of
from adapterhub_fin.engine.sweeping.workers import Workers
from adapterhub_fin.recipe.recipe import Recipe
from adapterhub_fin_registry import Registry

QUICK = Path(__file__).parent / "stand_ins" / "quick_trial.py"
INPUTS = Inputs("sha256:" + "0" * 64, "validation", "test", "accuracy", True, {})
COMMON = {"seeds": 2, "search": "grid", "trials": None, "search_seed": 0, "folds": None}


def run(task: dict[str, Any]) -> dict[str, Any]:
    recipe = Recipe.read({"name": "acme/tone", "corpus": "headlines", **task.get("recipe", {})})
    definition = define(recipe, task["over"], **{**COMMON, **task.get("options", {})})
    registry = Registry(task["registry"])
    folder = SweepFolder.open(registry.root / "runs", definition.document(), restart=bool(task.get("restart")))
    try:
        folder.note(threads=1)
        running = Running(definition, INPUTS, folder, registry, search_of(definition, INPUTS, folder))
        common = common_task(registry, definition.folds, download=False)
        run_trials(running, Workers(folder, task.get("processes", 2), 1, common, (sys.executable, str(QUICK))))
        return {"rows": [row.document() for row in running.rows()], "folder": str(folder.path)}
    finally:
        folder.release()


if __name__ == "__main__":
    print(json.dumps(run(json.loads(Path(sys.argv[1]).read_text()))))
