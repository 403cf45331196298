"""Read what a run must not forget: its limits, with the rows that they are measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.base.locks import on_meta
from adapterhub_fin.engine.data.duplicates import text_keys
from adapterhub_fin.engine.data.splits import last_allowed
from adapterhub_fin.engine.evaluation.forgetting import MeasuredRows, read_measured_rows
from adapterhub_fin.engine.evaluation.seen import training_texts
from adapterhub_fin.engine.inference.find import is_same_head
from adapterhub_fin.engine.training.sharded import is_sharded
from adapterhub_fin.errors import BadRecipe, LookAhead
from adapterhub_fin_registry.model.knowledge import format_instant

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from adapterhub_fin.engine.data.corpus import Corpora
    from adapterhub_fin.engine.inference.find import ResolvedVersion
    from adapterhub_fin.plugin.heads import HeadImplementation
    from adapterhub_fin.plugin.interfaces import KnownAt
    from adapterhub_fin.recipe.recipe import Recipe


@dataclass(frozen=True)
class Check:
    """Hold a limit on forgetting with its rows; `against` is the reference of the start, or "base"."""

    rows: MeasuredRows
    at_most: float
    against: str
    seen: int | None  # how many of the rows have a text that the run trains on; None: unknown

    @property
    def sentence(self) -> str:
        """Return what is measured and allowed."""
        rows, against = self.rows, "the base" if self.against == "base" else self.against
        return (
            f"{rows.metric.name} on {rows.choice.called} ({rows.split}, {len(rows.table):,} rows) beside {against}, at "
            f"most {self.at_most:g} worse"
        )

    @property
    def warning(self) -> str | None:
        """Return a warning where the run trains on some of the rows; else None."""
        if not self.seen:
            return None
        return (
            f"training.forgetting: the run trains on the text of {self.seen:,} of the {len(self.rows.table):,} rows of "
            f"{self.rows.choice.called}, which then don't show what it forgets: measure on other rows"
        )


def read_checks(
    recipe: Recipe,
    head: HeadImplementation,
    config: PretrainedConfig,
    corpora: Corpora,
    start: ResolvedVersion | None,
) -> tuple[Check, ...]:
    """Return the limits of a recipe with their rows.

    A model whose head is new gives no answers before training, so that such a head needs a start with the same head.
    Raises BadRecipe where there is none or the base is sharded, LookAhead where the splitter orders rows by time and a
    limit's rows are known later, and what `read_measured_rows` raises.
    """
    limits = recipe.training.limits
    if limits and is_sharded():
        raise BadRecipe("training.forgetting can't be measured where the base is sharded: leave one of them out")
    against = _against(recipe, head, config, start) if limits else ""
    checks = []
    for limit in limits:
        rows = read_measured_rows(
            limit.corpus,
            recipe.head.name,
            head,
            metric=limit.metric,
            split=limit.split,
            sample=limit.sample,
            seed=recipe.training.seed,
        )
        _check_known(rows, corpora)
        checks.append(Check(rows, limit.at_most, against, _seen(rows, corpora)))
    return tuple(checks)


def _against(recipe: Recipe, head: HeadImplementation, config: PretrainedConfig, start: ResolvedVersion | None) -> str:
    with on_meta():
        is_new = bool(head.new_modules(head.skeleton(config)))
    if not is_new:
        return "base"
    if start is None or not is_same_head(start, recipe.head.name, head):
        raise BadRecipe(
            f"training.forgetting: the head {recipe.head.name} is new, so that the model has no score before training: "
            "start from a version with this head (start: NAMESPACE/NAME), or leave the limit out"
        )
    return start.version.reference


def _check_known(rows: MeasuredRows, corpora: Corpora) -> None:
    """Raise LookAhead where the splitter orders rows by time and a limit's rows, which select versions, come later."""
    allowed, known = last_allowed(corpora.splitter, corpora.splits["test"]), rows.known
    if allowed is None or known.at <= allowed:
        return
    says = f"are known until {format_instant(known.at)}"
    if known.kind == "bounded":
        says = f"have no dates and so count as known at {format_instant(known.at)}"
    raise LookAhead(
        f"training.forgetting: the rows of {rows.choice.called} {says}, and under the splitter {corpora.splitter.by} a "
        f"run may know until {format_instant(allowed)}: measure on earlier rows, and give them available_at"
    )


def _seen(rows: MeasuredRows, corpora: Corpora) -> int | None:
    keys, trained = text_keys(rows.table), training_texts([each.splits for each in (*corpora.stages, corpora)])
    if keys is None or trained is None:
        return None
    texts = set(trained)
    return sum(key in texts for key in keys)


def known_inputs(checks: Sequence[Check]) -> dict[str, KnownAt]:
    """Return when the rows of the limits were known, by input: a limit selects which runs become versions."""
    known: dict[str, Any] = {}
    for check in checks:
        name, date = f"forgetting:{check.rows.choice.name}", check.rows.known
        known[name] = max(known.get(name, date), date, key=lambda each: each.at)
    return known
