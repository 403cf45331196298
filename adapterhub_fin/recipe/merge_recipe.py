"""Define a merge as one document: what the flags of `ahf merge` say, in YAML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from adapterhub_fin.plugin.descriptions import Description
from adapterhub_fin.plugin.documents import read_document
from adapterhub_fin.recipe.choices import DEFAULTS, BaseChoice, CorpusChoice, Plugged, named_base

Number = Annotated[float, Field(allow_inf_nan=False)]


class MergerChoice(Plugged):
    """Choose a merger by name, with its options."""

    @classmethod
    def kind(cls) -> type[Description]:
        """Return Merger."""
        from adapterhub_fin.plugin.descriptions import Merger

        return Merger


class MergeRecipe(BaseModel):
    """Describe one merge: the adapters, their weights, the merger and where the version goes.

    Example:
        >>> recipe = ahf.MergeRecipe.read("merge.yaml", ["using.density=0.3"])
        >>> ahf.merge(**recipe.arguments()).version.reference
        'acme/merged@1'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    references: tuple[str, ...] = Field(min_length=1, description="The adapters to merge, such as acme/tone@3.")
    into: str | None = Field(None, description="Where the version goes, as NAMESPACE/NAME.")
    weights: tuple[Number, ...] | None = Field(
        None, description="One weight for each adapter, of any sign; by default the merger's own, mostly 1/K."
    )
    weights_for: dict[str, tuple[Number, ...]] = Field(
        {}, description="Other weights for modules, by the end of their names: `layer.0.*: [1, 0]`."
    )
    using: MergerChoice = Field(
        default_factory=lambda: MergerChoice(name=DEFAULTS["merger"]), description="The merger, with its options."
    )
    rank: int | float | None = Field(
        None, gt=0, description="The rank, such as 16, or the share of the energy to keep, such as 0.99."
    )
    space: Literal["exact", "dense", "factor"] | None = Field(
        None, description="The space to merge in; by default the merger's own."
    )
    seed: int = Field(0, ge=0, description="Seed of the merger's random draws.")
    head_from: str | None = Field(None, description="The version whose head is taken instead of the average.")
    check_on: CorpusChoice | None = Field(
        None, alias="check", description="Evaluate the merge and its parents on a corpus, and record the metrics."
    )
    split: Literal["train", "validation", "test", "all"] = Field(
        "test", description="The rows of that corpus to evaluate on."
    )
    base: BaseChoice | None = Field(None, description="For `check`: the base, if its recorded id doesn't find it.")
    batch_size: int = Field(32, ge=1, description="For `check`: texts per forward pass.")
    description: str = Field("", description="Text for people and for search.")
    license: str | None = Field(
        None, min_length=1, description="The merge's license; by default its parents', joined by AND."
    )
    tags: tuple[Annotated[str, Field(min_length=1)], ...] = Field((), description="Tags for search.")

    @field_validator("using", "check_on", mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("using", mode="before")
    @classmethod
    def _options_alone(cls, value: Any) -> Any:
        return {"name": DEFAULTS["merger"], **value} if isinstance(value, Mapping) else value

    @field_validator("base", mode="before")
    @classmethod
    def _base_alone(cls, value: Any) -> Any:
        return named_base(value) if isinstance(value, str | Path) else value

    @classmethod
    def read(cls, source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> MergeRecipe:
        """Read and check a merge's recipe from a YAML file or a mapping, with `a.b=value` overrides.

        The options of the merger and of the corpus are checked too; no torch is imported. Raises BadRecipe, which names
        the key, and UnknownName for a plugin that isn't installed.
        """
        from adapterhub_fin.plugin.descriptions import Corpus, Merger
        from adapterhub_fin.plugin.manager import extensions

        recipe = read_document(cls, source, overrides, "merge recipe")
        extensions().options(Merger, recipe.using.name, recipe.using.options)
        if recipe.check_on is not None:
            extensions().options(Corpus, recipe.check_on.name, recipe.check_on.options)
        return recipe

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `ahf.merge`."""
        keys = {*type(self).model_fields} - {"using", "check_on", "base"}
        base = None if self.base is None else self.base.path or self.base.id
        return {
            **{key: getattr(self, key) for key in keys},
            "using": self.using.name,
            "options": self.using.options,
            "check": self.check_on,
            "base": base,
        }
