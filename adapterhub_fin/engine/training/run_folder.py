"""Manage the folder of a run: its record, its lock, and the checkpoints that an interrupted run resumes from.

A checkpoint counts once its marker file exists. The marker is written last, after everything else is synced to disk,
and only then is the checkpoint before it deleted. So a run that is killed at any moment has a complete checkpoint.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol

from filelock import FileLock, Timeout

from adapterhub_fin.engine.base.adapter_names import new_adapter_name
from adapterhub_fin.errors import BadRecipe, WriteFailed
from adapterhub_fin.plugin.memory import restored
from adapterhub_fin.recipe.forgetting import without_limits

RECORD = "run.json"
RECIPE = "recipe.yaml"  # what `ahf train` takes to continue a run whose rows came from memory; JSON is YAML
LOCK = "lock"
MARKER = "complete"
PREFIX = "checkpoint-"


class AnyRecipe(Protocol):
    """Describe what a run's folder needs of a recipe, of an adapter or of a base."""

    @property
    def name(self) -> str | None:
        """Return where the version goes."""
        ...

    def document(self) -> dict[str, Any]:
        """Return the recipe as plain JSON values: the same run has the same."""
        ...


@dataclass(frozen=True)
class RunFolder:
    """Represent a run on disk, locked by this process until it is released."""

    path: Path
    adapter_name: str  # unchanged on resume: stored states name parameters by it
    lock: FileLock | None  # None in a process that shares a folder which another process locked

    @property
    def checkpoint(self) -> Path | None:
        """Return the last complete checkpoint, or None before the first."""
        complete = checkpoints(self.path)
        return complete[-1] if complete else None

    def bind(self, inputs: Mapping[str, Any]) -> None:
        """Record digests of the inputs (base, corpus) on the first call; compare them on a resume.

        Raises BadRecipe where one has changed: a run that resumes on other data would give weights that no recipe
        describes.
        """
        record = json.loads((self.path / RECORD).read_text(encoding="utf-8"))
        if "inputs" not in record:
            write_json(self.path / RECORD, {**record, "inputs": dict(inputs)})
            return
        for name, value in inputs.items():
            if record["inputs"].get(name) != value:
                raise BadRecipe(
                    f"the run in {self.path} had another {name} ({record['inputs'].get(name)}) than there is now "
                    f"({value}): put it back to resume, or start again with --restart (restart=True)"
                )

    def release(self) -> None:
        """Release the lock, so that another process can have the run."""
        if self.lock is not None:
            self.lock.release()

    def remove(self) -> None:
        """Delete the run, once its version is stored."""
        self.release()
        shutil.rmtree(self.path)


def refuse_both(resume: bool | None, restart: bool) -> None:
    """Raise BadRecipe where both resume and restart are set."""
    if resume and restart:
        raise BadRecipe("--resume continues a run and --restart starts it again: give one of them")


def open_run(root: Path, recipe: AnyRecipe, *, resume: bool | None, restart: bool) -> RunFolder:
    """Return the folder of a recipe's run: a new one, or that of the run that was interrupted.

    `resume=True` continues an interrupted run of the same recipe, `restart` deletes it, and `resume=None` continues one
    if there is one. Raises BadRecipe where there is one and neither is set, or none to resume, and WriteFailed for a
    folder that can't be written.
    """
    refuse_both(resume, restart)
    document = recipe.document()
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        runs = [path for path in sorted(root.iterdir()) if is_same_run(_recipe_of(path), document)]
        unlocked = [opened for path in runs if (opened := _lock(path)) is not None]
        if resume:
            return _last(unlocked) if unlocked else _refuse_resume(root, recipe, going=bool(runs))
        interrupted = [run for run in unlocked if run.checkpoint is not None]
        if interrupted and not restart and resume is None:
            return _last(unlocked)
        if interrupted and not restart:
            for run in unlocked:
                run.release()
            raise BadRecipe(
                f"a run of this recipe was interrupted {_progress(interrupted[-1])} ({interrupted[-1].path}): "
                "continue it with --resume (resume=True), or start again with --restart (restart=True)"
            )
        for run in unlocked:  # those without a checkpoint hold nothing to lose
            run.remove()
        return _create(root, document)
    except OSError as error:
        raise WriteFailed(f"{root} can't be written ({error.strerror}): make room there, or set AHF_HOME") from error


