"""Define the options of dated text; this module imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    field_validator,
    model_validator,
)

from adapterhub_fin.plugin import (
    SPAN_PATTERN,
    BadRecipe,
    Options,
    TableReading,
    UnknownName,
    ZonedOptions,
    check_date_format,
    corpus_options,
)


def _is_of_the_clock(span: str) -> str:
    if span.endswith("B"):
        raise ValueError(f"{span} is of business days: give one of the clock, such as 3h")
    return span


ClockSpan = Annotated[str, Field(pattern=SPAN_PATTERN), AfterValidator(_is_of_the_clock)]


class DocumentOptions(Options):
    """Choose how texts are normalised, which are dropped, and whether they are read into the cache."""

    license: str | None = Field(None, min_length=1, description="License of the texts, as an SPDX id.")
    normalise: bool = Field(
        True,
        description="Repair spaces, invisible and control characters. Numbers, percentages, currencies and dates stay.",
    )
    min_words: int | None = Field(None, ge=1, description="Drop texts of fewer words, and count them.")
    max_words: int | None = Field(None, ge=1, description="Drop texts of more words, and count them.")
    min_terms: float | None = Field(
        None, gt=0, le=1, description="Drop texts whose finance terms are a smaller share of their words, such as 0.02."
    )
    near_duplicates: float | None = Field(
        None,
        ge=0.5,
        le=1,
        description="Drop texts that share this much of their 5-word runs with an earlier one (MinHash's estimate of "
        "Jaccard's similarity), such as 0.9; 1 drops texts of the same words alone. News with a group is compared "
        "within it.",
    )
    sharded: bool | None = Field(
        None, description="Read the texts into shards in the cache; by default where the sources are over 64 MB."
    )

    @property
    def compares_within_groups(self) -> bool:
        """Return whether near-duplicates are those of a group, such as a ticker."""
        return False

    @model_validator(mode="after")
    def _leaves_a_length(self) -> DocumentOptions:
        if self.min_words is not None and self.max_words is not None and self.min_words > self.max_words:
            raise ValueError(f"min_words {self.min_words} is above max_words {self.max_words}: no text is left")
        return self


class FolderOptions(DocumentOptions):
    """Choose the files of a folder."""

    path: Path = Field(description="A file, or a folder of files.")
    glob: str = Field("**/*", description="Which files of the folder are read, such as *.txt or 10-K/*.html.")

    @field_validator("glob")
    @classmethod
    def _stays_in_the_folder(cls, pattern: str) -> str:
        return check_glob(pattern)


def check_glob(pattern: str) -> str:
    """Return a glob that stays within its folder. Raises ValueError for another."""
    if not pattern or PurePath(pattern).is_absolute() or ".." in PurePath(pattern).parts:
        raise ValueError("a glob is relative to path and stays within it")
    return pattern


class EdgarOptions(DocumentOptions):
    """Choose filings: files of this machine, or companies whose filings are downloaded."""

    path: Path | None = Field(
        None, description="A folder or a file: raw submissions (.txt) and main documents (.htm, .html)."
    )
    glob: str = Field("**/*", description="Which files of the folder are read, such as 10-K/*.html.")
    companies: tuple[str, ...] = Field(
        (), description="Tickers or CIKs whose filings are downloaded with edgartools into the cache, instead of path."
    )
    identity: str | None = Field(
        None, description="Name and address that the SEC asks of a program, such as 'Jo Doe jo@acme.com'."
    )
    since: date | None = Field(None, description="First filing date to download.")
    until: date | None = Field(None, description="Last filing date to download.")
    forms: tuple[str, ...] = Field(
        ("10-K", "10-Q", "8-K"), min_length=1, description="Forms to read; others, such as 10-K/A, are counted."
    )
    items: tuple[str, ...] = Field(
        (),
        description="Items to cut out, one row each: 1A and 7 of a 10-K, I.2 and II.1A of a 10-Q, 2.02 of an 8-K. "
        "Without it a row is a whole document.",
    )
    exhibits: tuple[str, ...] = Field(
        (), description="Exhibits of a submission to read as rows of their own, by how their types begin: EX-99."
    )
    dates: Path | None = Field(
        None,
        description="Times of acceptance for files without a header: a table with file and accepted or filed, or "
        "EDGAR's own JSON of a company's submissions.",
    )

    @field_validator("glob")
    @classmethod
    def _stays_in_the_folder(cls, pattern: str) -> str:
        return check_glob(pattern)

    @field_validator("items")
    @classmethod
    def _are_items(cls, items: tuple[str, ...]) -> tuple[str, ...]:
        from adapterhub_fin_markets.corpora.items import item_name

        return tuple(item_name(item) for item in items)

    @model_validator(mode="after")
    def _has_one_source(self) -> EdgarOptions:
        if (self.path is None) == (not self.companies):
            raise ValueError("give a path, or companies to download")
        if self.companies and self.identity is None:
            raise ValueError("companies need identity: the SEC asks programs for a name and an address")
        if not self.companies and (self.since or self.until or self.identity):
            raise ValueError("since, until and identity are for companies to download: give companies")
        if self.since and self.until and self.since > self.until:
            raise ValueError(f"since {self.since} is after until {self.until}")
        return self


class FomcOptions(FolderOptions):
    """Choose minutes or statements of the Federal Open Market Committee."""

    kind: Literal["minutes", "statements"] = Field(
        "minutes", description="Minutes are released weeks after their meeting, statements on its last day."
    )
    releases: Path | None = Field(
        None, description="Table of the minutes' releases, with the columns StartDate, EndDate and ReleaseDate."
    )
    release_time: str | None = Field(
        None,
        pattern=r"^([01]\d|2[0-3]):[0-5]\d$",
        description="Time of release in New York, such as 14:00; without it a day is known at its end there.",
    )

    @model_validator(mode="after")
    def _has_releases(self) -> FomcOptions:
        if (self.kind == "minutes") != (self.releases is not None):
            raise ValueError(
                "minutes need releases: their files are named by the meeting, and came out weeks later"
                if self.kind == "minutes"
                else "releases are for minutes: a statement is released on the day that its file is named by"
            )
        return self


class NewsOptions(DocumentOptions, ZonedOptions, TableReading):
    """Choose the tables of news and their columns."""

    path: Path | tuple[Path, ...] = Field(
        description="A .csv, .tsv, .json, .jsonl or .parquet file, a list of them, or a glob."
    )
    text: str | tuple[str, ...] = Field(
        "text", min_length=1, description="Column of the text, or several: joined by a line break, blank ones left out."
    )
    published: str | None = Field(None, description="Column of when a text was published.")
    updated: str | None = Field(None, description="Column of when it was last changed, where it was.")
    received: str | None = Field(None, description="Column of when it reached you, where that is known.")
    written_at: str | None = Field(
        None,
        description="When the texts were written, if that is later than their dates, such as by a language model: a "
        "day or a time from which alone they are known.",
    )
    by_day: str | None = Field(
        None,
        min_length=1,
        description="For a .json object of days, such as {2022-11-29: {news: [...]}}: the key of a day's texts, "
        "instead of text and published.",
    )
    date_format: str | None = Field(
        None,
        min_length=1,
        description="How dates are written, as strptime has it, such as %d/%m/%Y; unix or unix_ms for numbers.",
    )
    drop_missing: bool = Field(
        False,
        description="Drop rows without a text or a date of publication, and count them; otherwise they are faults.",
    )
    end_label: str | None = Field(
        None,
        pattern=r"^[\w-]+$",
        description="Name of a label at the end of texts, such as sentiment in '(sentiment:positive)': it is cut off "
        "and becomes a slice of that name.",
    )
    group: str | None = Field(None, description="Column that a grouped split keeps together, such as the ticker.")
    slices: tuple[str, ...] = Field((), description="Columns to keep, by which ahf evaluate --by tells metrics apart.")

    @property
    def compares_within_groups(self) -> bool:
        """Return whether a column names the group."""
        return self.group is not None

    @field_validator("date_format")
    @classmethod
    def _formats_a_date(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            check_date_format(pattern)
        return pattern

    @field_validator("written_at", mode="before", json_schema_input_type=str | None)
    @classmethod
    def _is_text(cls, value: Any) -> Any:
        return value.isoformat() if isinstance(value, date) else value  # YAML reads 2024-12-31 as a day

    @model_validator(mode="after")
    def _has_one_date(self) -> NewsOptions:
        if (self.by_day is None) == (self.published is None):
            raise ValueError("give published, the column of when a text was published, or by_day for an object of days")
        if self.by_day is not None and (self.updated or self.received or self.group or self.slices):
            raise ValueError("an object of days has texts alone: updated, received, group and slices are for tables")
        if self.end_label is not None and self.end_label in self.slices:
            raise ValueError(f"slices and end_label are both {self.end_label}: give one of them")
        return self


class CallOptions(FolderOptions, ZonedOptions):
    """Choose the transcripts of a folder, and where their dates stand."""

    date: str = Field(
        "date", description="Key of the date in a JSON transcript, and word before it in a text's first lines."
    )
    text: str = Field(
        "transcript", description="Key of the text in a JSON transcript: a text, or a list of speakers' turns."
    )
    company: str = Field("symbol", description="Key of the company in a JSON transcript; else the file's name says it.")
    dates: Path | None = Field(None, description="A table of dates with the columns file and available_at.")
    delay: ClockSpan = Field(
        "3h",
        description="How long after a call's time its transcript is known: 3h, 30min or 1d. A day alone is known "
        "at its end.",
    )


TASKS = ("understanding", "completion", "summary", "questions")


class DocumentsPart(BaseModel):
    """Choose the corpus of the documents by its name, with its options; they are checked with the recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"x-plugin": "corpus"})

    name: str = Field(description="The corpus's name, as `ahf plugins` lists it.")
    options: SerializeAsAny[BaseModel]

    @model_validator(mode="before")
    @classmethod
    def _reads_options(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and "options" in given:
            if isinstance(given["options"], BaseModel):
                return given
            given = {"name": given.get("name"), **given["options"]}
        try:
            name, options = corpus_options(given)
        except (BadRecipe, UnknownName) as error:
            raise ValueError(str(error)) from error
        return {"name": name, "options": options}


class TemplateOptions(Options):
    """Choose the documents, and how often each kind of instruction is made of them."""

    corpus: DocumentsPart = Field(description="The corpus of the documents, as in a recipe: a name, or a mapping.")
    weights: Mapping[Literal["understanding", "completion", "summary", "questions"], float] = Field(
        {"understanding": 40, "completion": 30, "summary": 20, "questions": 10},
        description="How often each kind is made, beside the others.",
    )
    per_document: int = Field(1, ge=1, le=100, description="Instructions for each document.")
    seed: int = Field(0, ge=0, description="Seed of what is drawn; a document's draws depend on it and its text alone.")
    max_chars: int = Field(2000, ge=200, description="Characters of a document that an instruction shows, at most.")
    answers: Path | None = Field(
        None,
        description="A table of given answers, with the columns origin, question and answer: rows of `questions` are "
        "then made of these alone. Its column available_at says when each was given.",
    )
    answers_available_at: Literal["document"] | AwareDatetime | None = Field(
        None,
        description="From when an answer without available_at is known: an instant with its zone, or document, where "
        "it is known with its document.",
    )
    system: str | None = Field(None, min_length=1, description="A system message before every conversation.")
    license: str | None = Field(None, min_length=1, description="License of the rows, as an SPDX id.")

    @field_validator("weights")
    @classmethod
    def _has_some(cls, weights: Mapping[str, float]) -> Mapping[str, float]:
        if not any(weights.values()) or any(weight < 0 for weight in weights.values()):
            raise ValueError("weights are 0 or more, and one of them is above 0")
        return weights

    @model_validator(mode="after")
    def _uses_its_answers(self) -> TemplateOptions:
        if self.answers is None and self.answers_available_at is not None:
            raise ValueError("answers_available_at dates a table of answers: name it as answers")
        if self.answers is not None and not self.weights.get("questions"):
            raise ValueError("answers are for questions: give questions a weight")
        return self
