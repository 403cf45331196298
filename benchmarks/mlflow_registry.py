"""MLflow's registry, in SQLite, at the work that `benchmarks/registry.py` gives it; needs MLflow and nothing of ours.

    python benchmarks/mlflow_registry.py FOLDER ADAPTER VERSIONS

Prints the milliseconds of each repetition by operation, as JSON. FOLDER is where database and artifacts are put, and
ADAPTER the folder of an adapter to store.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
from mlflow import MlflowClient  # type: ignore[import-not-found]

TASKS = ("sentiment", "topic", "surprise", "tone", "guidance")
A_NAME = 50  # versions


def main(folder: Path, adapter: Path, versions: int) -> dict[str, list[float]]:
    address = f"sqlite:///{folder}/mlflow.db"
    client = MlflowClient(tracking_uri=address, registry_uri=address)
    experiment = client.create_experiment("bench", artifact_location=(folder / "artifacts").as_uri())
    draw = random.Random(0)
    taken: dict[str, list[float]] = {}

    def timed(operation: str, work: Callable[[], object], times: int = 1) -> None:
        for _ in range(times):
            start = time.perf_counter()
            work()
            taken.setdefault(operation, []).append((time.perf_counter() - start) * 1000)

    def store(name: str, task: str, *, with_files: bool) -> None:
        run = client.create_run(experiment)
        client.log_metric(run.info.run_id, "accuracy", draw.random())
        if with_files:
            client.log_artifacts(run.info.run_id, str(adapter), "adapter")
        source = f"{run.info.artifact_uri}/adapter"
        client.create_model_version(name, source, run_id=run.info.run_id, tags={"task": task})

    def best() -> None:
        runs = client.search_runs(
            [experiment], "metrics.accuracy > 0.85", order_by=["metrics.accuracy DESC"], max_results=50
        )
        listed = ", ".join(f"'{run.info.run_id}'" for run in runs)
        client.search_model_versions(f"run_id IN ({listed})", max_results=50)

    for place in range(versions):
        name, number = f"acme.n{place // A_NAME}", place % A_NAME + 1
        if number == 1:
            client.create_registered_model(name)
        timed("create", lambda: store(name, TASKS[place % 5], with_files=False))  # noqa: B023
        if number == A_NAME:
            timed("alias", lambda: client.set_registered_model_alias(name, "champion", "7"))  # noqa: B023
    timed("by number", lambda: client.get_model_version("acme.n0", "7"), 50)
    timed("by alias", lambda: client.get_model_version_by_alias("acme.n0", "champion"), 50)
    timed("search by tag", lambda: client.search_model_versions("tag.task = 'tone'", max_results=50), 30)
    timed("search by metric", best, 30)
    client.create_registered_model("acme.files")
    timed("store 5 MB", lambda: store("acme.files", "tone", with_files=True), 20)
    return taken


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute(), int(sys.argv[3]))))
