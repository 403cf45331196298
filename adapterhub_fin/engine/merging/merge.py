"""Merge stored adapters into a new version, with the base never loaded: one module after the other, in float64."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from adapterhub_fin.descriptions import Merger
from adapterhub_fin.engine import plugs
from adapterhub_fin.engine.low_rank import LowRank
from adapterhub_fin.engine.merging.combine import Rank, check_count, check_rank, combine, space_for
from adapterhub_fin.engine.merging.heads import MergedHead, merge_heads
from adapterhub_fin.engine.merging.parents import Parent, check_together, find_parents, merged_base
from adapterhub_fin.engine.merging.places import Place
from adapterhub_fin.engine.merging.record import DIGITS, merge_manifest, merger_record
from adapterhub_fin.engine.merging.weights import Weights
from adapterhub_fin.engine.merging.writing import write_lora
from adapterhub_fin.engine.progress import progress
from adapterhub_fin.errors import BadMerge, NotFound
from adapterhub_fin.extensions import extensions
from adapterhub_fin_registry import Registry, RegistryChain
from adapterhub_fin_registry.reference import check_name

if TYPE_CHECKING:
    from adapterhub_fin.engine.evaluating import CorpusSource, Evaluation, Part
    from adapterhub_fin.interfaces import MergerImplementation
    from adapterhub_fin_registry import Version


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
    licence: str | None = None,
    tags: Sequence[str] = (),
    check: CorpusSource = None,
    part: Part = "test",
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
    if check is not None and dry_run:
        raise BadMerge("a merge that is only tried can't be measured: leave out the check, or the dry run")
    if into is None and not dry_run:
        raise BadMerge("the merge has no name: give NAMESPACE/NAME for its version, with --into (into=...)")
    if into is not None:
        check_name(into)
    merger = extensions().get(Merger, using)
    implementation: MergerImplementation = plugs.build(Merger, using, options or {})
    check_count(merger, len(references))
    check_rank(rank)
    where = space_for(merger, space)
    target = registry or RegistryChain.configured().writable()
    if not dry_run:
        target.check_writable()  # told before the work, not after
    parents = find_parents(references, registry)
    said = check_together(parents)
    shares = Weights.of([each.called for each in parents], weights, weights_for, each=merger.weight)
    places = {name: place for each in parents for name, place in each.changes.places.items()}
    places = dict(sorted(places.items()))
    head = merge_heads(parents, shares, _named(head_from, references, parents, registry))
    said += [
        f"{each.called}: the weights it brings of {', '.join(left_out)} are left out"
        for each in parents
        if (left_out := sorted(set(each.changes.modules) - set(head.modules)))
    ]
    shares.check_used([*(place.module for place in places.values()), *(n.rpartition(".")[0] for n in head.values)])
    changes, modules = _combined(parents, places, shares, merger, implementation, where, rank, seed)
    made = Merge(None, [each.version for each in parents], shares.usual, modules, head.origin, where, said)
    if dry_run:
        return made
    details = {
        **merger_record(using, _full(using, options), implementation.version),
        "space": where,
        "rank": rank,
        "seed": seed,
        "weights_for": {pattern: list(each) for pattern, each in shares.patterns.items()},
        "head_from": next((each.version.digest for each in parents if each.called == head.origin), None),
        "energy": {each.name: round(each.energy, DIGITS) for each in modules if round(each.energy, DIGITS) < 1},
    }
    measure = partial(_measured, check, part, base=base, download=download, batch_size=batch_size)
    alone = list({each.version.digest: each.version for each in parents}.values()) if check is not None else []
    measured = [measure(version, registry, record=False) for version in alone]
    stated = {"description": description, "licence": licence, "tags": tuple(tags)}
    with tempfile.TemporaryDirectory(prefix="ahf-merge-") as folder:
        config = _write(Path(folder), parents, places, changes, head)
        manifest = merge_manifest(parents, shares.usual, config, head.head, details, seed, stated)
        version = target.add(Path(folder), manifest, name=str(into), checks=extensions().vetoes())
    if check is not None:
        measured.append(measure(version, target, record=True))
    return replace(made, version=version, evaluations=measured)


def _measured(
    corpus: CorpusSource, part: Part, version: Version, registry: Registry | None, *, record: bool, **loading: Any
) -> Evaluation:
    from adapterhub_fin.engine.evaluating import evaluate

    return evaluate(version.reference, corpus, part=part, record=record, registry=registry, **loading)


def _full(using: str, options: Mapping[str, Any] | None) -> dict[str, Any]:
    return extensions().options(Merger, using, options or {}).model_dump(mode="json")


def _named(
    head_from: str | None, references: Sequence[str], parents: Sequence[Parent], registry: Registry | None
) -> Parent | None:
    """The parent whose head is asked for, by its reference or any other that means the same version."""
    if head_from is None:
        return None
    for reference, parent in zip(references, parents, strict=True):
        if head_from in (reference, parent.called):
            return parent
    try:
        digest = (registry or RegistryChain.configured().answering(head_from)).resolve(head_from).digest
    except NotFound:
        digest = None
    for parent in parents:
        if parent.version.digest == digest:
            return parent
    called = ", ".join(each.called for each in parents)
    raise BadMerge(f"the head is asked for of {head_from}, which is not merged here: name one of {called}")


def _combined(
    parents: Sequence[Parent],
    places: Mapping[str, Place],
    weights: Weights,
    merger: Merger,
    implementation: MergerImplementation,
    space: Any,
    rank: Rank,
    seed: int,
) -> tuple[dict[str, LowRank], list[MergedModule]]:
    """Each place's merged change, and what is told of it."""
    changes, modules = {}, []
    dtype = factor_dtype(parents)
    with torch.no_grad(), progress("merging", len(places)) as move:
        for name, place in places.items():
            found = [
                each.changes.change(name) if name in each.changes.places else LowRank.zero(place.matrix)
                for each in parents
            ]
            try:
                combined = combine(
                    found,
                    weights.of_module(place.module),
                    merger,
                    implementation,
                    space=space,
                    rank=rank,
                    seed=_seed(seed, name),
                )
            except BadMerge as error:
                raise BadMerge(f"{name}: {error}") from error
            changes[name] = combined.change.to(dtype)
            modules.append(MergedModule(name, place.shape, combined.rank, combined.energy))
            move(1)
    return changes, modules


def factor_dtype(parents: Sequence[Parent]) -> torch.dtype:
    """The widest type of the parents' factors, and float32 at least: PEFT widens narrower ones when it loads them."""
    widest = torch.float32
    for dtype in (dtype for each in parents for dtype in each.changes.dtypes):
        widest = torch.promote_types(widest, dtype)
    return widest


def _seed(seed: int, name: str) -> int:
    """A module's own seed, the same on every machine and whatever else is merged."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big") >> 1


def _write(
    folder: Path,
    parents: Sequence[Parent],
    places: Mapping[str, Place],
    changes: Mapping[str, LowRank],
    head: MergedHead,
) -> dict[str, Any]:
    owner = next((each for each in parents if each.called == head.origin), parents[0])
    return write_lora(
        folder,
        places,
        changes,
        dtype=factor_dtype(parents),
        whole=head.values,
        modules=head.modules,
        task=owner.changes.config.get("task_type"),
        base=merged_base(parents).repository,
        fan_in_fan_out=any(each.changes.fan_in_fan_out for each in parents),
    )
