"""Describe the rows that a run would train on: their lengths against max_length, and their dates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.plugin.examples import lengths

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
else:
    np = Lazy("numpy")

GAPS: Final = 3  # gaps that are listed
_WIDE: Final = 10  # how many times the median step between dates a gap is


@dataclass(frozen=True)
class Lengths:
    """Hold the lengths of a part's examples in tokens, as training reads them."""

    median: int
    p95: int
    longest: int
    at_limit: int  # examples of max_length tokens: those of longer rows are cut to it


@dataclass(frozen=True)
class Dates:
    """Hold the dates of a part's rows, and its widest gaps."""

    first: datetime
    last: datetime
    gaps: Sequence[tuple[datetime, datetime]]  # the last date before each gap, and the first after it


def token_lengths(examples: Sequence[Mapping[str, Any]], max_length: int) -> Lengths:
    """Return how long the examples of a part are."""
    counts = np.array(lengths(examples))
    median, p95 = np.percentile(counts, [50, 95])
    return Lengths(round(median), round(p95), int(counts.max()), int((counts >= max_length).sum()))


def dates_of(table: Dataset) -> Dates | None:
    """Return the dates of a part's rows; None if they have none.

    A gap is ten times as wide as the median step between two dates, and three days or more.
    """
    if "available_at" not in table.column_names:
        return None
    instants = sorted({at if at.tzinfo else at.replace(tzinfo=UTC) for at in table["available_at"]})
    steps = sorted((later - earlier, earlier, later) for earlier, later in pairwise(instants))
    wide = max(timedelta(days=3), _WIDE * steps[len(steps) // 2][0]) if steps else timedelta.max
    gaps = [(earlier, later) for step, earlier, later in reversed(steps[-GAPS:]) if step >= wide]
    return Dates(instants[0], instants[-1], gaps)
