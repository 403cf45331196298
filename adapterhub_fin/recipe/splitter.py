"""Define the recipe's options for dividing a corpus into train, validation and test."""

from __future__ import annotations

from datetime import date
from itertools import pairwise
from typing import Literal

from pydantic import Field, model_validator

from adapterhub_fin.plugin.calendars import CALENDAR_PATTERN, SPAN_PATTERN, Offset
from adapterhub_fin.plugin.options import Options

IN_TIME = frozenset(["time", "walk-forward", "window"])  # splitters that promise that training knows nothing of test
_ONLY = {"folds": "walk-forward", "fold": "walk-forward", "since": "window", "cutoff": "window", "until": "window"}


class Splitter(Options):
    """Say how rows are divided into train, validation and test. Models are never selected on test."""

    by: Literal["random", "stratified", "grouped", "time", "walk-forward", "window", "given"] | None = Field(
        None,
        description="random, stratified by label, grouped (a group stays whole), time, walk-forward, window, or given; "
        "by default stratified where rows have a label, else grouped where they have a group, else random.",
    )
    validation: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="Share of all rows (walk-forward, window: of those before test) for early stopping.",
    )
    test: float = Field(
        0.2, gt=0, lt=1, description="Share of all rows held out to the end; walk-forward and window have their own."
    )
    seed: int = Field(0, ge=0, description="Seed of the shuffle.")
    embargo: str | None = Field(
        None,
        pattern=SPAN_PATTERN,
        description="5B, 5d, 12h or 30min: time, walk-forward and window drop rows not known that long before the "
        "next part.",
    )
    calendar: str | None = Field(
        None,
        pattern=CALENDAR_PATTERN,
        description="Calendar of the business days of an embargo in B: weekdays, XNYS, ...",
    )
    folds: int | None = Field(None, ge=1, description="walk-forward: number of test blocks on the time axis.")
    fold: int | None = Field(None, ge=1, description="walk-forward: the test block of this run, from 1.")
    since: date | None = Field(None, description="window: the first day whose rows are read; by default every row is.")
    cutoff: date | None = Field(None, description="window: rows known from this day on (00:00 UTC) aren't trained on.")
    until: date | None = Field(None, description="window: test holds the rows from the cut-off to before this day.")

    drop_copies: bool | None = Field(
        None,
        description="Drop rows whose text is also in an earlier part (given: in a later one, so that a published test "
        "part keeps its rows); by default they are counted, and random, stratified and grouped keep them together.",
    )

    @property
    def embargo_span(self) -> Offset | None:
        """Return the embargo as a length of time: zero where rows are in order of time, None for other splitters."""
        embargo = self.embargo or ("0d" if self.by in IN_TIME else None)
        return None if embargo is None else Offset(embargo, self.calendar)

    @model_validator(mode="after")
    def _something_is_left_to_train_on(self) -> Splitter:
        if self.validation + self.test >= 1:
            raise ValueError(f"validation {self.validation} and test {self.test} leave nothing to train on")
        return self

    @model_validator(mode="after")
    def _options_go_together(self) -> Splitter:
        by = self.by or "left to the rows"
        if self.embargo is not None and by not in IN_TIME:
            raise ValueError(f"embargo {self.embargo} needs rows in order of time, and by is {by}: use time")
        if self.calendar is not None and self.embargo is None:
            raise ValueError(f"calendar {self.calendar} counts the days of an embargo: give one, such as 5B")
        for name, way in _ONLY.items():
            if getattr(self, name) is not None and by != way:
                raise ValueError(f"{name} {getattr(self, name)} belongs to by {way}, and by is {by}")
        self.embargo_span  # noqa: B018  (raises ValueError if the embargo and the calendar don't fit)
        return self

    @model_validator(mode="after")
    def _a_fold_is_one_of_the_folds(self) -> Splitter:
        if self.by == "walk-forward" and (self.folds is None or self.fold is None):
            raise ValueError("by walk-forward needs both folds and fold, such as folds 5 and fold 1")
        if self.folds is not None and self.fold is not None and self.fold > self.folds:
            raise ValueError(f"fold {self.fold} is beyond folds {self.folds}")
        return self

    @model_validator(mode="after")
    def _a_window_has_its_days_in_order(self) -> Splitter:
        if self.by == "window" and (self.cutoff is None or self.until is None):
            raise ValueError("by window needs both cutoff and until, such as 2021-04-01 and 2021-07-01")
        days = [day for day in (self.since, self.cutoff, self.until) if day is not None]
        if any(not earlier < later for earlier, later in pairwise(days)):
            raise ValueError(f"since, cutoff and until must follow one another, not {', '.join(map(str, days))}")
        return self
