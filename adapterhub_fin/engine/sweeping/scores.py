"""Make the table of a sweep: the score of each combination over its seeds, and which one is the best."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import fmean, stdev
from typing import Any

from adapterhub_fin.engine.sweeping.combinations import Combination, Job, jobs_of, label
from adapterhub_fin.engine.sweeping.folder import COMPLETE, FAILED, PRUNED, Result
from adapterhub_fin.errors import TrainingFailed

LEVEL = 0.95


@dataclass(frozen=True)
class Row:
    """Hold what one combination of options got on the validation part.

    `score` is the mean over the seeds, and of a cross-validation over the folds of each seed too; None where a run
    failed or was pruned, which `reason` says.
    """

    options: Mapping[str, str]
    scores: Mapping[int, float]  # by seed
    score: float | None
    interval: tuple[float, float] | None  # 95 %, of the mean over seeds, by Student's t; None for one seed
    state: str  # complete, failed, pruned, or unfinished
    reason: str = ""

    def document(self) -> dict[str, Any]:
        """Return the row as plain values."""
        document = {item.name: getattr(self, item.name) for item in fields(self)}
        return {**document, "scores": {str(seed): score for seed, score in self.scores.items()}}

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Row:
        """Return the row of a document."""
        interval = document["interval"]
        scores = {int(seed): score for seed, score in document["scores"].items()}
        return cls(**{**document, "scores": scores, "interval": interval and (interval[0], interval[1])})


@dataclass(frozen=True)
class Scores:
    """Hold the table of a sweep, and say which row is the best."""

    rows: Sequence[Row]  # in the order of the search
    metric: str  # of the validation part, which chooses
    greater_is_better: bool

    @property
    def winner(self) -> Row:
        """Return the row of the best combination."""
        return self.rows[best(self.rows, greater_is_better=self.greater_is_better)]

    @property
    def seed(self) -> int:
        """Return the seed of the stored version: the winner's with the best validation score."""
        return best_seed(self.winner, greater_is_better=self.greater_is_better)

    @property
    def failed(self) -> Sequence[Row]:
        """Return the rows of which a run failed."""
        return [row for row in self.rows if row.state == FAILED]

    def table(self) -> list[tuple[str, ...]]:
        """Return the rows as texts, the best first: options, mean, interval, number of seeds, what happened."""
        return [
            (
                *row.options.values(),
                "" if row.score is None else f"{row.score:.4f}",
                "" if row.interval is None else f"{row.interval[0]:.4f} to {row.interval[1]:.4f}",
                str(len(row.scores)),
                "winner" if row is self.winner else row.reason,
            )
            for row in self.ranked()
        ]

    def ranked(self) -> list[Row]:
        """Return the rows, the best first; those without a score come last."""
        sign = -1.0 if self.greater_is_better else 1.0
        return sorted(self.rows, key=lambda row: (row.score is None, sign * (row.score or 0.0)))


def table(
    combinations: Sequence[Combination],
    seeds: Sequence[int],
    folds: int | None,
    result: Callable[[Job], Result | None],
) -> list[Row]:
    """Return a row for each combination, in the order of the search."""
    return [_row(combination, seeds, folds, result) for combination in combinations]


def tried(
    combinations: Sequence[Combination],
    seeds: Sequence[int],
    folds: int | None,
    result: Callable[[Job], Result | None],
) -> list[tuple[Combination, int]]:
    """Return each combination and seed of which a run ended, whether it was completed, pruned or failed."""
    return [
        (combination, seed)
        for combination in combinations
        for seed in seeds
        if any(result(job) is not None for job in jobs_of(combination, [seed], folds))
    ]


def best(rows: Sequence[Row], *, greater_is_better: bool) -> int:
    """Return the number of the row with the best mean; of equals the first.

    Raises TrainingFailed, with the reasons, where no combination was completed.
    """
    complete = [number for number, row in enumerate(rows) if row.score is not None]
    if not complete:
        reasons = "\n  ".join(dict.fromkeys(f"{options_text(row)}: {row.reason}" for row in rows))
        raise TrainingFailed(f"no combination of the sweep was completed:\n  {reasons}")
    sign = 1.0 if greater_is_better else -1.0
    return max(complete, key=lambda number: sign * (rows[number].score or 0.0))


def best_seed(row: Row, *, greater_is_better: bool) -> int:
    """Return the seed whose run has the best validation score; of equals the first."""
    sign = 1.0 if greater_is_better else -1.0
    return max(row.scores, key=lambda seed: sign * row.scores[seed])


def options_text(row: Row) -> str:
    """Return the options of a row in one line."""
    return label(tuple(row.options.items()))


def mean_interval(scores: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean of normally distributed scores, by Student's t; None for fewer than two."""
    if len(scores) < 2:
        return None
    from scipy.special import stdtrit

    half = float(stdtrit(len(scores) - 1, (1 + LEVEL) / 2)) * stdev(scores) / math.sqrt(len(scores))
    return fmean(scores) - half, fmean(scores) + half


def _row(
    combination: Combination, seeds: Sequence[int], folds: int | None, result: Callable[[Job], Result | None]
) -> Row:
    scores, states, reasons = {}, set(), []
    for seed in seeds:
        results = [(job, result(job)) for job in jobs_of(combination, [seed], folds)]
        states |= {None if ended is None else ended["state"] for _, ended in results}
        reasons += [_reason(job, ended) for job, ended in results if ended and ended["state"] != COMPLETE]
        if all(ended and ended["state"] == COMPLETE for _, ended in results):
            scores[seed] = fmean(ended["score"] for _, ended in results if ended)
    is_complete = states == {COMPLETE}
    state = next((each for each in (FAILED, PRUNED) if each in states), COMPLETE if is_complete else "unfinished")
    values = [*scores.values()]
    return Row(
        dict(combination),
        scores,
        fmean(values) if is_complete else None,
        mean_interval(values) if is_complete else None,
        state,
        "; ".join(reasons),
    )


def _reason(job: Job, result: Result) -> str:
    where = f"seed {job.seed}" + ("" if job.fold is None else f", fold {job.fold + 1}")
    if result["state"] == PRUNED:
        return f"{where}: pruned after evaluation {result['after']}"
    return f"{where}: {result['reason']}"
