"""All of a merge that is settled before its matrices are read: what is merged, how, and whose head answers."""

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
    """How to merge: the merger and its options, the space it computes in, the rank asked for, and the seed."""

    merger: Merger
    options: BaseModel
    space: Space
    rank: Rank
    seed: int

    @classmethod
    def of(
        cls, using: str, options: Mapping[str, Any] | None, space: str | None, rank: Rank, seed: int
    ) -> MergeSettings:
        """The manner of these names and values; raises UnknownName, BadRecipe for an option, and BadMerge."""
        merger = extensions().get(Merger, using)
        checked = extensions().options(Merger, using, options or {})
        check_rank(rank)
        if not 0 <= seed < BEYOND:
            raise BadMerge(f"the seed {seed} is no whole number from 0 that a manifest records: give a smaller one")
        return cls(merger, checked, space_for(merger, space), rank, seed)

    @cached_property
    def implementation(self) -> MergerImplementation:
        """The merger itself, imported when it is first used."""
        found: MergerImplementation = self.merger.load()(self.options)
        return found

    def combine(self, changes: Sequence[LowRank], weights: Sequence[float], name: str) -> Combined:
        """The merged change of one parameter; its draws are the same on every machine, whatever else is merged."""
        seed = int.from_bytes(hashlib.sha256(f"{self.seed}:{name}".encode()).digest()[:8], "big") >> 1
        try:
            return combine(
                changes, weights, self.merger, self.implementation, space=self.space, rank=self.rank, seed=seed
            )
        except BadMerge as error:
            raise BadMerge(f"{name}: {error}") from error


@dataclass(frozen=True)
class MergePlan:
    """What is merged, and how; `places` are all that any parent changes, sorted by name."""

    parents: Sequence[MergeParent]
    manner: MergeSettings
    weights: Weights
    places: Mapping[str, AdaptedParameter]
    head: MergedHead
    warnings: Sequence[str]  # what is taken on trust, or left out

    @property
    def head_parent(self) -> MergeParent | None:
        """The one whose head is taken; None where it is an average, or there is none."""
        return next((each for each in self.parents if each.called == self.head.origin), None)

    @property
    def dtype(self) -> torch.dtype:
        """The widest type of the parents' factors, and float32 at least: PEFT widens narrower ones as it loads them."""
        found = (dtype for each in self.parents for dtype in each.changes.dtypes)
        return reduce(torch.promote_types, found, torch.float32)

    def combined(self, name: str) -> Combined:
        """The merged change of one place; a parent that does not change it adds zeros."""
        place = self.places[name]
        found = [
            each.changes.change(name) if name in each.changes.places else LowRank.zero(place.matrix)
            for each in self.parents
        ]
        return self.manner.combine(found, self.weights.of_module(place.module), name)


def plan_merge(
    references: Sequence[str],
    manner: MergeSettings,
    *,
    weights: Sequence[float] | None = None,
    weights_for: Mapping[str, Sequence[float]] | None = None,
    head_from: str | None = None,
    registry: Registry | None = None,
) -> MergePlan:
    """The merge of these versions, their files verified; BadMerge where they or what is asked don't go together."""
    check_count(manner.merger, len(references))
    parents = find_parents(references, registry)
    warnings = check_together(parents)
    shares = Weights.of([each.called for each in parents], weights, weights_for, each=manner.merger.weight)
    places = dict(sorted({name: place for each in parents for name, place in each.changes.places.items()}.items()))
    check_one_lora(places)
    head_parent = _named(head_from, references, parents, registry)
    check_reached(parents, head_parent)
    head = merge_heads(parents, shares, head_parent)
    shares.check_used(_modules(places, head.values))
    return MergePlan(parents, manner, shares, places, head, [*warnings, *_left_out(parents, head)])


def _modules(places: Mapping[str, AdaptedParameter], whole: Iterable[str]) -> set[str]:
    return {place.module for place in places.values()} | {name.rpartition(".")[0] for name in whole}


def _left_out(parents: Sequence[MergeParent], head: MergedHead) -> list[str]:
    return [
        f"{each.called}: the weights it brings of {', '.join(modules)} are left out"
        for each in parents
        if (modules := sorted(set(each.changes.modules) - set(head.modules_to_save)))
    ]


def _named(
    head_from: str | None, references: Sequence[str], parents: Sequence[MergeParent], registry: Registry | None
) -> MergeParent | None:
    """The parent whose head is asked for, by its reference or any other that means the same version."""
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
    called = ", ".join(each.called for each in parents)
    raise BadMerge(f"the head is asked for of {head_from}, which is not merged here: name one of {called}")
