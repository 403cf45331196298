"""Describe what a plugin brings: names and targets, with nothing imported until it is used."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from adapterhub_fin.errors import PluginError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from adapterhub_fin.plugin.interfaces import KnownAt

NAME = re.compile(r"[a-z0-9]+(?:[._:-][a-z0-9]+)*")
TARGET = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")

# What a method may say of itself, with who reads it: merging and the contract; the contract alone; the contract alone.
TRAITS = frozenset(["additive_low_rank", "mutates_base", "shared_state"])


def import_target(target: str) -> Any:
    """Import the attribute that `package.module:attribute` names."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _lacks(requirement: str) -> bool:
    """Tell whether a distribution, or what one of its extras named here needs, is missing or of another release."""
    from importlib.metadata import PackageNotFoundError, distribution

    from packaging.requirements import Requirement

    required = Requirement(requirement)
    try:
        installed = distribution(required.name)
    except PackageNotFoundError:
        return True
    if not required.specifier.contains(installed.version, prereleases=True):
        return True
    inner = [Requirement(dependency) for dependency in installed.requires or ()] if required.extras else []
    return any(
        _lacks(f"{dependency.name}{dependency.specifier}")
        for extra in required.extras
        for dependency in inner
        if dependency.marker
        and dependency.marker.evaluate({"extra": extra})
        and not dependency.marker.evaluate({"extra": ""})
    )


@dataclass(frozen=True, kw_only=True)
class Description:
    """Describe one thing that a plugin brings; `options` must be importable without torch."""

    kind: ClassVar[str]
    reserved_keys: ClassVar[tuple[str, ...]] = ()  # keys of a recipe among the options that the core reads itself
    name: str
    summary: str
    target: str
    options: str | None = None
    requires: tuple[str, ...] = ()  # distributions to install, as pip takes them

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise PluginError(f"{self.kind} name {self.name!r} must be lower-case words joined by one of . _ : -")
        if not self.target and not isinstance(self, Base):
            raise PluginError(f"{self.kind} {self.name!r} has no target: name it as 'package.module:attribute'")
        for field, target in (("target", self.target), ("options", self.options)):
            if target and not TARGET.fullmatch(target):
                raise PluginError(
                    f"{self.kind} {self.name!r}: {field} must read 'package.module:attribute', not {target!r}"
                )

    def check_installed(self) -> None:
        """Raise PluginError with the command that installs what `requires` names and this environment lacks."""
        if lacking := [requirement for requirement in self.requires if _lacks(requirement)]:
            listed = " ".join(f"'{requirement}'" for requirement in lacking)
            raise PluginError(f"{self.kind} {self.name!r} needs what is not installed here: pip install {listed}")

    def _load(self, target: str) -> Any:
        try:
            return import_target(target)
        except Exception as error:  # a stranger's module may fail in any way; the cause is kept
            install = f"; it needs {', '.join(self.requires)}" if self.requires else ""
            raise PluginError(f"{self.kind} {self.name!r} can't be loaded from {target}: {error!r}{install}") from error

    def load(self) -> Any:
        """Import what the target names."""
        return self._load(self.target)

    def load_options(self) -> type[BaseModel]:
        """Import the pydantic model of the options, without torch. Raises PluginError where it is none."""
        from pydantic import BaseModel

        if self.options is None:
            from adapterhub_fin.plugin.options import NoOptions

            return NoOptions
        model = self._load(self.options)
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise PluginError(f"{self.kind} {self.name!r}: {self.options} must be a pydantic model")
        return model


@dataclass(frozen=True, kw_only=True)
class OwnHook:
    """Describe a contributing hook that a plugin specifies: other plugins return descriptions of `kind` from it.

    `kind` is a subclass of `Description` with a `kind` of its own, such as "feature". A plugin that implements the hook
    and also works without its owner marks it `hookimpl(optionalhook=True)`.
    """

    name: str  # such as `acme_costs`
    kind: type[Description]
    summary: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)+", self.name):
            raise PluginError(f"hook name {self.name!r} must be lower-case words joined by _, such as acme_costs")
        if not (isinstance(self.kind, type) and issubclass(self.kind, Description) and self.kind is not Description):
            raise PluginError(f"hook {self.name}: kind must be a subclass of Description, not {self.kind!r}")
        if not NAME.fullmatch(str(getattr(self.kind, "kind", ""))):
            raise PluginError(f"hook {self.name}: {self.kind.__name__} needs a class attribute kind, such as 'feature'")


