"""The modules that adapters bring whole, heads above all: averaged where they mean the same, else one adapter's.

A head's outputs are aligned by the labels' names, and a regression's by its units, so that an average of two heads is
the average of their answers. What differs otherwise is not averaged: `head_from` says whose is taken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.build_plugin import build_plugin
from adapterhub_fin.engine.merging.parents import MergeParent
from adapterhub_fin.engine.merging.weights import Weights
from adapterhub_fin.errors import BadMerge, UnknownName
from adapterhub_fin.plugin import descriptions
from adapterhub_fin.plugin.adapter_files import ROWS
from adapterhub_fin.plugin.heads import MergeableHead

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from adapterhub_fin_registry.model.manifest import Head
else:
    torch = Lazy("torch")

CURE = "name the one whose head is to be taken, with --head-from (head_from=...)"
_PLACEHOLDER = re.compile(r"LABEL_[0-9]+")  # what Transformers calls an output that nobody named


@dataclass(frozen=True)
class MergedHead:
    """What the merge answers with: the manifest's head, and the values of what is brought whole."""

    head: Mapping[str, Any] | None
    modules_to_save: tuple[str, ...]  # of the model, whose whole weights the merge brings
    values: Mapping[str, Tensor] = field(default_factory=dict)  # by the parameter's name in the model
    origin: str | None = None  # the parent it was taken from; None where it is all parents'


def merge_heads(parents: Sequence[MergeParent], weights: Weights, head_from: MergeParent | None = None) -> MergedHead:
    """The heads averaged by the weights over their sum, or the one that was named; BadMerge where neither will do."""
    if head_from is not None:
        changes = head_from.changes
        values = {name: changes.values(name) for name in changes.whole}
        return MergedHead(_plain(_head(head_from)), changes.modules, values, head_from.called)
    first, *others = parents
    for other in others:
        _check_alike(first, other)
    names = list(first.changes.whole)
    units = _all_units([_head(each) for each in parents])
    rows = _outputs(parents, units)
    shares = {name: _shares(weights, name.rpartition(".")[0]) for name in names}
    merged = _merged_units(units, shares[min(rows)]) if rows else units[0]
    values = {}
    for name in names:
        found, portions = [each.changes.values(name) for each in parents], shares[name]
        if name in rows:
            found = [value[_order(first, each)] for value, each in zip(found, parents, strict=True)]
            portions = tuple(share * scale / merged[1] for share, (_, scale) in zip(portions, units, strict=True))
        values[name] = _mean(found, portions, name)
    return MergedHead(_in_units(first, units, merged), first.changes.modules, values)


def _mean(values: Sequence[Tensor], shares: Sequence[float], name: str) -> Tensor:
    """The average in the widest of their types, summed in float64; of counters, which must be equal, any."""
    if not all(value.is_floating_point() for value in values):
        if any(not torch.equal(value, values[0]) for value in values):
            raise BadMerge(f"the adapters bring {name} as whole numbers that differ, and have no average: {CURE}")
        return values[0]
    total = torch.stack([share * value.double() for share, value in zip(shares, values, strict=True)]).sum(0)
    return total.to(reduce(torch.promote_types, (value.dtype for value in values)))


def _head(parent: MergeParent) -> Head | None:
    return parent.version.manifest.head


def _plain(head: Head | None) -> Mapping[str, Any] | None:
    return None if head is None else head.model_dump(mode="json")


def _check_alike(one: MergeParent, other: MergeParent) -> None:
    """The two heads mean the same and have the same shapes; else BadMerge says in what they differ."""
    a, b = _head(one), _head(other)
    left, right = (each.name if each else "no head" for each in (a, b))
    if left != right:
        raise BadMerge(f"{one.called} has {left} and {other.called} {right}: {CURE}")
    labels = [sorted(each.labels or ()) if each else [] for each in (a, b)]
    if labels[0] != labels[1]:
        raise BadMerge(f"{one.called} answers {', '.join(labels[0])} and {other.called} {', '.join(labels[1])}: {CURE}")
    mine, theirs = one.changes.whole, other.changes.whole
    for name in sorted(mine.keys() | theirs.keys()):
        if mine.get(name) != theirs.get(name):
            told = [f"of the shape {has[name]}" if name in has else "not at all" for has in (mine, theirs)]
            raise BadMerge(f"{one.called} brings {name} {told[0]} and {other.called} {told[1]}: {CURE}")
    named = any(not _PLACEHOLDER.fullmatch(label) for label in labels[0])
    unnamed = [name for name in sorted(_rows(one)) if mine[name][0] > 1 and not named]
    if unnamed:
        raise BadMerge(
            f"{one.called} and {other.called} bring {unnamed[0]}, and neither records what its outputs mean, so that "
            f"they may stand in two orders: import them again with --labels, or {CURE}"
        )


