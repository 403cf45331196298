"""What this machine has: memory, and how fast it multiplies, moves bytes and starts an operation."""

from __future__ import annotations

import json
import os
import platform
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import psutil

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.errors import BadRecipe

if TYPE_CHECKING:
    import torch
else:
    torch = Lazy("torch")

CONTEXT = 500 * 2**20  # of a GPU, what CUDA and its libraries take before the first tensor
SIZES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Device:
    """Where a run would compute; `card` is a GPU of a stated size, here or elsewhere."""

    kind: Literal["cpu", "cuda", "card"]
    name: str
    available: int  # bytes that a run may take: on a CPU, with what this process has already

    @property
    def glibc(self) -> bool:
        """Whether tensors come from glibc's heap."""
        return self.kind == "cpu" and platform.libc_ver()[0] == "glibc"


def find_device(wanted: str | int | None) -> Device:
    """`cpu`, `cuda`, or a GPU by its memory in bytes or as 24GB; None is what training would take. Else BadRecipe."""
    if wanted is None:
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cpu":
        return Device("cpu", f"this machine's CPU, {torch.get_num_threads()} threads", _free() + resident())
    if wanted == "cuda":
        if not torch.cuda.is_available():
            raise BadRecipe("this machine has no GPU: plan for one by its memory, such as --device 24GB")
        return Device("cuda", torch.cuda.get_device_name(), torch.cuda.mem_get_info()[0])
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?I?B?)", str(wanted).strip().upper())
    if found is None or found[2] not in SIZES:
        raise BadRecipe(f"the device is cpu, cuda or a GPU's memory such as 24GB, not {wanted!r}")
    size = int(float(found[1]) * SIZES[found[2]])
    return Device("card", f"a GPU of {size:,} bytes", size)


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(psutil.Process().memory_info().rss)


def _free() -> int:
    """Bytes that could be taken without swapping, within the limit of a container."""
    free = int(psutil.virtual_memory().available)
    try:
        limit, used = ((CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return free  # no container, or none that limits memory
    return free if limit == "max" else min(free, int(limit) - int(used))


@dataclass(frozen=True)
class Speed:
    """What a device does in float32: operations and bytes a second, and seconds to start one operation."""

    flops: float
    bytes: float
    start: float


def known_speed(device: Device) -> Speed | None:
    """What was measured on this machine before."""
    try:
        return Speed(**json.loads(_memory().read_text(encoding="utf-8"))[device.name])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # a cache: measuring again fills it


def measure_speed(device: Device) -> Speed:
    """Multiply, copy and start operations for about a second; remembered in the user's cache.

    Raises BadRecipe for a GPU that is not this machine's.
    """
    if device.kind == "card":
        raise BadRecipe("time can be measured on this machine's own device alone: leave out --time, or --device")
    side, where = 1024, torch.device("cpu" if device.kind == "cpu" else "cuda")
    matrix, long = torch.ones(side, side, device=where), torch.ones(2**24, device=where)
    small, target = torch.ones(8, device=where), torch.empty_like(long)
    speed = Speed(
        flops=2 * side**3 / _seconds(lambda: matrix @ matrix),
        bytes=2 * long.nbytes / _seconds(lambda: target.copy_(long)),
        start=_seconds(lambda: small + small),
    )
    known = {}
    path = _memory()
    if path.is_file():
        known = json.loads(path.read_text(encoding="utf-8"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**known, device.name: asdict(speed)}, indent=1), encoding="utf-8")
    return speed


def _seconds(work: Callable[[], object]) -> float:
    """Of one call, over a third of a second after a first one."""
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


def _memory() -> Path:
    from platformdirs import user_cache_path

    return Path(os.environ.get("AHF_CACHE") or user_cache_path("adapterhub_fin")) / "speed.json"
