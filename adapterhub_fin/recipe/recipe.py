"""Define the recipe: one training run as one document, with base, method, head, corpus and training.

The YAML file, the keyword arguments of `train` and the overrides of `--set` are all read by this model. Everything is
checked before torch is imported, the plugins' own options included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from adapterhub_fin.plugin.documents import read_document
from adapterhub_fin.plugin.options import Options
from adapterhub_fin.recipe.choices import DEFAULTS, BaseChoice, CorpusChoice, HeadChoice, MethodChoice, named_base
from adapterhub_fin.recipe.curriculum import Stage, last_corpus, taken_stages
from adapterhub_fin.recipe.forgetting import ForgettingLimit
from adapterhub_fin.recipe.given import check_version_name, corpora_as_mixture
from adapterhub_fin.recipe.sampling import Sampling
from adapterhub_fin.recipe.schedule import Schedule, Window
from adapterhub_fin.recipe.splitter import Splitter

Optimizer = Literal[  # Transformers' names; those of which a resumed run was tested to be exact
    "adamw_torch",
    "adamw_torch_fused",
    "adamw_bnb_8bit",
    "paged_adamw_32bit",
    "paged_adamw_8bit",
    "adafactor",
    "lion_32bit",
    "lion_8bit",
    "paged_lion_32bit",
    "paged_lion_8bit",
    "ademamix",
    "ademamix_8bit",
    "rmsprop",
    "rmsprop_bnb_8bit",
    "adagrad",
    "sgd",
]


NO_NAME: Final = "the recipe has no name: give NAMESPACE/NAME for the version, such as --set name=acme/tone"


MIN_STEPS: Final = 300


class Training(Options):
    """Set the length, the speed and the precision of training, and how the best checkpoint is chosen."""

    epochs: float | None = Field(
        None, gt=0, le=1000, description="Passes over the training rows, at most; by default what `min_steps` says."
    )
    min_steps: int = Field(
        MIN_STEPS,
        ge=1,
        description="Without `epochs`: as many passes as give so many optimizer steps, at least 5 and at most 20.",
    )
    max_steps: int | None = Field(None, ge=1, description="Optimizer steps of the whole run, in place of `epochs`.")
    learning_rate: float | None = Field(
        None, gt=0, le=1, description="Peak rate; by default the method's own, for AdamW."
    )
    head_learning_rate: float | None = Field(None, gt=0, le=1, description="The head's, if it differs.")
    batch_size: int = Field(16, ge=1, le=65536, description="Rows of one optimizer step, over all processes.")
    accumulate: int = Field(1, ge=1, description="Gradient accumulation: parts that a step's rows are split into.")
    max_length: int = Field(256, ge=2, description="Tokens of a row, at most; longer rows are cut.")
    over_length: Literal["cut", "drop"] = Field(
        "cut", description="What happens to rows of more than max_length tokens; dropped rows are counted."
    )
    optimizer: Optimizer = Field(
        "adamw_torch_fused",
        description="Optimizer, by the name that Transformers gives it; *_8bit, paged_*, lion_* and ademamix need "
        "bitsandbytes.",
    )
    weight_decay: float = Field(0.01, ge=0, lt=1, description="The optimizer's weight decay; AdamW's is decoupled.")
    warmup: float = Field(
        0.06, ge=0, description="Share of the steps (below 1) or number of steps in which the learning rate rises."
    )
    schedule: Literal["linear", "cosine", "cosine_with_restarts", "constant_with_warmup"] = Field(
        "linear", description="How the learning rate falls after the warmup."
    )
    cycles: int = Field(1, ge=1, description="Number of cycles of cosine_with_restarts.")
    clip: float = Field(1.0, gt=0, description="Gradient clipping: the largest norm.")
    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="Of the computation; weights keep theirs.")
    recompute: bool = Field(
        False, description="Gradient checkpointing: a third more time for a fraction of the activations' memory."
    )
    attn_implementation: Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"] | None = (
        Field(None, description="How the base computes attention while it trains; by default as Transformers chooses.")
    )
    compile: bool = Field(False, description="Compile the model with torch.compile.")
    neftune: float | None = Field(
        None, gt=0, description="Noise on the embeddings (NEFTune, arXiv 2310.05914); 5 to 15."
    )
    patience: int = Field(5, ge=1, description="Evaluations without a better validation metric before it stops.")
    eval_steps: int | None = Field(
        None, ge=1, description="Steps between evaluations, each with a checkpoint; by default one after each epoch."
    )
    metric: str | None = Field(
        None, description="Validation metric that picks the best checkpoint; the head's default."
    )
    tolerance: float = Field(
        0.0, ge=0, description="How much worse than the best validation metric a later checkpoint may be and still win."
    )
    checkpoint_steps: int | None = Field(
        None, ge=1, description="Steps between checkpoints, in addition to the one after each epoch."
    )
    report_to: tuple[str, ...] = Field(
        (), description="Experiment trackers that the run reports to: tensorboard, mlflow, wandb, or another."
    )
    sampling: Sampling | None = Field(None, description="Draw training rows of rare labels or targets more often.")
    baseline: bool = Field(
        True,
        description="Compare with a linear model on the base's embeddings, where the extra evidence is installed.",
    )
    forgetting: ForgettingLimit | tuple[ForgettingLimit, ...] | None = Field(
        None, description="Limit how much worse the model may get on other corpora: above it no version is stored."
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of initialisation, dropout and order.")

    @property
    def limits(self) -> tuple[ForgettingLimit, ...]:
        """Return the limits on forgetting, in the order of the recipe."""
        if self.forgetting is None:
            return ()
        return self.forgetting if isinstance(self.forgetting, tuple) else (self.forgetting,)

    @model_validator(mode="before")
    @classmethod
    def _without_retired(cls, data: Any) -> Any:
        """Leave out what recipes that versions recorded before the renaming hold where nothing was set."""
        if isinstance(data, Mapping) and data.get("trackers") in ([], ()):
            return {key: value for key, value in data.items() if key != "trackers"}
        return data

    @field_validator("report_to", mode="before")
    @classmethod
    def _one_tracker(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _goes_together(self) -> Training:
        if self.min_steps != MIN_STEPS and (self.epochs or self.max_steps):
            raise ValueError("min_steps is for runs without epochs and max_steps, which say how long to train: drop it")
        if self.cycles > 1 and self.schedule != "cosine_with_restarts":
            raise ValueError(f"cycles {self.cycles} needs the schedule cosine_with_restarts, not {self.schedule}")
        if self.warmup >= 1 and not self.warmup.is_integer():
            raise ValueError(
                f"warmup {self.warmup:g} is neither a share of the steps nor a number of them: write 0.06 or 100"
            )
        return self


class Recipe(BaseModel):
    """Describe one training run: base, method, head, corpus and training.

    Example:
        >>> recipe = ahf.Recipe.read("recipes/tone.yaml", ["method.rank=16"]).check()
        >>> recipe.method.options
        {'rank': 16}
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str | None = Field(None, description="Where the version goes, as NAMESPACE/NAME.")
    base: BaseChoice = Field(default_factory=lambda: BaseChoice(id="minilm"))
    method: MethodChoice = Field(default_factory=lambda: MethodChoice(name=DEFAULTS["method"]))
    head: HeadChoice = Field(default_factory=lambda: HeadChoice(name=DEFAULTS["head"]))
    start: str | None = Field(None, description="A version to continue from, such as acme/general@3.")
    corpus: CorpusChoice
    curriculum: tuple[Stage, ...] | None = Field(
        None,
        min_length=1,
        description="Corpora to train on one after the other, in place of `corpus`; the last one measures the run.",
    )
    training: Training = Field(default_factory=Training)
    schedule: Schedule | None = Field(None, description="Walk-forward cut-offs, each of which gives a version.")
    description: str = Field("", description="Text for people and for search.")
    license: str | None = Field(
        None,
        min_length=1,
        validation_alias=AliasChoices("license", "licence"),
        description="License of the adapter, as SPDX writes it.",
    )
    tags: tuple[Annotated[str, Field(min_length=1)], ...] = Field((), description="Tags for search.")

    @model_validator(mode="before")
    @classmethod
    def _corpora_are_a_mixture(cls, data: Any) -> Any:
        return corpora_as_mixture(data)

    @model_validator(mode="before")
    @classmethod
    def _the_last_stage_measures(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or data.get("curriculum") is None:
            return data
        stages = taken_stages(data["curriculum"])
        corpus = data.get("corpus", last_corpus(stages))
        return {**data, "curriculum": stages, **({} if corpus is None else {"corpus": corpus})}

    @field_validator("method", "head", "corpus", mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("method", "head", mode="before")
    @classmethod
    def _options_alone(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, Mapping) and "name" not in value:
            return {"name": DEFAULTS[str(info.field_name)], **value}
        return value

    @field_validator("base", mode="before")
    @classmethod
    def _base_alone(cls, value: Any) -> Any:
        return named_base(value) if isinstance(value, str | Path) else value

    @field_validator("name")
    @classmethod
    def _name_in_grammar(cls, value: str | None) -> str | None:
        return check_version_name(value)

    @model_validator(mode="after")
    def _a_curriculum_goes_with_the_rest(self) -> Recipe:
        if self.curriculum is None:
            return self
        if self.corpus != self.curriculum[-1].corpus:
            raise ValueError("corpus (or corpora) and curriculum both say what to train on: give one of them")
        if self.schedule is not None:
            raise ValueError(
                "a schedule trains a version for each window of one corpus, and a curriculum has several: leave one out"
            )
        if self.training.max_steps is not None:
            raise ValueError(
                "training.max_steps counts the steps of one corpus, and a curriculum has several: give max_steps to "
                "its stages"
            )
        return self

    @model_validator(mode="after")
    def _no_window_starts_from_what_knows_more(self) -> Recipe:
        if self.start is not None and self.schedule is not None:
            raise ValueError(
                f"start {self.start} may know more than a window of the schedule is allowed to: leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _the_schedule_divides_the_rows(self) -> Recipe:
        splitter = self.corpus.splitter
        if self.schedule is not None and (splitter.by is not None or splitter.embargo is not None):
            raise ValueError(
                "under a schedule, windows split the rows: leave by and embargo out of corpus.splitter, and put the "
                "embargo under schedule"
            )
        return self

    @property
    def dated_base(self) -> BaseChoice:
        """Return the base; where rows are split by window, of stored versions the newest from before the cut-off."""
        return self.base.dated(self.corpus.splitter.cutoff)

    def window(self, window: Window) -> Recipe:
        """Return the recipe of one window of the schedule, which can be trained alone."""
        assert self.schedule is not None, "a recipe without a schedule has no windows"
        splitter = self.corpus.splitter.model_copy(
            update={
                "by": "window",
                **asdict(window),
                "embargo": self.schedule.embargo,
                "calendar": self.schedule.calendar,
            }
        )
        return self.model_copy(
            update={"schedule": None, "corpus": self.corpus.model_copy(update={"splitter": splitter})}
        )

    @classmethod
    def read(cls, source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Recipe:
        """Read a recipe from a YAML file or a mapping, with `a.b=value` overrides.

        Raises BadRecipe, which names the key.
        """
        return read_document(cls, source, overrides)

    def check(self) -> Recipe:
        """Check the options of the method, head and corpus, and return this recipe. Imports no torch.

        Raises UnknownName for a plugin that isn't installed and BadRecipe for a wrong option, each with close matches.
        """
        from adapterhub_fin.plugin.descriptions import Corpus, Head, Method
        from adapterhub_fin.plugin.manager import extensions

        corpora = (*self.corpora, *(limit.corpus for limit in self.training.limits))
        for kind, choice in ((Method, self.method), (Head, self.head), *((Corpus, each) for each in corpora)):
            extensions().options(kind, choice.name, choice.options)
        return self

    @property
    def corpora(self) -> tuple[CorpusChoice, ...]:
        """Return the corpora that are trained on, one after the other: one, or those of the curriculum."""
        return (self.corpus,) if self.curriculum is None else self.curriculum

    def with_splitters(self, splitters: Sequence[Splitter]) -> Recipe:
        """Return this recipe with other splitters, one for each of its corpora."""
        last: dict[str, Any] = {"corpus": self.corpus.model_copy(update={"splitter": splitters[-1]})}
        if self.curriculum is not None:
            pairs = zip(self.curriculum, splitters, strict=True)
            last["curriculum"] = tuple(stage.model_copy(update={"splitter": splitter}) for stage, splitter in pairs)
        return self.model_copy(update=last)

    def resolved(self, width: int | None = None) -> Recipe:
        """Return this recipe with the learning rate filled in, whose default depends on the method.

        With some methods it depends on the base's hidden size too, `width`.
        Raises UnknownName for a method that isn't installed.
        """
        if self.training.learning_rate is not None:
            return self
        from adapterhub_fin.plugin.descriptions import Method
        from adapterhub_fin.plugin.manager import extensions

        rate = extensions().get(Method, self.method.name).rate_for(width)
        return self.model_copy(update={"training": self.training.model_copy(update={"learning_rate": rate})})

    def document(self) -> dict[str, Any]:
        """Return the recipe as plain JSON values, from which `read` gives this recipe again."""
        return self.model_dump(mode="json", exclude_none=True)
