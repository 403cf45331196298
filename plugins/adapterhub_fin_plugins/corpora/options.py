"""Options of the corpora, by which recipes, commands and manifests check them; importing them imports no torch."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path, PurePath
from typing import Literal

from pydantic import Field, field_validator, model_validator

from adapterhub_fin.errors import BadInstant
from adapterhub_fin.plugin.calendars import CALENDAR_PATTERN, SPAN_PATTERN, Offset
from adapterhub_fin.plugin.options import Options
from adapterhub_fin_registry.model.knowledge import end_of_day


class Zoned(Options):
    """For a source whose dates may carry no time zone, and whose license only its user knows."""

    timezone: str | None = Field(
        None, description="Zone of dates and times that carry none, such as America/New_York; a day alone ends there."
    )
    license: str | None = Field(None, min_length=1, description="License of the rows, as SPDX names it.")

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
    split: str | None = Field(None, description="Column that says train, validation or test, for a split by given.")

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
        Offset(self.label_horizon, self.calendar)  # raises the ValueError of a length that goes with no calendar
        if self.label_known_at is not None:
            raise ValueError(f"label_known_at and label_horizon {self.label_horizon} are two dates: name one")
        if self.available_at is None or (self.label is None and self.target is None):
            raise ValueError(f"label_horizon {self.label_horizon} needs available_at, and a label or a target")
        return self


class FiqaOptions(Options):
    """Where the copy lies, and which of its sentences to take."""

    path: Path = Field(description="The folder with task1_headline_ABSA_train.json and its three sisters.")
    kind: Literal["headline", "post", "both"] = Field("both", description="News headlines, posts of traders, or both.")
    name_entity: bool = Field(
        True,
        description="Begin the text with the firm that the score is for: without it, a sentence about two firms "
        "whose scores differ contradicts itself, and is dropped.",
    )


class HeadlinesOptions(Options):
    """How many sentences, and of which years."""

    rows: int = Field(1900, ge=60, le=50_000, description="Sentences to generate.")
    seed: int = Field(0, ge=0, description="Seed of the generator.")
    start: date = Field(date(2016, 1, 4), description="First day of publication.")
    end: date = Field(date(2021, 12, 30), description="Last day of publication.")

    @model_validator(mode="after")
    def _starts_before_it_ends(self) -> HeadlinesOptions:
        if self.end - self.start < timedelta(days=7):  # a week holds a weekday, and news comes on weekdays
            raise ValueError(f"start {self.start} must lie before end {self.end} by a week or more")
        return self


class HubOptions(Columns):
    """Which data set, how much of it, and what its columns are."""

    id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$",
        description="The data set's id on the Hub, such as org/name.",
    )
    path: Path | None = Field(
        None, description="A folder that holds a copy of it, which is read instead; it is not recorded."
    )
    config: str | None = Field(None, description="Its configuration, where it has several.")
    revision: str | None = Field(None, description="Commit, tag or branch; a commit makes the run repeatable.")
    splits: tuple[str, ...] = Field(
        ("train",), min_length=1, description="Its splits to read; of several, each row's is its split here."
    )
    rows: int | None = Field(None, ge=1, description="Take the first rows of each split, at most so many.")
    streaming: bool = Field(False, description="Read no more than those rows over the network; needs rows.")

    @model_validator(mode="after")
    def _says_what_to_read(self) -> HubOptions:
        if self.id is None and self.path is None:
            raise ValueError("give an id, a path, or both")
        if self.path is not None and self.revision is not None:
            raise ValueError(f"revision {self.revision} is of the Hub, and path is read as it lies: give one of them")
        if self.streaming and self.rows is None:
            raise ValueError("streaming needs rows: how many to take")
        if len(self.splits) > 1 and self.split is not None:
            raise ValueError(f"split {self.split} and several splits both say where a row belongs: give one of them")
        return self


class InstructionsOptions(Zoned):
    """Where the conversations lie, and what groups and dates them."""

    path: Path = Field(description="The .jsonl file, or a .json list, .csv or .parquet.")
    available_at: str | None = Field(None, description="Column of when one could have read the conversation.")
    group: str | None = Field(None, description="Column of what a grouped split keeps whole.")

    @model_validator(mode="after")
    def _has_something_to_place_in_a_zone(self) -> InstructionsOptions:
        if self.timezone is not None and self.available_at is None:
            raise ValueError(f"timezone {self.timezone} is of dates, and there are none: name their column")
        return self


class PhraseBankOptions(Options):
    """Where the copy lies, and how far its annotators had to agree."""

    path: Path = Field(description="The folder with Sentences_*.txt, or one such file.")
    agreement: Literal[50, 66, 75, "all"] = Field(
        50, description="Least agreement of the annotators, per cent: scores on `all` are some ten points higher."
    )


class TableOptions(Columns):
    """Where the file lies, and what its columns are."""

    path: Path = Field(description="The .csv, .json, .jsonl or .parquet file.")


class TextOptions(Zoned):
    """Where the documents lie, and what dates them."""

    path: Path = Field(description="A .txt, .md, .html or .htm file, or a folder of them.")
    glob: str = Field("**/*", description="Which files of the folder are documents, such as *.txt or 10-K/*.html.")
    dates: Path | None = Field(
        None, description="A table with the columns file (a name relative to path) and available_at."
    )

    @field_validator("glob")
    @classmethod
    def _stays_in_the_folder(cls, pattern: str) -> str:
        if not pattern or PurePath(pattern).is_absolute() or ".." in PurePath(pattern).parts:
            raise ValueError("a glob is relative to path and stays within it")
        return pattern

    @model_validator(mode="after")
    def _has_something_to_place_in_a_zone(self) -> TextOptions:
        if self.timezone is not None and self.dates is None:
            raise ValueError(f"timezone {self.timezone} is of dates, and there are none: name their table as dates")
        return self
