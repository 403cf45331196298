"""Decide which trial comes next: one after the other of a list, or as Optuna asks for it, which also prunes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from adapterhub_fin.engine.sweeping.combinations import Combination, Job
from adapterhub_fin.engine.sweeping.folder import Result
from adapterhub_fin.engine.sweeping.workers import EpochScore


class Search(Protocol):
    """Define what the loop of a sweep asks of a search."""

    def next(self) -> Job | None:
        """Return the trial to start now; None where none can be started yet, or there are no more."""
        ...

    def measured(self, job: Job, evaluation: EpochScore) -> bool:
        """Take note of a score during a trial, and return whether to prune it."""
        ...

    def ended(self, job: Job, result: Result) -> None:
        """Take note of a trial's result."""
        ...

    @property
    def combinations(self) -> list[Combination]:
        """Return all combinations so far, in the order of the search."""
        ...


class Listed:
    """Take the trials of combinations that are listed before the first one runs: a grid, or drawn at random."""

    def __init__(self, combinations: Iterable[Combination], jobs: Iterable[Job]) -> None:
        self._combinations = list(combinations)
        self._jobs: Iterator[Job] = iter(jobs)

    def next(self) -> Job | None:
        return next(self._jobs, None)

    def measured(self, job: Job, evaluation: EpochScore) -> bool:
        return False

    def ended(self, job: Job, result: Result) -> None:
        pass

    @property
    def combinations(self) -> list[Combination]:
        return self._combinations
