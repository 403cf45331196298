"""Define the recipe of token shards: which rows, up to when, by which tokenizer, and what is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from adapterhub_fin.errors import BadInstant
from adapterhub_fin.plugin.date_formats import check_date_format
from adapterhub_fin.plugin.documents import read_document
from adapterhub_fin.plugin.options import Options, checked
from adapterhub_fin.plugin.reading import TableReading, ZonedOptions
from adapterhub_fin.recipe.choices import CorpusChoice
from adapterhub_fin.recipe.pretrain_recipe import ALPHABET
from adapterhub_fin_registry.model.knowledge import as_of_instant, end_of_day, format_instant

NEAR = 0.8  # of near-duplicates: the share of five-word runs that two texts have in common


class Filters(Options):
    """Choose which texts are left out, and counted."""

    min_characters: int = Field(1, ge=1, description="Leave out texts with fewer characters.")
    max_characters: int | None = Field(None, ge=1, description="Leave out texts with more characters.")
    max_repeated_lines: float | None = Field(
        None, ge=0, le=1, description="Leave out texts of whose lines more than this share repeat an earlier one."
    )
    min_letters: float | None = Field(
        None, ge=0, le=1, description="Leave out texts of whose characters, spaces apart, fewer are letters."
    )
    duplicates: Literal["none", "exact", "near"] = Field(
        "exact",
        description="Which copies to leave out: none; texts equal but for case, spaces and Unicode forms; or those too "
        "that share most runs of five words (MinHash; needs datasketch). The first in the source's order stays.",
    )
    near: float = Field(
        NEAR, ge=0.5, le=1, description="The estimated share of common five-word runs from which texts are copies."
    )


class NewTokenizer(Options):
    """Say how a tokenizer is trained on the texts that the shards take."""

    train: int = Field(ge=ALPHABET + 8, le=1_000_000, description="Train byte-level BPE with so many tokens.")
    kind: Literal["llama", "modernbert"] = Field(
        "llama", description="The model that it is for: its special tokens begin and end documents."
    )
    sample: int | None = Field(
        50_000_000, ge=1, description="Characters that it is trained on at most, drawn by the texts; null is all."
    )
    seed: int = Field(0, ge=0, lt=1 << 63, description="Seed of the sample.")


class TokenizeRecipe(TableReading, ZonedOptions):
    """Describe the rows to tokenize, the cut, the tokenizer, the filters and the shards."""

    files: tuple[str, ...] = Field(
        (), description="Files of rows, or globs: .jsonl, .parquet, .csv or .tsv, read one row at a time."
    )
    corpus: CorpusChoice | None = Field(None, description="An installed corpus in place of files, with its options.")
    text: str = Field("text", description="Column of the text, in files.")
    available_at: str = Field("available_at", description="Column of when a text could first be read, in files.")
    date_format: str | None = Field(
        None, min_length=1, description="How dates are written, as strptime has it; unix or unix_ms for numbers."
    )
    drop_missing: bool = Field(
        False, description="Leave out, and count, rows without a text or a date; otherwise they are faults."
    )
    until: str = Field(description="The last day, to its end in UTC, or the last instant of rows that are taken.")
    after: str | None = Field(None, description="Take only rows from after the end of this day, or this instant.")
    tokenizer: Path | NewTokenizer = Field(
        description="A folder with tokenizer.json, or {train: 8192} to train one on the texts that are taken."
    )
    tokenizer_known: str | None = Field(
        None, description="Day or instant of the last text that the tokenizer was trained on; needs evidence."
    )
    tokenizer_evidence: str | None = Field(None, min_length=1, description="Where that is stated.")
    begin_token: str | None = Field(
        None, description="Token before each document; by default the tokenizer's bos_token or cls_token; '' is none."
    )
    end_token: str | None = Field(
        None, description="Token after each document; by default the tokenizer's eos_token or sep_token; '' is none."
    )
    filters: Filters = Field(default_factory=Filters, description="Which texts are left out.")
    shard_tokens: int = Field(100_000_000, ge=1, description="Tokens from which on a shard is finished.")

    @field_validator("files", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (str(value),) if isinstance(value, str | Path) else value

    @field_validator("corpus", mode="before")
    @classmethod
    def _by_its_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("tokenizer", mode="before")
    @classmethod
    def _trains_by_its_options(cls, value: Any) -> Any:
        return checked(NewTokenizer, value, "tokenizer") if isinstance(value, Mapping) else value

    @field_validator("until", "after", "tokenizer_known", mode="before")
    @classmethod
    def _is_a_day_or_an_instant(cls, value: Any) -> Any:
        if value is None:
            return None
        try:
            return format_instant(last_instant(value))
        except BadInstant as error:
            raise ValueError(str(error)) from error

    @field_validator("date_format")
    @classmethod
    def _formats_a_date(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            check_date_format(pattern)
        return pattern

    @model_validator(mode="after")
    def _has_one_source(self) -> TokenizeRecipe:
        if bool(self.files) == (self.corpus is not None):
            raise ValueError("give files, or a corpus: one of them")
        if self.after is not None and self.instant("after") >= self.instant("until"):
            raise ValueError(f"after {self.after} leaves no row up to until {self.until}: give an earlier one")
        return self

    @model_validator(mode="after")
    def _dates_the_tokenizer_with_evidence(self) -> TokenizeRecipe:
        if isinstance(self.tokenizer, NewTokenizer) and (self.tokenizer_known or self.tokenizer_evidence):
            raise ValueError("a tokenizer that is trained here is dated by its rows: leave tokenizer_known out")
        if (self.tokenizer_known is None) != (self.tokenizer_evidence is None):
            raise ValueError("tokenizer_known and tokenizer_evidence go together: say where the date is stated")
        return self

    @classmethod
    def read(cls, source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> TokenizeRecipe:
        """Read a YAML file or a mapping, apply `key=value` overrides and check it, and its corpus's options.

        Raises BadRecipe, which names the key, and UnknownName for a corpus that isn't installed.
        """
        recipe = read_document(cls, source, overrides)
        if recipe.corpus is not None:
            CorpusChoice.read(recipe.corpus.model_dump())
        return recipe

    def instant(self, key: Literal["until", "after", "tokenizer_known"]) -> datetime:
        """Return one of the recipe's days or instants as an instant; it must be set."""
        return as_of_instant(getattr(self, key))


def last_instant(value: str | date | datetime) -> datetime:
    """Return an instant as it is, and the last microsecond in UTC of a day. Raises BadInstant for anything else."""
    text = value.isoformat() if type(value) is date else value
    start = as_of_instant(text)
    is_day = isinstance(text, str) and len(text) == len("2013-12-31")
    return end_of_day(start.date(), "UTC") if is_day else start
