"""Define the recipe of a base: a model from scratch, or one that goes on from a stored base, on dated text.

The YAML file, the keyword arguments of `pretrain` and the overrides of `--set` are all read by this model. It is all
checked before torch is imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator, model_validator

from adapterhub_fin.plugin.documents import read_document
from adapterhub_fin.plugin.options import Options
from adapterhub_fin.recipe.choices import CorpusChoice
from adapterhub_fin.recipe.given import check_version_name, corpora_as_mixture
from adapterhub_fin.recipe.pretrain_training import FLASH, PretrainTraining
from adapterhub_fin.recipe.schedule import Schedule, Window
from adapterhub_fin.recipe.splitter import Splitter

NO_BASE_NAME = "the recipe has no name: give NAMESPACE/NAME for the base, such as --set name=acme/fin-2013"
ALPHABET = 256  # a byte-level vocabulary holds every byte before the first merge
SHAPE = ("layers", "width", "heads", "kv_heads", "intermediate", "positions", "tied", "tokenizer")


class TokenizerChoice(Options):
    """Say which tokenizer a new base has: one that is trained on the same rows, or that of a stored base."""

    train: int | None = Field(
        None,
        ge=ALPHABET + 8,
        le=1_000_000,
        description="Train byte-level BPE with so many tokens on the training rows; 8192 without any choice.",
    )
    version: str | None = Field(
        None, description="A stored base whose tokenizer to use; its text must lie before the end of `until` too."
    )

    @model_validator(mode="after")
    def _is_one(self) -> TokenizerChoice:
        if (self.train is None) == (self.version is None):
            raise ValueError("give train (a number of tokens) or version (a stored base), one of the two")
        return self


class PretrainBase(Options):
    """Say what is trained: the shape of a new model, or the stored base that it goes on from."""

    new: Literal["llama", "modernbert"] | None = Field(
        None, description="llama, which writes on, or modernbert, an encoder that fills in masked tokens."
    )
    version: str | None = Field(
        None, description="A stored base to go on from, such as acme/fin-2012@1, in place of `new`; it keeps its shape."
    )
    layers: int = Field(4, ge=1, le=1024, description="Layers of the model.")
    width: int = Field(256, ge=8, le=65536, description="Hidden size; a multiple of `heads`.")
    heads: int = Field(4, ge=1, le=1024, description="Attention heads.")
    kv_heads: int | None = Field(None, ge=1, description="Key and value heads of a llama; by default as many as heads.")
    intermediate: int | None = Field(
        None, ge=8, description="Width inside an MLP; by default 8/3 of `width` (llama) or 3/2 of it (modernbert)."
    )
    positions: int | None = Field(
        None, ge=8, description="Tokens that the model reads at most; by default `training.block`."
    )
    tied: bool = Field(True, description="Share the weights of input and output embeddings.")
    tokenizer: TokenizerChoice = Field(default_factory=lambda: TokenizerChoice(train=8192))

    @model_validator(mode="after")
    def _is_one(self) -> PretrainBase:
        if (self.new is None) == (self.version is None):
            raise ValueError("give new (llama or modernbert) for a model from scratch, or version to go on from a base")
        if self.version is not None and (shape := [key for key in SHAPE if key in self.model_fields_set]):
            raise ValueError(f"{self.version} has its shape and its tokenizer: leave {', '.join(shape)} out")
        return self

    @model_validator(mode="after")
    def _divides(self) -> PretrainBase:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}: choose {self._next_width}")
        if (self.width // self.heads) % 2:
            raise ValueError(
                f"a head is {self.width // self.heads} wide, and rotary positions need an even number: "
                f"choose width {2 * self.width} or other heads"
            )
        if self.kv_heads is not None and self.new != "llama":
            raise ValueError("kv_heads are a llama's: leave them out")
        if self.kv_heads is not None and self.heads % self.kv_heads:
            raise ValueError(f"heads {self.heads} are no multiple of kv_heads {self.kv_heads}: choose one that divides")
        return self

    @property
    def _next_width(self) -> int:
        return -(-self.width // (2 * self.heads)) * 2 * self.heads


class PretrainRecipe(BaseModel):
    """Describe how a base is made: its shape or the base it goes on from, its text, the day up to which, and training.

    Example:
        >>> recipe = PretrainRecipe.read("recipes/base.yaml", ["base.layers=2"])
        >>> recipe.base.new, recipe.base.layers
        ('llama', 2)
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str | None = Field(None, description="Where the version goes, as NAMESPACE/NAME.")
    base: PretrainBase
    corpus: CorpusChoice | None = Field(None, description="Dated text: any corpus whose rows have available_at.")
    shards: Path | None = Field(
        None, description="A folder of tokens from `ahf tokenize`, in place of `corpus`; the tokenizer is its own."
    )
    until: date | None = Field(
        None, description="The last day of the text, to its end in UTC: rows available later are never read from."
    )
    since: date | None = Field(
        None,
        description="The first day of the text; a base that goes on from another begins where that one ended.",
    )
    test_until: date | None = Field(
        None,
        description="Rows after `until` and up to the end of this day are held out to measure the loss.",
    )
    training: PretrainTraining = Field(default_factory=PretrainTraining)
    schedule: Schedule | None = Field(
        None, description="Cut-offs, each of which gives a version that goes on from the one before; without `until`."
    )
    description: str = Field("", description="Text for people and for search.")
    license: str | None = Field(
        None,
        min_length=1,
        validation_alias=AliasChoices("license", "licence"),
        description="License of the base, as SPDX writes it.",
    )
    tags: tuple[Annotated[str, Field(min_length=1)], ...] = Field((), description="Tags for search.")

    @model_validator(mode="before")
    @classmethod
    def _corpora_are_a_mixture(cls, data: Any) -> Any:
        return corpora_as_mixture(data)

    @field_validator("corpus", mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("base", mode="before")
    @classmethod
    def _version_alone(cls, value: Any) -> Any:
        return {"version": value} if isinstance(value, str) else value

    @field_validator("until", "since", "test_until", mode="before")
    @classmethod
    def _a_day(cls, value: Any) -> Any:
        if isinstance(value, datetime):
            raise ValueError(f"{value.isoformat()} is an instant: give the day, such as 2013-12-31")
        return value

    @field_validator("name")
    @classmethod
    def _name_in_grammar(cls, value: str | None) -> str | None:
        return check_version_name(value)

    @model_validator(mode="after")
    def _goes_together(self) -> PretrainRecipe:
        if (self.corpus is None) == (self.shards is None):
            raise ValueError("give corpus (or corpora) or shards, one of the two: the text to train on")
        if self.corpus is not None and self.corpus.splitter != Splitter():
            raise ValueError("corpus.splitter divides rows for adapters: a base's rows are divided by until and time")
        if self.new_shape is not None and (positions := self.new_shape.positions) and positions < self.training.block:
            raise ValueError(
                f"base.positions {positions} are fewer than training.block {self.training.block}: raise one of them"
            )
        if self.base.new == "modernbert" and self.training.attn_implementation in FLASH:
            raise ValueError(
                f"training.attn_implementation {self.training.attn_implementation} doesn't take a modernbert's masks: "
                "use sdpa or flex_attention"
            )
        return self

    @model_validator(mode="after")
    def _days_in_order(self) -> PretrainRecipe:
        if (self.until is None) == (self.schedule is None):
            raise ValueError("give until (the last day of the text), or a schedule of cut-offs, one of the two")
        if self.schedule is not None and (self.since or self.test_until or self.shards):
            raise ValueError("under a schedule, windows choose the rows: leave since, test_until and shards out")
        if self.schedule is not None and (self.schedule.embargo or self.schedule.calendar):
            raise ValueError("an embargo is for labels, and text has none: leave it out of the schedule")
        if self.until is not None and self.since is not None and self.since > self.until:
            raise ValueError(f"since {self.since} lies after until {self.until}: there is no text between")
        if self.until is not None and self.test_until is not None and self.test_until <= self.until:
            raise ValueError(f"test_until {self.test_until} must lie after until {self.until}: it measures later text")
        return self

    @property
    def new_shape(self) -> PretrainBase | None:
        """Return the shape of a model from scratch; None for one that goes on from a stored base."""
        return self.base if self.base.new is not None else None

    @property
    def cutoff(self) -> datetime:
        """Return the first instant after `until`: only rows available before it are trained on."""
        assert self.until is not None, "a recipe with a schedule has windows instead"
        return start_of(self.until + timedelta(days=1))

    def window(self, window: Window, *, later: bool) -> PretrainRecipe:
        """Return the recipe of one window of the schedule; with `later` rows, they are held out and measured."""
        changed: dict[str, Any] = {"schedule": None, "until": window.cutoff - timedelta(days=1)}
        if later:
            changed["test_until"] = window.until - timedelta(days=1)
        if window.since is not None:
            changed["since"] = window.since
        return self.model_copy(update=changed)

    def going_on(self, version: str) -> PretrainRecipe:
        """Return this recipe with a stored base to go on from."""
        return self.model_copy(update={"base": PretrainBase(version=version)})

    @classmethod
    def read(cls, source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> PretrainRecipe:
        """Read a recipe from a YAML file or a mapping, with `a.b=value` overrides.

        Raises BadRecipe, which names the key.
        """
        return read_document(cls, source, overrides)

    def check(self) -> PretrainRecipe:
        """Check the corpus's options, and return this recipe. Imports no torch.

        Raises UnknownName for a corpus that isn't installed and BadRecipe for a wrong option.
        """
        from adapterhub_fin.plugin.descriptions import Corpus
        from adapterhub_fin.plugin.manager import extensions

        if self.corpus is not None:
            extensions().options(Corpus, self.corpus.name, self.corpus.options)
        return self

    def document(self) -> dict[str, Any]:
        """Return the recipe as plain JSON values, from which `read` gives this recipe again."""
        document = self.model_dump(mode="json", exclude_none=True)
        if self.base.version is not None:
            document["base"] = {"version": self.base.version}
        elif self.shards is not None:
            document["base"].pop("tokenizer", None)  # it is that of the shards
        if self.corpus is not None:
            del document["corpus"]["splitter"]  # until and time divide the rows
        return document


def start_of(day: date) -> datetime:
    """Return the first instant of a day in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
