"""Merge stored adapters into a new version, one matrix at a time in float64; the base is never loaded."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.data.corpus import check_there
from adapterhub_fin.engine.merging.combine import Rank
from adapterhub_fin.engine.merging.parents import merged_base
from adapterhub_fin.engine.merging.plan import MergePlan, MergeSettings, plan_merge
from adapterhub_fin.engine.merging.record import merge_manifest
from adapterhub_fin.engine.merging.writing import write_lora
from adapterhub_fin.errors import BadMerge
from adapterhub_fin.plugin.low_rank import LowRank
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.plugin.progress_lines import progress
from adapterhub_fin.recipe.choices import CorpusChoice
from adapterhub_fin.registries import configured_registries
from adapterhub_fin_registry import Registry
from adapterhub_fin_registry.model.reference import check_name

if TYPE_CHECKING:
    import torch

    from adapterhub_fin.engine.evaluation.evaluate import CorpusSource, Evaluation, SplitName
    from adapterhub_fin_registry import Version
else:
    torch = Lazy("torch")


@dataclass(frozen=True)
class MergedModule:
    """Describe one parameter of a merge: the rank of its change, and the share of its energy that the rank keeps."""

    name: str
    shape: tuple[int, ...]
    rank: int
    energy: float


@dataclass(frozen=True)
class Merge:
    """Hold the result of a merge; a dry run has no version."""

    version: Version | None
    parents: Sequence[Version]
    weights: Sequence[float]
    modules: Sequence[MergedModule]
    head_from: str | None  # the parent whose head it has; None for an average or no head
    space: str
    warnings: Sequence[str]
    evaluations: Sequence[Evaluation] = ()  # of the parents in their order, then of the merge

    def __repr__(self) -> str:
        parents = ", ".join(parent.reference for parent in self.parents)
        version = self.version.reference if self.version is not None else "a dry run"
        return f"Merge({version} of {parents}, {len(self.modules):,} modules, energy {self.energy:.4f})"

    def _repr_html_(self) -> str:
        from adapterhub_fin_registry.io.html_table import html_table

        facts: list[tuple[str, Any]] = [
            *((parent.reference, f"weight {w:.4g}") for parent, w in zip(self.parents, self.weights, strict=True)),
            ("modules", f"{len(self.modules):,}"),
            ("least energy kept", f"{self.energy:.6f}"),
            ("rank", max((module.rank for module in self.modules), default=0)),
            *([("head from", self.head_from)] if self.head_from else []),
            *(("warning", warning) for warning in self.warnings),
            *((f"{done.reference} on {done.corpus}", dict(done.metrics)) for done in self.evaluations),
        ]
        title = "Merge, not stored" if self.version is None else f"Merge {self.version.reference}"
        return html_table(title, facts)

    @property
    def energy(self) -> float:
        """Return the smallest share of energy that a module kept."""
        return min((module.energy for module in self.modules), default=1.0)


def merge(
    references: Sequence[str],
    *,
    into: str | None = None,
    weights: Sequence[float] | None = None,
    using: str = "linear",
    options: Mapping[str, Any] | None = None,
    rank: Rank = None,
    space: str | None = None,
    seed: int = 0,
    weights_for: Mapping[str, Sequence[float]] | None = None,
    head_from: str | None = None,
    description: str = "",
    license: str | None = None,
    tags: Sequence[str] = (),
    check: CorpusSource = None,
    split: SplitName = "test",
    base: str | Path | None = None,
    download: bool = False,
    batch_size: int = 32,
    dry_run: bool = False,
    registry: Registry | None = None,
) -> Merge:
    """Merge adapters of one base into a version named `into`; the base itself is not read.

    `weights` has one weight for each adapter, by default the merger's own, mostly 1/K; `weights_for` gives others by a
    pattern for the end of a module's name. `rank` is a maximum, a share of the energy to keep (0.99), or None for the
    merger's default. `check` is a corpus on which the parents and the merge are evaluated, which loads the base and is
    recorded for the merge. With `dry_run` nothing is stored. Raises BadMerge where the adapters or the arguments don't
    go together, NotFound, UnknownName for a merger that is not installed, BadRecipe for its options, and ReadOnly.

    Example:
        >>> made = ahf.merge(["acme/a@1", "acme/b@2"], weights=[0.6, 0.4], using="ties", into="acme/ab")
        >>> made.version.reference
        'acme/ab@1'
    """
    _check_arguments(into, dry_run, check is not None)
    settings = MergeSettings.of(using, options, space, rank, seed)
    target = registry or configured_registries().writable()
    if not dry_run:
        target.check_writable()  # refuse before the work, not after it
    if check is not None:
        check_there(check if isinstance(check, CorpusChoice) else CorpusChoice.read(check))
    plan = plan_merge(
        references, settings, weights=weights, weights_for=weights_for, head_from=head_from, registry=registry
    )
    changes, result = _combined(plan)
    if dry_run:
        return result
    measure = partial(_measured, check, split, base=base, download=download, batch_size=batch_size)
    to_measure = list({version.digest: version for version in result.parents}.values()) if check is not None else []
    evaluations = [
        measure(version, registry, record=False) for version in to_measure
    ]  # refuse before the merge is stored
    stated = {"description": description, "license": license, "tags": tuple(tags)}
    version = _store(plan, changes, result, str(into), stated, target)
    if check is not None:
        evaluations.append(measure(version, target, record=True))
    return replace(result, version=version, evaluations=evaluations)


def _check_arguments(into: str | None, dry_run: bool, check: bool) -> None:
    if check and dry_run:
        raise BadMerge("a dry run stores nothing that could be evaluated: leave out check or dry_run")
    if into is not None:
        check_name(into)
    elif not dry_run:
        raise BadMerge("the merge has no name: give NAMESPACE/NAME for its version, with --into (into=...)")


def _combined(plan: MergePlan) -> tuple[dict[str, LowRank], Merge]:
    """Return the merged change of each parameter, and the description of the merge."""
    changes, modules = {}, []
    with torch.no_grad(), progress("merging", len(plan.parameters)) as move:
        for name, parameter in plan.parameters.items():
            combined = plan.combined(name)
            changes[name] = _stored_as(combined.change, plan.dtype, name)
            modules.append(MergedModule(name, parameter.shape, combined.rank, combined.energy))
            move(1)
    versions = [parent.version for parent in plan.parents]
    space, head_from = plan.settings.space, plan.head.origin
    return changes, Merge(None, versions, plan.weights.usual, modules, head_from, space, plan.warnings)


def _stored_as(change: LowRank, dtype: torch.dtype, name: str) -> LowRank:
    """Return the change in the stored dtype. Raises BadMerge where that does not hold its values."""
    stored = change.to(dtype)
    if not all(bool(factor.isfinite().all()) for factor in (stored.left, stored.right)):
        raise BadMerge(f"{name}: the merged factors are beyond what {dtype} holds: check the adapters' alphas")
    return stored


def _store(
    plan: MergePlan,
    changes: Mapping[str, LowRank],
    result: Merge,
    name: str,
    stated: Mapping[str, Any],
    registry: Registry,
) -> Version:
    """Write and add the merged version, and return it, or the identical one that is stored already."""
    with tempfile.TemporaryDirectory(prefix="ahf-merge-") as folder:
        config = write_lora(
            Path(folder),
            plan.parameters,
            changes,
            dtype=plan.dtype,
            full_weights=plan.head.values,
            modules_to_save=plan.head.modules_to_save,
            task=(plan.head_parent or plan.parents[0]).changes.config.get("task_type"),
            base=merged_base(plan.parents).repository,
            fan_in_fan_out=any(parent.changes.fan_in_fan_out for parent in plan.parents),
            alike=any(parent.changes.chooses_among_alike for parent in plan.parents),
        )
        manifest = merge_manifest(plan, config, {module.name: module.energy for module in result.modules}, stated)
        return registry.add(Path(folder), manifest, name=name, checks=extensions().vetoes())


def _measured(
    corpus: CorpusSource, split: SplitName, version: Version, registry: Registry | None, *, record: bool, **loading: Any
) -> Evaluation:
    from adapterhub_fin.engine.evaluation.evaluate import evaluate

    return evaluate(version, corpus, split=split, record=record, registry=registry, **loading)
