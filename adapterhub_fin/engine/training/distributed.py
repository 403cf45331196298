"""Run one training in several processes (`torchrun`, `accelerate launch`): the first writes and broadcasts."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, TypeVar, cast

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


def world_size() -> int:
    """Return the number of processes that train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def own_device() -> torch.device:
    """Return the device of this process: its own GPU where there are some, else the CPU."""
    import torch

    return (
        torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        if torch.cuda.is_available()
        else torch.device("cpu")
    )


def is_first() -> bool:
    """Return whether this process is the one that writes."""
    return int(os.environ.get("RANK", "0")) == 0


def from_first(work: Callable[[], T]) -> T:
    """Call `work` in the first process; return its result, or raise its error, in every process."""
    if world_size() == 1:
        return work()
    from accelerate.utils import broadcast_object_list

    _join()
    broadcast: list[tuple[T | None, Exception | None]] = [(None, None)]
    if is_first():
        try:
            broadcast = [(work(), None)]
        except Exception as failure:  # the others wait for the broadcast: they must get one
            broadcast = [(None, failure)]
    broadcast_object_list(broadcast)
    result, error = broadcast[0]
    if error is not None:
        raise error
    return cast(T, result)


def _join() -> None:
    """Join the processes unless they are joined already, and leave the group at exit, as torch asks."""
    import torch
    from accelerate import PartialState

    joined = torch.distributed.is_initialized()
    state = PartialState(cpu=not torch.cuda.is_available())
    if not joined:
        atexit.register(state.destroy_process_group)


def end(code: int) -> NoReturn:
    """Exit one of several processes: run the exit functions, then skip the interpreter's own shutdown.

    Torch's gloo threads outlive their process group and sometimes abort a process that shuts down around them (15 of 54
    runs of a bare two-process script on a busy machine). torchrun would then stop the other processes and report a run
    as failed whose version is stored.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