def _outputs(parents: Sequence[MergeParent], units: Sequence[tuple[float, float]]) -> set[str]:
    """The parameters whose rows are the outputs, where rows must be put in order or into other units."""
    first, *others = parents
    labels = [head.labels if (head := _head(each)) else None for each in parents]
    if len(set(labels)) == 1 and len(set(units)) == 1:
        return set()
    rows = _rows(first)
    if not rows:
        names = ", ".join(first.changes.whole) or "nothing"
        raise BadMerge(
            f"{first.called} and {others[0].called} have outputs in another order or in other units, and which layer "
            f"gives them is not said by the head's plugin (they bring {names}): {CURE}"
        )
    return rows


def _rows(parent: MergeParent) -> set[str]:
    """The parameters that a parent brings whose rows are its outputs; of a head that nobody here knows, the usual."""
    head = _head(parent)
    try:
        built = build_plugin(descriptions.Head, head.name, head.options) if head else None
    except UnknownName:
        built = None
    named = built.outputs() if isinstance(built, MergeableHead) else ROWS
    return {name for name in parent.changes.whole if name in named}


def _order(first: MergeParent, parent: MergeParent) -> list[int] | slice:
    """Which of a parent's rows stands where the first parent has it."""
    mine, theirs = (head.labels if (head := _head(each)) else None for each in (first, parent))
    if mine is None or theirs is None:
        return slice(None)
    return [theirs.index(label) for label in mine]


def _shares(weights: Weights, module: str) -> tuple[float, ...]:
    """The weights over their sum; BadMerge where it is not positive, and nothing is an average."""
    found = weights.of_module(module)
    total = sum(found)
    if not total > 1e-12 * sum(map(abs, found)):  # 0.1 + 0.2 - 0.3 is no zero to a computer
        raise BadMerge(
            f"the weights sum to {total:g}, and heads are averaged by the weights over their sum: give weights that "
            f"sum to more than zero, or {CURE}"
        )
    return tuple(weight / total for weight in found)


def _all_units(heads: Sequence[Head | None]) -> list[tuple[float, float]]:
    """The units of each; heads of the same options have the same ones, and need no plugin to tell."""
    options = [head.options if head else {} for head in heads]
    if all(each == options[0] for each in options):
        return [(0.0, 1.0)] * len(heads)
    return [_units(head) for head in heads]


def _units(head: Head | None) -> tuple[float, float]:
    """What an output of a head means: zero, and one."""
    if head is None:
        return 0.0, 1.0
    try:
        built = build_plugin(descriptions.Head, head.name, head.options)
    except UnknownName as error:
        raise BadMerge(f"the heads have other options, which may scale their outputs: {error}; or {CURE}") from error
    if not isinstance(built, MergeableHead):
        return 0.0, 1.0
    built.set_labels(head.labels)  # type: ignore[attr-defined]  # it is a head too
    centre, scale = built.output_scale()
    return float(centre), float(scale)


def _merged_units(units: Sequence[tuple[float, float]], shares: Sequence[float]) -> tuple[float, float]:
    """The average of units, in which the average of the outputs means the average of the answers."""
    if len(set(units)) == 1:
        return units[0]
    centre, scale = (sum(share * each[k] for share, each in zip(shares, units, strict=True)) for k in (0, 1))
    if not scale > 0:
        raise BadMerge(f"the weights give the merged regression a scale of {scale:g}: {CURE}")
    return centre, scale


def _in_units(
    first: MergeParent, units: Sequence[tuple[float, float]], merged: tuple[float, float]
) -> Mapping[str, Any] | None:
    """The first parent's head, recorded in the merged units."""
    head = _head(first)
    plain = _plain(head)
    if head is None or plain is None or len(set(units)) == 1:
        return plain
    built = build_plugin(descriptions.Head, head.name, head.options)
    return {**plain, "options": {**plain["options"], **built.with_output_scale(*merged)}}
