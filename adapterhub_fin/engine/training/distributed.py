"""One run in several processes (`torchrun`, `accelerate launch`): the first one writes, the others are told."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from typing import NoReturn, TypeVar, cast

T = TypeVar("T")


def world_size() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return int(os.environ.get("RANK", "0")) == 0


def from_first(work: Callable[[], T]) -> T:
    """What the work gives in the first process, told to all; what it raises there is raised everywhere."""
    if world_size() == 1:
        return work()
    from accelerate.utils import broadcast_object_list

    _join()
    told: list[tuple[T | None, Exception | None]] = [(None, None)]
    if is_first():
        try:
            told = [(work(), None)]
        except Exception as error:  # the others wait for an answer: they must get one
            told = [(None, error)]
    broadcast_object_list(told)
    given, broke = told[0]
    if broke is not None:
        raise broke
    return cast(T, given)


def _join() -> None:
    """Join the processes, if nothing has yet; who joins leaves, as torch asks."""
    import torch
    from accelerate import PartialState

    joined = torch.distributed.is_initialized()
    state = PartialState(cpu=not torch.cuda.is_available())
    if not joined:
        atexit.register(state.destroy_process_group)


def end(code: int) -> NoReturn:
    """End one of several processes: what waits for its end runs, and the interpreter is not taken down.

    Torch's threads for gloo outlive their group, and now and then abort a process that is taken down around them (of
    bare scripts of two processes on a busy machine 15 in 54): torchrun then stops the others, and says that a run
    failed whose version is stored.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
