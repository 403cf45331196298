"""Merge stored adapters into a new version, with the base never loaded: one matrix after the other, in float64."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.progress import progress
from adapterhub_fin.engine.data.corpus import check_there
from adapterhub_fin.engine.merging.combine import Rank
from adapterhub_fin.engine.merging.parents import merged_base
from adapterhub_fin.engine.merging.plan import MergePlan, MergeSettings, plan_merge
from adapterhub_fin.engine.merging.record import merge_manifest
from adapterhub_fin.engine.merging.writing import write_lora
from adapterhub_fin.errors import BadMerge
from adapterhub_fin.plugin.low_rank import LowRank
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.recipe.recipe import CorpusChoice
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
    """One parameter of a merge: the rank of its change, and the share of the merged energy that the rank holds."""

    name: str
    shape: tuple[int, ...]
    rank: int
    energy: float


@dataclass(frozen=True)
class Merge:
    """What a merge gave; without a version where it was only tried."""

    version: Version | None
    parents: Sequence[Version]
    weights: Sequence[float]
    modules: Sequence[MergedModule]
    head_from: str | None  # the parent whose head it is; None for an average, or none
    space: str
    warnings: Sequence[str]
    evaluations: Sequence[Evaluation] = ()  # of the parents in their order and, last, of the merge

    @property
    def energy(self) -> float:
        """The least share that a module kept."""
        return min((each.energy for each in self.modules), default=1.0)


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

    Weights are one an adapter, by default what the merger says, mostly 1/K; `weights_for` gives others by a pattern for
    the end of a module's name. `rank` is a number, a share of the energy to keep (0.99), or None for what the merger
    says. `check` is a corpus that the merge is measured on beside its parents, which loads the base and is recorded of
    the merge; with `dry_run` nothing is stored. Raises BadMerge where what is given doesn't go together.
    """
    _check_asked(into, dry_run, check is not None)
    manner = MergeSettings.of(using, options, space, rank, seed)
    target = registry or configured_registries().writable()
    if not dry_run:
        target.check_writable()  # told before the work, not after
    if check is not None:
        check_there(check if isinstance(check, CorpusChoice) else CorpusChoice.read(check))
    plan = plan_merge(
        references, manner, weights=weights, weights_for=weights_for, head_from=head_from, registry=registry
    )
    changes, made = _combined(plan)
    if dry_run:
        return made
    measure = partial(_measured, check, split, base=base, download=download, batch_size=batch_size)
    alone = list({version.digest: version for version in made.parents}.values()) if check is not None else []
    measured = [measure(version, registry, record=False) for version in alone]  # what can't be measured, before it is
    stated = {"description": description, "license": license, "tags": tuple(tags)}
    version = _store(plan, changes, made, str(into), stated, target)
    if check is not None:
        measured.append(measure(version, target, record=True))
    return replace(made, version=version, evaluations=measured)


def _check_asked(into: str | None, dry_run: bool, check: bool) -> None:
    if check and dry_run:
        raise BadMerge("a merge that is only tried can't be measured: leave out the check, or the dry run")
    if into is not None:
        check_name(into)
    elif not dry_run:
        raise BadMerge("the merge has no name: give NAMESPACE/NAME for its version, with --into (into=...)")


def _combined(plan: MergePlan) -> tuple[dict[str, LowRank], Merge]:
    """Each place's merged change, and what is told of the merge."""
    changes, modules = {}, []
    with torch.no_grad(), progress("merging", len(plan.places)) as move:
        for name, place in plan.places.items():
            combined = plan.combined(name)
            changes[name] = _stored_as(combined.change, plan.dtype, name)
            modules.append(MergedModule(name, place.shape, combined.rank, combined.energy))
            move(1)
    versions = [each.version for each in plan.parents]
    space, head_from = plan.manner.space, plan.head.origin
    return changes, Merge(None, versions, plan.weights.usual, modules, head_from, space, plan.warnings)


def _stored_as(change: LowRank, dtype: torch.dtype, name: str) -> LowRank:
    """The change in the type that is stored, which must hold it."""
    stored = change.to(dtype)
    if not all(bool(factor.isfinite().all()) for factor in (stored.left, stored.right)):
        raise BadMerge(f"{name}: the merged factors are beyond what {dtype} holds: see to the adapters' alphas")
    return stored


def _store(
    plan: MergePlan,
    changes: Mapping[str, LowRank],
    made: Merge,
    name: str,
    stated: Mapping[str, Any],
    registry: Registry,
) -> Version:
    """The version that the merge becomes, or already is."""
    with tempfile.TemporaryDirectory(prefix="ahf-merge-") as folder:
        config = write_lora(
            Path(folder),
            plan.places,
            changes,
            dtype=plan.dtype,
            whole=plan.head.values,
            modules=plan.head.modules_to_save,
            task=(plan.head_parent or plan.parents[0]).changes.config.get("task_type"),
            base=merged_base(plan.parents).repository,
            fan_in_fan_out=any(each.changes.fan_in_fan_out for each in plan.parents),
            alike=any(each.changes.chooses_among_alike for each in plan.parents),
        )
        manifest = merge_manifest(plan, config, {each.name: each.energy for each in made.modules}, stated)
        return registry.add(Path(folder), manifest, name=name, checks=extensions().vetoes())


def _measured(
    corpus: CorpusSource, split: SplitName, version: Version, registry: Registry | None, *, record: bool, **loading: Any
) -> Evaluation:
    from adapterhub_fin.engine.evaluation.evaluate import evaluate

    return evaluate(version.reference, corpus, split=split, record=record, registry=registry, **loading)
