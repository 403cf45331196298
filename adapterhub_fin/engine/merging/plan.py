"""Settle a merge before any matrix is read: what is merged, how, and whose head it has."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.merging.combine import (
    BEYOND,
    Combined,
    Rank,
    Space,
    check_count,
    check_rank,
    combine,
    space_for,
)
from adapterhub_fin.engine.merging.heads import MergedHead, merge_heads
from adapterhub_fin.engine.merging.parameters import AdaptedParameter, check_one_lora
from adapterhub_fin.engine.merging.parents import MergeParent, check_reached, check_together, find_parents
from adapterhub_fin.engine.merging.weights import Weights
from adapterhub_fin.errors import BadMerge, NotFound
from adapterhub_fin.plugin.descriptions import Merger
from adapterhub_fin.plugin.low_rank import LowRank
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.registries import configured_registries
from adapterhub_fin_registry import Registry

if TYPE_CHECKING:
    import torch
    from pydantic import BaseModel

    from adapterhub_fin.plugin.interfaces import MergerImplementation
else:
    torch = Lazy("torch")


@dataclass(frozen=True)
class MergeSettings:
    """Hold how to merge: the merger and its options, the space it computes in, the requested rank, and the seed."""

    merger: Merger
    options: BaseModel
    space: Space
    rank: Rank
    seed: int

    @classmethod
    def of(
        cls, using: str, options: Mapping[str, Any] | None, space: str | None, rank: Rank, seed: int
    ) -> MergeSettings:
        """Return the settings of these names and values.

        Raises UnknownName for the merger, BadRecipe for an option, and BadMerge for the space, the rank or the seed.
        """
        merger = extensions().get(Merger, using)
        checked = extensions().options(Merger, using, options or {})
        check_rank(rank)
        if not 0 <= seed < BEYOND:
            raise BadMerge(f"the seed {seed} is not a whole number from 0 to {BEYOND - 1}: give another")
        return cls(merger, checked, space_for(merger, space), rank, seed)

    @cached_property
    def implementation(self) -> MergerImplementation:
        """Build the merger, which is imported when it is first used."""
        built: MergerImplementation = self.merger.load()(self.options)
        return built

    def combine(self, changes: Sequence[LowRank], weights: Sequence[float], name: str) -> Combined:
        """Return the merged change of one parameter, of the shape (m, n) that all changes have.

        Its random draws depend on the seed and the parameter's name alone: they are the same on every machine. Raises
        BadMerge or PluginError as `combine`.
        """
        seed = int.from_bytes(hashlib.sha256(f"{self.seed}:{name}".encode()).digest()[:8], "big") >> 1
        try:
            return combine(
                changes, weights, self.merger, self.implementation, space=self.space, rank=self.rank, seed=seed
            )
        except BadMerge as error:
            raise BadMerge(f"{name}: {error}") from error


@dataclass(frozen=True)
class MergePlan:
    """Hold what is merged and how; `parameters` are all that any parent changes, sorted by name."""

    parents: Sequence[MergeParent]
    settings: MergeSettings
    weights: Weights
    parameters: Mapping[str, AdaptedParameter]
    head: MergedHead
    warnings: Sequence[str]  # what was not verified, or is left out

    @property
    def head_parent(self) -> MergeParent | None:
        """Return the parent whose head is taken; None for an average or no head."""
        return next((parent for parent in self.parents if parent.called == self.head.origin), None)

    @property
    def dtype(self) -> torch.dtype:
        """Return the widest dtype of the parents' factors, at least float32: PEFT widens narrower ones on load."""
        dtypes = (dtype for parent in self.parents for dtype in parent.changes.dtypes)
        return reduce(torch.promote_types, dtypes, torch.float32)

    def combined(self, name: str) -> Combined:
        """Return the merged change of one parameter; a parent that does not change it adds zeros."""
        parameter = self.parameters[name]
        changes = [
            parent.changes.change(name) if name in parent.changes.parameters else LowRank.zero(parameter.matrix)
            for parent in self.parents
        ]
        return self.settings.combine(changes, self.weights.of_module(parameter.module), name)


def plan_merge(
    references: Sequence[str],
    settings: MergeSettings,
    *,
    weights: Sequence[float] | None = None,
    weights_for: Mapping[str, Sequence[float]] | None = None,
    head_from: str | None = None,
    registry: Registry | None = None,
) -> MergePlan:
    """Return the merge of these versions, their files verified.

    Raises BadMerge where the versions or the arguments don't go together, and NotFound or Corrupted.
    """
    check_count(settings.merger, len(references))
    parents = find_parents(references, registry)
    warnings = check_together(parents)
    shares = Weights.of([parent.called for parent in parents], weights, weights_for, default=settings.merger.weight)
    parameters = dict(sorted(item for parent in parents for item in parent.changes.parameters.items()))
    check_one_lora(parameters)
    head_parent = _head_parent(head_from, references, parents, registry)
    check_reached(parents, head_parent)
    head = merge_heads(parents, shares, head_parent)
    shares.check_used(_modules(parameters, head.values))
    return MergePlan(parents, settings, shares, parameters, head, [*warnings, *_left_out(parents, head)])


def _modules(parameters: Mapping[str, AdaptedParameter], full: Iterable[str]) -> set[str]:
    return {parameter.module for parameter in parameters.values()} | {name.rpartition(".")[0] for name in full}


def _left_out(parents: Sequence[MergeParent], head: MergedHead) -> list[str]:
    return [
        f"{parent.called}: its weights of {', '.join(modules)} are left out"
        for parent in parents
        if (modules := sorted(set(parent.changes.modules_to_save) - set(head.modules_to_save)))
    ]


def _head_parent(
    head_from: str | None, references: Sequence[str], parents: Sequence[MergeParent], registry: Registry | None
) -> MergeParent | None:
    """Return the parent whose head is requested, by its reference or any other reference to the same version."""
    if head_from is None:
        return None
    for reference, parent in zip(references, parents, strict=True):
        if head_from in (reference, parent.called):
            return parent
    try:
        digest = (registry or configured_registries().answering(head_from)).resolve(head_from).digest
    except NotFound:
        digest = None
    for parent in parents:
        if parent.version.digest == digest:
            return parent
    names = ", ".join(parent.called for parent in parents)
    raise BadMerge(f"head_from is {head_from}, which is not one of the adapters to merge: name one of {names}")