@dataclass(frozen=True, kw_only=True)
class Method(Description):
    """Describe a way to adapt a base; the target builds an `interfaces.MethodImplementation` from its options."""

    kind: ClassVar[str] = "method"
    traits: tuple[str, ...] = ()
    peft_type: str | None = None  # the PEFT type whose folders this method imports; its class has options_from
    learning_rate: float = 5e-4  # where a recipe names none
    rate_width: int | None = None  # the hidden size up to which that holds: on wider bases it falls as 1 / width

    def __post_init__(self) -> None:
        super().__post_init__()
        if unknown := set(self.traits) - TRAITS:
            raise PluginError(
                f"method {self.name!r} declares unknown traits {sorted(unknown)}; known: {sorted(TRAITS)}"
            )

    def rate_for(self, width: int | None) -> float:
        """Return the default learning rate on a base with that hidden size."""
        if self.rate_width is None or width is None or width <= self.rate_width:
            return self.learning_rate
        return self.learning_rate * self.rate_width / width


@dataclass(frozen=True, kw_only=True)
class Head(Description):
    """Describe a task; the target builds a `heads.HeadImplementation` from its options."""

    kind: ClassVar[str] = "head"
    inputs: tuple[str, ...] = ("text",)  # corpus columns one of which training reads
    consumes: tuple[str, ...] = ("label",)  # corpus columns that training needs beside it
    optional: tuple[str, ...] = ()  # corpus columns that training reads where they are there
    task: str | None = None  # the PEFT task type whose folders this head imports
    metrics: str | tuple[str, ...] | None = None  # the kinds of metric it is measured by, such as "classification"
    generates: bool = False  # whether its versions write text


@dataclass(frozen=True, kw_only=True)
class Base(Description):
    """Describe a base model by a short name; the target, where there is one, returns its folder or None.

    Without a target, or where that returns None, the base is looked for in the Hub's cache under `repository`.
    """

    kind: ClassVar[str] = "base"
    target: str = ""
    repository: str  # its id on the Hub, which versions record
    known: KnownAt | None = None  # when its training data ended, and how that is known
    license: str = "unknown"


@dataclass(frozen=True, kw_only=True)
class Corpus(Description):
    """Describe a source of rows; the target builds an `interfaces.CorpusImplementation` from its options."""

    kind: ClassVar[str] = "corpus"
    reserved_keys: ClassVar[tuple[str, ...]] = ("splitter",)
    license: str = "unknown"
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Merger(Description):
    """Describe a merge algorithm; the target builds an `interfaces.MergerImplementation` from its options."""

    kind: ClassVar[str] = "merger"
    # What the algorithm commutes with, and so in which bases its answer is exact: rotations on "both" sides (the small
    # cores will do), on the "left" alone, or "none", where it looks at single elements and needs the whole matrix.
    commutes: Literal["both", "left", "none"] = "none"
    adapters: tuple[int, int | None] = (1, None)  # how many it merges, at least and at most
    weight: float | None = None  # of each adapter where none is given; by default 1 over their number


@dataclass(frozen=True, kw_only=True)
class StoreKind(Description):
    """Describe where versions are kept, by the scheme of its URI (`hf` in `hf://acme/tone`)."""

    kind: ClassVar[str] = "store"


@dataclass(frozen=True, kw_only=True)
class Metric(Description):
    """Describe a metric: the target is `function(truth, predicted) -> float`, and NaN where it is undefined.

    With a parameter `labels` it is given the numbers of all the head's labels, as scikit-learn's metrics take them. A
    metric that is a mean over rows names their function as `row_scores`, `function(truth, predicted) -> (rows,)`, so
    that versions are compared row by row and resamples are drawn at once. For a weighted mean it returns scores and
    weights.
    """

    kind: ClassVar[str] = "metric"
    measures: str | tuple[str, ...] = "classification"  # one kind of answer, or several
    greater_is_better: bool = True
    row_scores: str | None = None  # "package.module:attribute" of the score of each row, whose mean the metric is
    test: Literal["permutation", "mcnemar"] = "permutation"  # of two versions; mcnemar where a row is right or wrong

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.row_scores is not None and not TARGET.fullmatch(self.row_scores):
            raise PluginError(
                f"metric {self.name!r}: row_scores must read 'package.module:attribute', not {self.row_scores!r}"
            )
        if self.test not in ("permutation", "mcnemar"):
            raise PluginError(f"metric {self.name!r}: test is {self.test!r}; choose permutation or mcnemar")
        if self.test == "mcnemar" and self.row_scores is None:
            raise PluginError(f"metric {self.name!r}: mcnemar compares rows that are right or wrong: give row_scores")

    def load_row_scores(self) -> Any:
        """Import the function that scores each row; None for a metric that is no mean over rows."""
        return None if self.row_scores is None else self._load(self.row_scores)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the kinds of answer that it measures."""
        return (self.measures,) if isinstance(self.measures, str) else self.measures
