"""Count durations in buckets, so that their percentiles take a fixed amount of memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Final

_SHORTEST: Final = 1e-5  # seconds
_GROWTH: Final = 1.05  # of each bucket over the one before, so that a percentile is at most 5 % too high
_BUCKETS: Final = 420  # up to about two hours


@dataclass(frozen=True, slots=True)
class Latency:
    """Hold the percentiles of durations, in seconds, each at most 5 % too high; zero where nothing was measured."""

    count: int
    total: float
    p50: float
    p95: float
    p99: float


class Histogram:
    """Count durations in buckets, of which each is 5 % wider than the one before; threads may add at once."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts, self._total = [0] * _BUCKETS, 0.0

    def add(self, seconds: float, count: int = 1) -> None:
        """Count a duration, or `count` equal ones."""
        bucket = math.ceil(math.log(max(seconds, _SHORTEST) / _SHORTEST, _GROWTH))
        with self._lock:
            self._counts[min(bucket, _BUCKETS - 1)] += count
            self._total += seconds * count

    def read(self) -> Latency:
        """Return the percentiles so far."""
        counts, total = self._copy()
        return Latency(sum(counts), total, *(_percentile(counts, share) for share in (0.5, 0.95, 0.99)))

    def below(self, bounds: Sequence[float]) -> tuple[list[int], int, float]:
        """Return how many durations are within each bound, how many there are, and their sum in seconds."""
        counts, total = self._copy()
        tops = [_SHORTEST * _GROWTH**bucket for bucket in range(_BUCKETS)]
        within = [sum(count for count, top in zip(counts, tops, strict=True) if top <= bound) for bound in bounds]
        return within, sum(counts), total

    def _copy(self) -> tuple[list[int], float]:
        with self._lock:
            return list(self._counts), self._total


def _percentile(counts: Sequence[int], share: float) -> float:
    """Return the upper end of the bucket in which a share of the durations is reached."""
    remaining = share * sum(counts)
    if not remaining:
        return 0.0
    for bucket, count in enumerate(counts):
        remaining -= count
        if remaining <= 1e-9:
            return _SHORTEST * _GROWTH**bucket
    return _SHORTEST * _GROWTH ** (_BUCKETS - 1)
