"""Options that name the columns of a source: shared by every corpus that reads rows from somewhere."""

from __future__ import annotations

from datetime import date

from pydantic import Field, field_validator, model_validator

from adapterhub_fin.errors import BadInstant
from adapterhub_fin.plugin.options import Options
from adapterhub_fin.recipe.calendars import CALENDAR_PATTERN, SPAN_PATTERN, Span
from adapterhub_fin_registry.model.knowledge import end_of_day


class Zoned(Options):
    """For a source whose dates may carry no time zone, and whose licence only its user knows."""

    timezone: str | None = Field(
        None, description="Zone of dates and times that carry none, such as America/New_York; a day alone ends there."
    )
    licence: str | None = Field(None, min_length=1, description="Licence of the rows, as SPDX names it.")

    @field_validator("timezone")
    @classmethod
    def _is_known_here(cls, zone: str | None) -> str | None:
        if zone is not None:
            try:
                end_of_day(date(2000, 1, 1), zone)
            except BadInstant as error:
                raise ValueError(str(error)) from error
        return zone


class Columns(Zoned):
    """Which column of the source becomes which column of the corpus."""

    text: str | tuple[str, ...] = Field("text", description="Column of the text, or several: joined by a line break.")
    label: str | None = Field(None, description="Column of the class to predict.")
    target: str | None = Field(None, description="Column of the number to predict.")
    features: tuple[str, ...] = Field((), description="Columns of numbers that go beside the text, in this order.")
    available_at: str | None = Field(None, description="Column of when one could have read the row.")
    label_known_at: str | None = Field(None, description="Column of when the label or target was known.")
    label_horizon: str | None = Field(
        None,
        pattern=SPAN_PATTERN,
        description="5B, 5d, 12h or 30min: the label or target was known so long after available_at; 0d: with it.",
    )
    calendar: str | None = Field(
        None, pattern=CALENDAR_PATTERN, description="Whose business days a horizon in B counts: weekdays, XNYS, ..."
    )
    group: str | None = Field(None, description="Column of what a grouped split keeps whole, such as the firm.")
    part: str | None = Field(None, description="Column that says train, validation or test, for a split by given.")

    @field_validator("text")
    @classmethod
    def _names_a_column(cls, names: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not names:
            raise ValueError("name a column")
        return names

    @model_validator(mode="after")
    def _has_one_answer(self) -> Columns:
        if self.label is not None and self.target is not None:
            raise ValueError(f"label {self.label} and target {self.target} are two answers: name one")
        if self.label_known_at is not None and self.label is None and self.target is None:
            raise ValueError(f"label_known_at {self.label_known_at} dates no answer: name a label or a target")
        return self

    @model_validator(mode="after")
    def _has_one_date_of_the_answer(self) -> Columns:
        if self.label_horizon is None:
            if self.calendar is not None:
                raise ValueError(f"calendar {self.calendar} counts the days of a label_horizon: give one, such as 5B")
            return self
        Span(self.label_horizon, self.calendar)  # raises the ValueError of a length that goes with no calendar
        if self.label_known_at is not None:
            raise ValueError(f"label_known_at and label_horizon {self.label_horizon} are two dates: name one")
        if self.available_at is None or (self.label is None and self.target is None):
            raise ValueError(f"label_horizon {self.label_horizon} needs available_at, and a label or a target")
        return self
