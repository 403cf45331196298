"""Manage the folder of a sweep: its record, its lock, and a folder for each of its runs with the run's result.

A run's result is written once, completely, by its own process. Whatever else there is can be made again from the
results, so a sweep that is killed at any moment goes on from them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from adapterhub_fin.engine.sweeping.combinations import Job
from adapterhub_fin.engine.training.run_folder import write_json
from adapterhub_fin.errors import BadRecipe, WriteFailed
from adapterhub_fin.plugin.memory import restored
from adapterhub_fin.recipe.forgetting import without_limits
from adapterhub_fin_registry.io.canonical_json import canonical, digest_of

RECORD: Final = "sweep.json"
STUDY: Final = "study.db"  # Optuna's
TASK, RESULT, MEASURED, OUTPUT, LOCK = "task.json", "result.json", "measured.jsonl", "output.txt", "lock"
RUN: Final = "run"  # where a run's own folder is, with its checkpoints
COMPLETE, FAILED, PRUNED = "complete", "failed", "pruned"
Result = Mapping[str, Any]  # state, and score or reason


@dataclass(frozen=True)
class SweepFolder:
    """Represent a sweep on disk, locked by this process until it is released."""

    path: Path
    lock: FileLock
    _results: dict[Job, Result] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, runs: Path, definition: Mapping[str, Any], *, restart: bool) -> SweepFolder:
        """Return the folder of a sweep, a new one or that of the same sweep before; `restart` empties it.

        Raises BadRecipe where another process runs the sweep, and WriteFailed for a folder that can't be written.
        """
        stem = str(definition["recipe"]["name"]).replace("/", "--")
        same = {**definition, "recipe": without_limits(definition["recipe"])}  # a limit changes no score
        path = runs / f"sweep--{stem}-{digest_of(canonical(same)).removeprefix('sha256:')[:12]}"
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = FileLock(path / LOCK, blocking=False)
            try:
                lock.acquire()
            except Timeout:
                raise BadRecipe(f"this sweep runs in another process ({path}): wait for it, or stop it") from None
            folder = cls(path, lock)
            if restart:
                folder.empty()
            for rows in restored(definition["recipe"], runs):
                rows.write(path)
            if not (path / RECORD).exists():
                write_json(path / RECORD, {"definition": definition})
        except OSError as error:
            raise WriteFailed(
                f"{path} can't be written ({error.strerror}): make room there, or set AHF_HOME"
            ) from error
        return folder

    @property
    def record(self) -> dict[str, Any]:
        """Return what is recorded of the sweep."""
        record: dict[str, Any] = json.loads((self.path / RECORD).read_text(encoding="utf-8"))
        return record

    def note(self, **values: Any) -> None:
        """Record further values."""
        write_json(self.path / RECORD, {**self.record, **values})

    def bind(self, inputs: Mapping[str, Any]) -> None:
        """Record what the sweep reads the first time that it is given; compare it later.

        Raises BadRecipe where something has changed: half of the scores would be of other rows.
        """
        recorded = self.record.get("inputs", {})
        if missing := {name: value for name, value in inputs.items() if name not in recorded}:
            self.note(inputs={**recorded, **missing})
        for name, value in inputs.items():
            if recorded.get(name, value) != value:
                raise BadRecipe(
                    f"the sweep in {self.path} had another {name} ({recorded.get(name)}) than there is now ({value}): "
                    "put it back to go on, or begin again with --restart (restart=True)"
                )

    def of(self, job: Job) -> Path:
        """Return the folder of a run."""
        return self.path / "trials" / job.key

    def result(self, job: Job) -> Result | None:
        """Return a run's result, or None as long as it has none."""
        if job not in self._results and (result := read_result(self.of(job))) is not None:
            self._results[job] = result
        return self._results.get(job)

    def forget_failures(self, jobs: Iterable[Job]) -> None:
        """Delete the results of runs that failed, so that they are tried again."""
        for job in jobs:
            if (result := self.result(job)) is not None and result["state"] == FAILED:
                (self.of(job) / RESULT).unlink()
                del self._results[job]

    def forget_weights(self, job: Job) -> None:
        """Delete the checkpoints of a run; its result stays."""
        shutil.rmtree(self.of(job) / RUN, ignore_errors=True)

    def empty(self) -> None:
        """Delete everything but the lock."""
        for path in self.path.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != LOCK:
                path.unlink()

    def release(self) -> None:
        """Release the lock, so that another process can go on with the sweep; one that never began leaves nothing."""
        if self.path.exists() and not any(path.is_dir() for path in self.path.iterdir()):
            shutil.rmtree(self.path)
        self.lock.release()


def read_result(folder: Path) -> Result | None:
    """Return the result in a run's folder, or None."""
    try:
        result: Result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return result
