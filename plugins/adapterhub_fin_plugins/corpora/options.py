"""Define the corpora's options, which recipes, commands and manifests check; this module imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path, PurePath
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, field_validator, model_validator

from adapterhub_fin.plugin import (
    CALENDAR_PATTERN,
    SPAN_PATTERN,
    BadRecipe,
    CellOptions,
    FilesByPart,
    KnownAt,
    Offset,
    Options,
    TableReading,
    UnknownName,
    ZonedOptions,
    asserted,
    check_date_format,
    corpus_options,
    written_date,
)

# Columns of a corpus that an option of `Columns` names.
OPTIONS = frozenset(
    [
        "text",
        "label",
        "target",
        "weight",
        "features",
        "available_at",
        "label_known_at",
        "group",
        "split",
        "slices",
        "origin",
    ]
)
_MATERIAL = "A .csv, .tsv, .json, .jsonl or .parquet file"
TURNS = ("messages", "instruction", "input", "output", "system", "user", "assistant")


class Cells(ZonedOptions, CellOptions):
    """Say how cells are written, and what becomes of rows that lack one."""

    date_format: str | None = Field(
        None,
        min_length=1,
        description="How dates are written, as strptime has it, such as %d/%m/%Y; unix or unix_ms for numbers.",
    )
    decimal: Literal[".", ","] = Field(".", description="Mark before the decimals of numbers that are written as text.")
    drop_missing: bool = Field(
        False, description="Drop rows that lack a cell which is read, and count them; otherwise they are faults."
    )
    rename: dict[str, str] = Field(
        {}, description="What the source calls its columns: {text: headline} reads headline as text."
    )

    @field_validator("date_format")
    @classmethod
    def _formats_a_date(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            check_date_format(pattern)
        return pattern


class StatedEnd(Options):
    """Say until when rows that carry no date were written, and where that is stated."""

    dated_by: ClassVar[str]  # the option by which rows have dates of their own

    knowledge_end: str | None = Field(
        None, description="For rows without dates: the date or instant by which all of them were published."
    )
    evidence: str | None = Field(None, description="Where that date is stated: a title page, a paper, a data card.")

    @field_validator("knowledge_end", mode="before")
    @classmethod
    def _as_yaml_reads_a_date(cls, value: Any) -> Any:
        return written_date(value)

    @property
    def known(self) -> KnownAt | None:
        """Return the stated date with its evidence; None where none is stated."""
        return asserted(self.knowledge_end, self.evidence, "corpus")

    @model_validator(mode="after")
    def _dates_what_has_no_date(self) -> StatedEnd:
        try:
            stated = self.known
        except BadRecipe as error:
            raise ValueError(str(error).removeprefix("corpus: ")) from error
        if stated is not None and getattr(self, self.dated_by) is not None:
            raise ValueError("knowledge_end is for rows without dates, and these have their own: leave it out")
        return self


class Columns(Cells):
    """Map columns of the source to columns of the corpus."""

    text: str | tuple[str, ...] = Field("text", description="Column of the text, or several: joined by a line break.")
    columns: Mapping[str, str] = Field(
        {},
        description="Further columns of texts that a head reads, such as prompt, chosen and rejected: their names, or "
        "the source's column for each. The text is then read only if it is named.",
    )
    label: str | None = Field(None, description="Column of the class to predict.")
    labels: dict[str, str] = Field(
        {}, description="Names of the classes by what the column holds: {0: bearish, 1: bullish}; others are faults."
    )
    label_separator: str | None = Field(
        None,
        min_length=1,
        description="Mark between the labels of a cell, such as ;: each label is then a list, empty in an empty cell.",
    )
    target: str | None = Field(None, description="Column of the number to predict.")
    features: tuple[str, ...] = Field((), description="Columns of numbers to use as features, in this order.")
    weight: str | None = Field(None, description="Column of how much a training row counts: 0 or more; 1 is usual.")
    available_at: str | None = Field(None, description="Column of when the row could have been read.")
    label_known_at: str | None = Field(None, description="Column of when the label or target was known.")
    label_horizon: str | None = Field(
        None,
        pattern=SPAN_PATTERN,
        description="5B, 5d, 12h or 30min: how long after available_at the label or target was known; 0d for at once.",
    )
    calendar: str | None = Field(
        None,
        pattern=CALENDAR_PATTERN,
        description="Calendar of the business days in a horizon such as 5B: weekdays, XNYS, ...",
    )
    slices: tuple[str, ...] = Field(
        (), description="Columns to keep, such as the sector, by which ahf evaluate --by tells metrics apart."
    )
    group: str | None = Field(
        None, description="Column whose equal values a grouped split keeps together, such as the firm."
    )
    split: str | None = Field(None, description="Column that says train, validation or test, for the splitter `given`.")

    @field_validator("text")
    @classmethod
    def _names_a_column(cls, names: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not names:
            raise ValueError("name a column")
        return names

    @field_validator("labels", mode="before")
    @classmethod
    def _numbers_are_texts(cls, labels: Any) -> Any:
        return {str(key): value for key, value in labels.items()} if isinstance(labels, dict) else labels

    @field_validator("columns", mode="before", json_schema_input_type=Mapping[str, str] | tuple[str, ...])
    @classmethod
    def _are_no_options(cls, columns: Any) -> Any:
        names = dict(zip(columns, columns, strict=True)) if isinstance(columns, list | tuple) else columns
        if isinstance(names, Mapping) and (taken := sorted(OPTIONS.intersection(names))):
            raise ValueError(f"{taken[0]} has an option of its own: give {taken[0]}, outside columns")
        return names

    @property
    def has_answer(self) -> bool:
        """Return whether the rows hold something to predict: a label, a target, or the chosen of two answers."""
        return self.label is not None or self.target is not None or "chosen" in self.columns

    @property
    def reads_text(self) -> bool:
        """Return whether the column of the text is read."""
        return not self.columns or "text" in self.model_fields_set

    @model_validator(mode="after")
    def _names_the_classes_of_a_column(self) -> Columns:
        if self.labels and self.label is None:
            raise ValueError("labels are names for the classes of a column: name it as label")
        if self.label_separator is not None and self.label is None:
            raise ValueError("label_separator stands between the labels of a column: name it as label")
        return self

    @model_validator(mode="after")
    def _has_one_answer(self) -> Columns:
        if self.label is not None and self.target is not None:
            raise ValueError(f"label {self.label} and target {self.target} are two things to predict: give one")
        if self.label_known_at is not None and not self.has_answer:
            raise ValueError(f"label_known_at {self.label_known_at} needs a label or a target: name its column")
        return self

    @model_validator(mode="after")
    def _has_one_date_of_the_answer(self) -> Columns:
        if self.label_horizon is None:
            if self.calendar is not None:
                raise ValueError(f"calendar {self.calendar} is for a label_horizon: give one, such as 5B")
            return self
        Offset(self.label_horizon, self.calendar)  # raises ValueError if the length doesn't fit the calendar
        if self.label_known_at is not None:
            raise ValueError(
                f"label_known_at and label_horizon {self.label_horizon} are two dates of the label: give one"
            )
        if self.available_at is None or not self.has_answer:
            raise ValueError(f"label_horizon {self.label_horizon} needs available_at, and a label or a target")
        return self


class FiqaOptions(Options):
    """Choose the folder of the copy and which sentences to read."""

    path: Path = Field(description="The folder with task1_headline_ABSA_train.json and the three similar files.")
    kind: Literal["headline", "post", "both"] = Field("both", description="News headlines, posts of traders, or both.")
    name_entity: bool = Field(
        True,
        description="Begin the text with the firm that the score is for. Without it, a sentence about two firms "
        "with different scores conflicts with itself and is dropped.",
    )


class HeadlinesOptions(Options):
    """Choose the number of sentences and their dates."""

    rows: int = Field(1900, ge=60, le=50_000, description="Sentences to generate.")
    seed: int = Field(0, ge=0, description="Seed of the generator.")
    start: date = Field(date(2016, 1, 4), description="First day of publication.")
    end: date = Field(date(2021, 12, 30), description="Last day of publication.")

    @model_validator(mode="after")
    def _starts_before_it_ends(self) -> HeadlinesOptions:
        if self.end - self.start < timedelta(days=7):  # a week has a weekday, and sentences are dated on weekdays
            raise ValueError(f"start {self.start} must be before end {self.end} by a week or more")
        return self


class HubOptions(Columns):
    """Choose the data set, its rows and its columns."""

    id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$",
        description="The data set's id on the Hub, such as org/name.",
    )
    path: Path | None = Field(
        None, description="A folder with a copy of the data set, which is read instead; the path is not recorded."
    )
    config: str | None = Field(None, description="The data set's configuration, if it has several.")
    revision: str | None = Field(None, description="Commit, tag or branch; a commit makes the run reproducible.")
    splits: tuple[str, ...] = Field(
        ("train",), min_length=1, description="The splits to read; if there are several, each row keeps its split."
    )
    rows: int | None = Field(None, ge=1, description="Read at most this many rows of each split, from the start.")
    streaming: bool = Field(False, description="Download only those rows; needs rows.")

    @model_validator(mode="after")
    def _says_what_to_read(self) -> HubOptions:
        if self.id is None and self.path is None:
            raise ValueError("give an id, a path, or both")
        if self.path is not None and self.revision is not None:
            raise ValueError(f"revision {self.revision} is for the Hub, and path is a local copy: give one of them")
        if self.streaming and self.rows is None:
            raise ValueError("streaming needs rows: how many to take")
        if len(self.splits) > 1 and self.split is not None:
            raise ValueError(f"split {self.split} and several splits both say where a row belongs: give one of them")
        return self


class InstructionsOptions(Cells):
    """Choose the file of conversations and its columns."""

    path: FilesByPart | None = Field(None, description=f"{_MATERIAL}, a list of them, or {{train: ..., test: ...}}.")
    data: str | None = Field(None, pattern=r"^sha256:[0-9a-f]{64}$", description="Rows from memory, by their digest.")
    system: str | None = Field(None, min_length=1, description="A system message before every conversation.")
    available_at: str | None = Field(None, description="Column of when the conversation could have been read.")
    group: str | None = Field(None, description="Column whose equal values a grouped split keeps together.")

    @model_validator(mode="after")
    def _has_one_source(self) -> InstructionsOptions:
        if (self.path is None) == (self.data is None):
            raise ValueError("give a path, or rows from memory (corpus=TABLE)")
        if unknown := sorted(set(self.rename) - set(TURNS)):
            raise ValueError(f"rename {unknown[0]}: a conversation is made of {', '.join(TURNS)}")
        return self

    @model_validator(mode="after")
    def _has_something_to_place_in_a_zone(self) -> InstructionsOptions:
        if self.timezone is not None and self.available_at is None:
            raise ValueError(
                f"timezone {self.timezone} is for dates, and there are none: name their column as available_at"
            )
        return self


class MixturePart(BaseModel):
    """Choose one corpus of a mixture by its name, with its options; they are checked with the recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"x-plugin": "corpus"})

    name: str = Field(description="The corpus's name, as `ahf plugins` lists it.")
    options: SerializeAsAny[BaseModel]
    repeat: int = Field(1, ge=1, le=1000, description="How often an epoch sees its training rows, 1 to 1000.")

    @model_validator(mode="before")
    @classmethod
    def _reads_options(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and isinstance(given.get("options"), BaseModel):
            return given
        corpus = dict(given) if isinstance(given, Mapping) else given
        repeat = corpus.pop("repeat", 1) if isinstance(corpus, dict) else 1
        if not isinstance(repeat, int) or isinstance(repeat, bool) or not 1 <= repeat <= 1000:
            raise ValueError(f"repeat is how often an epoch sees the training rows, 1 to 1000, and not {repeat!r}")
        try:
            name, options = corpus_options(corpus)
        except (BadRecipe, UnknownName) as error:
            raise ValueError(str(error)) from error
        return {"name": name, "options": options, "repeat": repeat}


class MixtureOptions(Options):
    """Choose the corpora, each as in a recipe, with `repeat`: how often an epoch sees its training rows."""

    corpora: tuple[MixturePart, ...] = Field(
        min_length=2, description="The corpora, each a name or a mapping with its options, and repeat (1 by default)."
    )


class PhraseBankOptions(Options):
    """Choose the folder of the copy and the minimum agreement of the annotators."""

    path: Path = Field(description="The folder with Sentences_*.txt, or one such file.")
    agreement: Literal[50, 66, 75, "all"] = Field(
        50, description="Minimum agreement of the annotators, in percent; scores on `all` are about ten points higher."
    )


class TableOptions(Columns, TableReading, StatedEnd):
    """Choose the files, or the rows from memory, and their columns."""

    dated_by = "available_at"
    path: FilesByPart | None = Field(None, description=f"{_MATERIAL}, a list of them, or {{train: ..., test: ...}}.")
    data: str | None = Field(None, pattern=r"^sha256:[0-9a-f]{64}$", description="Rows from memory, by their digest.")

    @model_validator(mode="after")
    def _has_one_source(self) -> TableOptions:
        if (self.path is None) == (self.data is None):
            raise ValueError("give a path, or rows from memory (corpus=TABLE)")
        if isinstance(self.path, dict) and self.split is not None:
            raise ValueError(f"split {self.split} and files by part both say where a row belongs: give one of them")
        return self


class TextOptions(ZonedOptions, StatedEnd):
    """Choose the documents and the table of their dates."""

    dated_by = "dates"
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
            raise ValueError(f"timezone {self.timezone} is for dates, and there are none: name their table as dates")
        return self
