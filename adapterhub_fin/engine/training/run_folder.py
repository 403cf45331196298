"""The folder of a run: what it is of, its checkpoints, and which of them a run that broke off goes on from.

A checkpoint counts once its marker is there, which is written last, after everything was forced to the disk; the one
before it is deleted only then. So a run that is killed at any moment finds its last checkpoint whole.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from filelock import FileLock, Timeout

from adapterhub_fin.engine.base.adapter_names import new_adapter_name
from adapterhub_fin.errors import BadRecipe, WriteFailed

if TYPE_CHECKING:
    from adapterhub_fin.recipe.recipe import Recipe

RECORD = "run.json"
LOCK = "lock"
MARKER = "complete"
PREFIX = "checkpoint-"


@dataclass(frozen=True)
class RunFolder:
    """One run on disk, held by this process until it is released."""

    path: Path
    adapter_name: str  # the same when the run goes on: stored states name parameters by it
    lock: FileLock | None  # None in a process that works in a folder which another holds

    @property
    def checkpoint(self) -> Path | None:
        """The last whole checkpoint, or None before the first."""
        found = checkpoints(self.path)
        return found[-1] if found else None

    def bind(self, inputs: Mapping[str, Any]) -> None:
        """Note what the run rests on, such as digests of base and corpus; BadRecipe where it was something else before.

        A run that goes on with other data would give weights that no recipe stands for.
        """
        record = json.loads((self.path / RECORD).read_text(encoding="utf-8"))
        if "inputs" not in record:
            _write_json(self.path / RECORD, {**record, "inputs": dict(inputs)})
            return
        for name, value in inputs.items():
            if record["inputs"].get(name) != value:
                raise BadRecipe(
                    f"the run in {self.path} had another {name} ({record['inputs'].get(name)}) than there is now "
                    f"({value}): put it back to resume, or begin anew with --restart (restart=True)"
                )

    def release(self) -> None:
        """Let another process have the run."""
        if self.lock is not None:
            self.lock.release()

    def remove(self) -> None:
        """Delete the run, once its version is stored."""
        self.release()
        shutil.rmtree(self.path)


def refuse_both(resume: bool | None, restart: bool) -> None:
    """BadRecipe where a run is to go on and to begin anew."""
    if resume and restart:
        raise BadRecipe("--resume goes on with a run and --restart begins it anew: give one of them")


def open_run(root: Path, recipe: Recipe, *, resume: bool | None, restart: bool) -> RunFolder:
    """The folder for a run of a recipe: a new one, or the one that broke off.

    An interrupted run of the same recipe is neither continued nor thrown away unasked: BadRecipe names both ways. Where
    `resume` is None it is continued if there is one.
    """
    refuse_both(resume, restart)
    document = recipe.document()
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        left = [path for path in sorted(root.iterdir()) if _recipe_of(path) == document]
        free = [held for path in left if (held := _hold(path)) is not None]
        if resume:
            return _last(free) if free else _refuse_resume(root, recipe, going=bool(left))
        broken = [run for run in free if run.checkpoint is not None]
        if broken and not restart and resume is None:
            return _last(free)
        if broken and not restart:
            for run in free:
                run.release()
            raise BadRecipe(
                f"a run of this recipe broke off {_place(broken[-1])} ({broken[-1].path}): go on with --resume "
                "(resume=True), or begin anew with --restart (restart=True)"
            )
        for run in free:  # what was killed before its first checkpoint holds nothing to lose
            run.remove()
        return _create(root, document)
    except OSError as error:
        raise WriteFailed(f"{root} can't be written ({error.strerror}): make room there, or set AHF_HOME") from error


def checkpoints(run: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first."""
    found = [path for path in run.glob(f"{PREFIX}*") if (path / MARKER).is_file()]
    return sorted(found, key=_step)


def seal(checkpoint: Path, best: str | None) -> None:
    """Declare a checkpoint whole, then delete all others but the best one."""
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


def _place(run: RunFolder) -> str:
    return f"after step {_step(run.checkpoint)}" if run.checkpoint else "before its first checkpoint"


def _last(runs: Sequence[RunFolder]) -> RunFolder:
    """The run that got furthest; the others are let go."""
    chosen = max(runs, key=lambda run: _step(run.checkpoint) if run.checkpoint else 0)
    for run in runs:
        if run is not chosen:
            run.release()
    return chosen


def _refuse_resume(root: Path, recipe: Recipe, *, going: bool) -> NoReturn:
    if going:
        raise BadRecipe(f"the run of this recipe in {root} is going on in another process: wait for it, or stop it")
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
    _write_json(path / RECORD, {"recipe": document, "adapter_name": adapter_name})
    return RunFolder(path, adapter_name, lock)


def _hold(path: Path) -> RunFolder | None:
    """The run, if no living process has it."""
    lock = FileLock(path / LOCK, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        return None
    return RunFolder(path, _read(path)["adapter_name"], lock)


def _recipe_of(path: Path) -> Any:
    try:
        return _read(path)["recipe"]
    except (OSError, ValueError, KeyError):
        return None  # no run, or one that was killed before it had begun


def _read(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((path / RECORD).read_text(encoding="utf-8"))
    return record


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(value, indent=2, sort_keys=True), encoding="utf-8")
    _sync(draft)
    draft.replace(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
