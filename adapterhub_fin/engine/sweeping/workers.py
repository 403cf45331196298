"""Run trials in processes of their own, several at a time, and notice how each ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from adapterhub_fin.engine.sweeping.combinations import Job
from adapterhub_fin.engine.sweeping.folder import FAILED, MEASURED, OUTPUT, PRUNED, RESULT, TASK, Result, SweepFolder
from adapterhub_fin.engine.training.run_folder import write_json

MODULE: Final = "adapterhub_fin.engine.sweeping.trial"
STARTS: Final = 3  # of one trial whose process is killed by a signal, as by the kernel when memory runs out
PAUSE: Final = 0.1  # seconds between two looks at the processes


@dataclass
class _Running:
    process: subprocess.Popen[bytes]
    starts: int = 1
    position: int = 0  # in the file of its evaluations
    status: int | None = None  # before that file was read the last time


@dataclass(frozen=True)
class EpochScore:
    """Hold the validation score of a run after an epoch; None where it was NaN or infinite."""

    number: int
    score: float | None
    step: int
    steps: int


@dataclass
class Workers:
    """Start the processes of a sweep, each with its share of the cores, and end all of them when the block ends."""

    folder: SweepFolder
    processes: int
    threads: int
    task: Mapping[str, Any]  # what all tasks have in common
    command: Sequence[str] = (sys.executable, "-m", MODULE)  # which a trial's folder is given to
    running: dict[Job, _Running] = field(default_factory=dict)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        for running in self.running.values():
            _kill(running.process)
        self.running.clear()

    @property
    def is_free(self) -> bool:
        """Return whether another trial can be started."""
        return len(self.running) < self.processes

    def start(self, job: Job, recipe: Mapping[str, Any]) -> None:
        """Start a trial's process."""
        path = self.folder.of(job)
        path.mkdir(parents=True, exist_ok=True)
        (path / MEASURED).write_text("", encoding="utf-8")
        options = {"combination": job.combination, "seed": job.seed, "fold": job.fold}
        write_json(path / TASK, {**self.task, **options, "recipe": recipe})
        self.running[job] = _Running(self._process(path))

    def evaluations(self) -> Iterator[tuple[Job, EpochScore]]:
        """Yield the evaluations since the last call."""
        for job, running in list(self.running.items()):
            running.status = running.process.poll()
            with (self.folder.of(job) / MEASURED).open("rb") as file:
                file.seek(running.position)
                lines = file.read().split(b"\n")[:-1]  # a last one that is half written comes with the next call
            for line in lines:
                if job not in self.running:
                    break  # pruned after the evaluation before
                running.position += len(line) + 1
                yield job, EpochScore(**json.loads(line))

    def ended(self) -> Iterator[tuple[Job, Result]]:
        """Wait a moment, and yield the trials that had ended when `evaluations` was called, with their results.

        A process that a signal killed is started again, twice at most: its run goes on from its last checkpoint.
        """
        time.sleep(PAUSE)
        for job, running in list(self.running.items()):
            if (status := running.status) is None:
                continue
            _close(running.process)
            path = self.folder.of(job)
            if (result := self.folder.result(job)) is None:
                if status < 0 and running.starts < STARTS:
                    running.process, running.starts = self._process(path), running.starts + 1
                    running.status = None
                    continue
                result = {"state": FAILED, "reason": _reason(status, running.starts, path / OUTPUT)}
                write_json(path / RESULT, result)
            del self.running[job]
            yield job, result

    def prune(self, job: Job, evaluation: EpochScore) -> Result:
        """Stop a trial that promises little; return its result, which may be a whole one if it had just ended."""
        _kill(self.running.pop(job).process)
        result = self.folder.result(job)
        if result is None:
            result = {"state": PRUNED, "score": evaluation.score, "after": evaluation.number}
            write_json(self.folder.of(job) / RESULT, result)
        self.folder.forget_weights(job)
        return result

    def _process(self, path: Path) -> subprocess.Popen[bytes]:
        bound = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), str(self.threads))
        with (path / OUTPUT).open("ab") as output:
            return subprocess.Popen(
                [*self.command, str(path)],
                stdin=subprocess.PIPE,  # which ends with this process
                stdout=output,
                stderr=output,
                env={**os.environ, **bound},
                start_new_session=True,  # Ctrl-C is this process's, which ends the others
            )


def share_of_cores(processes: int) -> int:
    """Return the threads of each of some processes side by side; OMP_NUM_THREADS is the most."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share, most = max(1, cores // processes), os.environ.get("OMP_NUM_THREADS", "")
    return min(share, int(most)) if most.isdigit() and int(most) else share


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    _close(process)


def _close(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()


def _reason(status: int, starts: int, output: Path) -> str:
    if status < 0:
        name = signal.Signals(-status).name if -status in signal.valid_signals() else f"signal {-status}"
        return f"its process was killed by {name} {starts} times, which happens where memory runs out"
    return f"its process ended with status {status} and no result: {output} has what it printed"
