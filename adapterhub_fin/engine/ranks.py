"""One run in several processes (`torchrun`, `accelerate launch`): the first one writes, the others are told."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar, cast

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
    import torch
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    PartialState(cpu=not torch.cuda.is_available())  # joins the processes, if nothing has yet
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
