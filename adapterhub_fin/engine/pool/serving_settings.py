"""Define how a pool serves many callers, and what it counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from adapterhub_fin.engine.pool.latency import Latency
from adapterhub_fin.engine.pool.seconds import read_seconds
from adapterhub_fin.errors import BadRecipe


@dataclass(frozen=True, slots=True)
class ServingSettings:
    """Bound how rows are collected: how long one waits for others, how many make a batch, and how many may wait.

    `workers` threads compute rows, and `writers` write texts, `write_batch` at once; `max_streams` texts are streamed
    at once. `max_queue` counts the rows that were accepted and not answered.
    """

    max_wait: float = 0.002  # seconds
    max_batch: int = 64
    max_queue: int = 4096
    workers: int = 1
    writers: int = 1
    write_batch: int = 8
    max_streams: int = 8

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> ServingSettings:
        """Return settings of keywords. Raises BadRecipe for an unknown one, or one that isn't a positive number."""
        names = [each.name for each in fields(cls)]
        for name, value in given.items():
            if name not in names:
                raise BadRecipe(f"serving has no setting {name!r}: it has {', '.join(names)}")
            if name != "max_wait" and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise BadRecipe(f"{name} is {value!r}: give a whole number from 1 on")
        wait = read_seconds(given.get("max_wait", cls().max_wait))
        return cls(**{**given, "max_wait": wait})


@dataclass(frozen=True, slots=True)
class ServingStats:
    """Count rows since serving began. `queue` is the time until a row's batch began, `compute` that of its batch."""

    waiting: int  # accepted and not answered
    answered: int
    failed: int
    overloaded: int
    expired: int
    cancelled: int
    batches: int
    queue: Latency
    compute: Latency
