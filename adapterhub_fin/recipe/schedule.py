"""Define the recipe's options for a walk-forward series: each cut-off gives a version that knows nothing after it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from itertools import count

from pydantic import Field, field_validator, model_validator

from adapterhub_fin.plugin.calendars import CALENDAR_PATTERN, SPAN_PATTERN, Offset
from adapterhub_fin.plugin.options import Options

MONTHS_PATTERN = r"^[1-9][0-9]?(mo|y)$"
_STEPS = {"monthly": 1, "quarterly": 3, "yearly": 12}  # in months


@dataclass(frozen=True)
class Window:
    """Hold the days of one version's training and test rows; a day begins at 00:00 UTC."""

    since: date | None  # rows of earlier days are left out; None: no row is
    cutoff: date  # nothing known from here on is trained on
    until: date  # test holds the rows from the cut-off to before this day


class Schedule(Options):
    """Say which windows a series has; each window trains on the test part of the one before."""

    windows: str = Field(
        description="monthly, quarterly, yearly, or a length such as 6mo: from one cut-off to the next."
    )
    start: date = Field(description="The first cut-off, on one of the days 1 to 28; the others follow from it.")
    end: date | None = Field(None, description="The last cut-off, at most; by default the last with rows to test on.")
    length: str | None = Field(
        None,
        pattern=MONTHS_PATTERN,
        description="24mo or 2y: how far back a window trains; by default on all rows before.",
    )
    embargo: str | None = Field(
        None, pattern=SPAN_PATTERN, description="5B, 5d, 12h or 30min: rows not known that long before are left out."
    )
    calendar: str | None = Field(
        None,
        pattern=CALENDAR_PATTERN,
        description="Calendar of the business days of an embargo in B: weekdays, XNYS, ...",
    )

    @field_validator("windows")
    @classmethod
    def _is_a_length(cls, windows: str) -> str:
        if windows not in _STEPS and not re.fullmatch(MONTHS_PATTERN, windows):
            raise ValueError(f"windows {windows} is no length: write monthly, quarterly, yearly, 6mo or 2y")
        return windows

    @model_validator(mode="after")
    def _goes_together(self) -> Schedule:
        if self.start.day > 28:  # most months have no 31st
            raise ValueError(f"start {self.start} has no such day in every month: begin on one of the days 1 to 28")
        if self.end is not None and self.end < self.start:
            raise ValueError(f"end {self.end} lies before start {self.start}")
        if self.embargo is not None:
            Offset(self.embargo, self.calendar)  # raises ValueError if the embargo and the calendar don't fit
        elif self.calendar is not None:
            raise ValueError(f"calendar {self.calendar} counts the days of an embargo: give one, such as 5B")
        return self

    def until(self, last: date) -> Iterator[Window]:
        """Yield the windows, oldest first, whose cut-off is not after `last`, the day of the last row."""
        step = _STEPS.get(self.windows) or _months(self.windows)
        last = min(last, self.end or last)
        for number in count():
            cutoff = _later(self.start, number * step)
            if cutoff > last:
                return
            since = None if self.length is None else _later(cutoff, -_months(self.length))
            yield Window(since, cutoff, _later(cutoff, step))


def _months(length: str) -> int:
    return int(length.removesuffix("mo")) if length.endswith("mo") else 12 * int(length.removesuffix("y"))


def _later(day: date, months: int) -> date:
    month = 12 * day.year + day.month - 1 + months  # counted from year 0
    return day.replace(year=month // 12, month=month % 12 + 1)