def checkpoints(run: Path) -> list[Path]:
    """Return the complete checkpoints of a run, oldest first."""
    complete = [path for path in run.glob(f"{PREFIX}*") if (path / MARKER).is_file()]
    return sorted(complete, key=_step)


def seal(checkpoint: Path, best: str | None) -> None:
    """Mark a checkpoint as complete, then delete all others but the best one."""
    for path in sorted(checkpoint.rglob("*")):
        if path.is_file():
            _sync(path)
    (checkpoint / MARKER).touch()
    _sync(checkpoint)
    _sync(checkpoint.parent)
    for other in checkpoint.parent.glob(f"{PREFIX}*"):
        if other != checkpoint and str(other) != best:
            (other / MARKER).unlink(missing_ok=True)
            shutil.rmtree(other)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix(PREFIX))


def _progress(run: RunFolder) -> str:
    return f"after step {_step(run.checkpoint)}" if run.checkpoint else "before its first checkpoint"


def _last(runs: Sequence[RunFolder]) -> RunFolder:
    """Return the run with the most steps, and release the others."""
    chosen = max(runs, key=lambda run: _step(run.checkpoint) if run.checkpoint else 0)
    for run in runs:
        if run is not chosen:
            run.release()
    return chosen


def _refuse_resume(root: Path, recipe: AnyRecipe, *, going: bool) -> NoReturn:
    if going:
        raise BadRecipe(f"the run of this recipe in {root} is running in another process: wait for it, or stop it")
    others = [path.name for path in sorted(root.glob(f"{_stem(recipe.name)}-*")) if _recipe_of(path) is not None]
    hint = f"; {', '.join(others)} is of another recipe under this name" if others else ""
    raise BadRecipe(f"there is no interrupted run of this recipe in {root}{hint}: train without --resume")


def _stem(name: str | None) -> str:
    return (name or "").replace("/", "--")


def _create(root: Path, document: Mapping[str, Any]) -> RunFolder:
    path = root / f"{_stem(document['name'])}-{secrets.token_hex(4)}"
    path.mkdir(mode=0o700)
    lock = FileLock(path / LOCK, blocking=False)
    lock.acquire()
    adapter_name = new_adapter_name()
    for rows in restored(document, root):
        rows.write(path)
    (path / RECIPE).write_text(json.dumps(document, indent=2), encoding="utf-8")
    write_json(path / RECORD, {"recipe": document, "adapter_name": adapter_name})
    return RunFolder(path, adapter_name, lock)


def _lock(path: Path) -> RunFolder | None:
    """Lock a run and return it; None where another process has it."""
    lock = FileLock(path / LOCK, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        return None
    return RunFolder(path, _read(path)["adapter_name"], lock)


def is_same_run(recorded: Mapping[str, Any] | None, document: Mapping[str, Any]) -> bool:
    """Tell whether two recipes train the same: a run that forgot too much goes on under another limit."""
    return recorded is not None and without_limits(recorded) == without_limits(document)


def _recipe_of(path: Path) -> Any:
    try:
        return _read(path)["recipe"]
    except (OSError, ValueError, KeyError):
        return None  # no run, or one that was killed before its record was written


def _read(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((path / RECORD).read_text(encoding="utf-8"))
    return record


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file so that it is there completely, synced to disk, or as it was before."""
    temporary = path.with_suffix(".draft")
    temporary.write_text(json.dumps(value, indent=2, sort_keys=True), encoding="utf-8")
    _sync(temporary)
    temporary.replace(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
