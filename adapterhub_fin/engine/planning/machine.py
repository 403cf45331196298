"""Measure this machine, its memory and speed, and estimate a run's duration from them."""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import psutil

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.planning.batches import answer_batches, answer_tokens, training_tokens
from adapterhub_fin.engine.training.arguments import steps_of_an_epoch
from adapterhub_fin.errors import BadRecipe
from adapterhub_fin.plugin.byte_sizes import read_bytes

if TYPE_CHECKING:
    import torch

    from adapterhub_fin.engine.planning.dry_run import DryRun, Phase
    from adapterhub_fin.engine.planning.memory_tracker import Work
    from adapterhub_fin.engine.training.prepare import PreparedRun
else:
    torch = Lazy("torch")

CONTEXT = 500 * 2**20  # bytes of a GPU that CUDA and its libraries take before the first tensor
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Device:
    """Represent where a run would compute; a `card` is a GPU of a stated size, here or elsewhere."""

    kind: Literal["cpu", "cuda", "card"]
    name: str
    available: int  # bytes that a run may take; on a CPU, including what this process has already

    @property
    def glibc(self) -> bool:
        """Tell whether tensors come from glibc's heap."""
        return self.kind == "cpu" and platform.libc_ver()[0] == "glibc"


def find_device(device: str | int | None) -> Device:
    """Return the device for `cpu`, `cuda`, or a GPU's memory in bytes or as 24GB; None is the one training would use.

    Raises BadRecipe for anything else, or for `cuda` on a machine without a GPU.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        return Device("cpu", f"this machine's CPU, {torch.get_num_threads()} threads", _free() + resident())
    if device == "cuda":
        if not torch.cuda.is_available():
            raise BadRecipe("this machine has no GPU: plan for one by its memory, such as --device 24GB")
        return Device("cuda", torch.cuda.get_device_name(), torch.cuda.mem_get_info()[0])
    try:
        size = read_bytes(device)
    except BadRecipe as error:
        raise BadRecipe(f"the device is cpu, cuda or a GPU's memory such as 24GB, not {device!r}") from error
    return Device("card", f"a GPU of {size:,} bytes", size)


def resident() -> int:
    """Return the bytes of memory that this process has."""
    return int(psutil.Process().memory_info().rss)


def _free() -> int:
    """Return the bytes that can be taken without swapping, within the limit of a container."""
    free = int(psutil.virtual_memory().available)
    try:
        limit, used = ((CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return free  # no container, or none that limits memory
    return free if limit == "max" else min(free, int(limit) - int(used))


@dataclass(frozen=True)
class Speed:
    """Hold a device's float32 speed: operations and bytes a second, and the seconds it takes to start an operation."""

    flops: float
    bytes: float
    start: float


def known_speed(device: Device) -> Speed | None:
    """Return the speed that was measured on this machine before; None where it never was."""
    try:
        return Speed(**json.loads(_speed_file().read_text(encoding="utf-8"))[device.name])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # a cache: measuring again fills it


def measure_speed(device: Device) -> Speed:
    """Multiply, copy and start operations for about a second, and store the speed in the user's cache.

    Raises BadRecipe for a GPU that is not in this machine.
    """
    if device.kind == "card":
        raise BadRecipe("time can be measured on this machine's own device alone: leave out --time, or --device")
    side, torch_device = 1024, torch.device("cpu" if device.kind == "cpu" else "cuda")
    matrix, long = torch.ones(side, side, device=torch_device), torch.ones(2**24, device=torch_device)
    small, target = torch.ones(8, device=torch_device), torch.empty_like(long)
    speed = Speed(
        flops=2 * side**3 / _seconds(lambda: matrix @ matrix),
        bytes=2 * long.nbytes / _seconds(lambda: target.copy_(long)),
        start=_seconds(lambda: small + small),
    )
    speeds = {}
    path = _speed_file()
    if path.is_file():
        speeds = json.loads(path.read_text(encoding="utf-8"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**speeds, device.name: asdict(speed)}, indent=1), encoding="utf-8")
    return speed


def _seconds(work: Callable[[], object]) -> float:
    """Return the seconds of one call, averaged over a third of a second after a first call."""
    synchronize: Callable[[], object] = torch.cuda.synchronize if torch.cuda.is_available() else bool
    work()
    synchronize()
    calls, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < 1 / 3:
        work()
        calls += 1
        if calls % 8 == 0:
            synchronize()
    synchronize()
    return passed / max(calls, 1)


def _speed_file() -> Path:
    from platformdirs import user_cache_path

    return Path(os.environ.get("AHF_CACHE") or user_cache_path("adapterhub_fin")) / "speed.json"


def duration(result: DryRun, prepared: PreparedRun, speed: Speed) -> float:
    """Return the seconds of all epochs, their evaluations and the test, without loading and saving.

    Each operation takes the longer of computing and moving its bytes, plus the time to start it. Work grows with the
    tokens of a batch; for attention on long rows this overestimates every batch but the longest.
    """
    training = prepared.recipe.training
    parts = prepared.steps * training.accumulate
    seconds = prepared.steps * (_work(result.update, speed) + len(result.update) * speed.start)
    epochs = prepared.steps / steps_of_an_epoch(training, len(prepared.examples["train"]))
    measured = epochs if prepared.stages is None else len(prepared.stages.passes)
    evaluations = measured if training.eval_steps is None else math.ceil(prepared.steps / training.eval_steps)
    seconds += _phase(result.training, parts, epochs * training_tokens(prepared), speed)
    for split, times in (("validation", evaluations), ("test", 1.0)):
        batches = times * len(answer_batches(prepared, split))
        seconds += _phase(result.evaluation, batches, times * answer_tokens(prepared, split), speed)
    return seconds


def _phase(phase: Phase, batches: float, tokens: float, speed: Speed) -> float:
    per_token = _work(phase.work, speed) / (phase.rows * phase.length)
    return tokens * per_token + batches * len(phase.work) * speed.start


def _work(work: Sequence[Work], speed: Speed) -> float:
    return sum(max(operation.flops / speed.flops, operation.moved / speed.bytes) for operation in work)


def size_text(count: int) -> str:
    """Return a number of bytes in MiB or GiB."""
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def duration_text(seconds: float) -> str:
    """Return a duration in the unit that fits it."""
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
