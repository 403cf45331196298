"""Merge the weights of modules_to_save, mainly heads: average them where they mean the same, else take one adapter's.

A classifier's outputs are aligned by label name and a regression's by its output scale, so that the average of two
heads is the average of their predictions. Heads that differ in any other way are not averaged; `head_from` chooses one.
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
from adapterhub_fin.plugin.heads import MergeableHead

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from adapterhub_fin_registry.model.manifest import Head
else:
    torch = Lazy("torch")

CURE = "name the one whose head is to be taken, with --head-from (head_from=...)"
_PLACEHOLDER = re.compile(r"LABEL_[0-9]+")  # Transformers' default name of an output


@dataclass(frozen=True)
class MergedHead:
    """Hold the head of a merge: the manifest's entry, and the values of its modules_to_save."""

    head: Mapping[str, Any] | None
    modules_to_save: tuple[str, ...]
    values: Mapping[str, Tensor] = field(default_factory=dict)  # by the parameter's name in the model
    origin: str | None = None  # the parent it was taken from; None for an average


def merge_heads(parents: Sequence[MergeParent], weights: Weights, head_from: MergeParent | None = None) -> MergedHead:
    """Return the average of the heads by weight, or the head of `head_from`.

    Raises BadMerge where the heads can't be averaged and none is chosen.
    """
    if head_from is not None:
        changes = head_from.changes
        values = {name: changes.values(name) for name in changes.full_shapes}
        return MergedHead(_plain(_head(head_from)), changes.modules_to_save, values, head_from.called)
    first, *others = parents
    for other in others:
        _check_alike(first, other)
    names = list(first.changes.full_shapes)
    scales = _output_scales([_head(parent) for parent in parents])
    output_rows = _outputs(parents, scales)
    shares = {name: _shares(weights, name.rpartition(".")[0]) for name in names}
    merged_scale = _merged_scale(scales, shares[min(output_rows)]) if output_rows else scales[0]
    values = {}
    for name in names:
        tensors, coefficients = [parent.changes.values(name) for parent in parents], shares[name]
        if name in output_rows:
            tensors = [value[_order(first, parent)] for value, parent in zip(tensors, parents, strict=True)]
            coefficients = tuple(
                share * scale / merged_scale[1] for share, (_, scale) in zip(coefficients, scales, strict=True)
            )
        values[name] = _mean(tensors, coefficients, name)
    return MergedHead(_with_scale(first, scales, merged_scale), first.changes.modules_to_save, values)


def _mean(values: Sequence[Tensor], shares: Sequence[float], name: str) -> Tensor:
    """Return the weighted average in the widest of the dtypes, summed in float64.

    Integer tensors, such as counters, have no average: BadMerge unless they are all equal.
    """
    if not all(value.is_floating_point() for value in values):
        if any(not torch.equal(value, values[0]) for value in values):
            raise BadMerge(f"the adapters store different integers in {name}, which have no average: {CURE}")
        return values[0]
    total = torch.stack([share * value.double() for share, value in zip(shares, values, strict=True)]).sum(0)
    return total.to(reduce(torch.promote_types, (value.dtype for value in values)))


def _head(parent: MergeParent) -> Head | None:
    return parent.version.manifest.head


def _plain(head: Head | None) -> Mapping[str, Any] | None:
    return None if head is None else head.model_dump(mode="json")


def _check_alike(one: MergeParent, other: MergeParent) -> None:
    """Raise BadMerge, saying in what they differ, unless two heads mean the same and have the same shapes."""
    a, b = _head(one), _head(other)
    left, right = (head.name if head else "no head" for head in (a, b))
    if left != right:
        raise BadMerge(f"{one.called} has {left} and {other.called} {right}: {CURE}")
    labels = [sorted(head.labels or ()) if head else [] for head in (a, b)]
    if labels[0] != labels[1]:
        raise BadMerge(f"{one.called} answers {', '.join(labels[0])} and {other.called} {', '.join(labels[1])}: {CURE}")
    mergeable, other_mergeable = _mergeable(a), _mergeable(b)
    if not (mergeable.averages and other_mergeable.averages):
        raise BadMerge(f"the average of two heads {left} is none, since their layers are not linear: {CURE}")
    decided, other_decided = mergeable.decided_by(), other_mergeable.decided_by()
    for option in sorted(decided.keys() | other_decided.keys()):
        if decided.get(option) != other_decided.get(option):
            raise BadMerge(f"{one.called} and {other.called} decide by another {option} of their head: {CURE}")
    formats = [head.options.get("chat_template") if head else None for head in (a, b)]
    if formats[0] != formats[1]:
        raise BadMerge(f"{one.called} and {other.called} write conversations by other chat templates: {CURE}")
    shapes, other_shapes = one.changes.full_shapes, other.changes.full_shapes
    for name in sorted(shapes.keys() | other_shapes.keys()):
        if shapes.get(name) != other_shapes.get(name):
            descriptions = [
                f"of the shape {present[name]}" if name in present else "not at all"
                for present in (shapes, other_shapes)
            ]
            raise BadMerge(f"{one.called} stores {name} {descriptions[0]} and {other.called} {descriptions[1]}: {CURE}")
    has_names = any(not _PLACEHOLDER.fullmatch(label) for label in labels[0])
    unnamed = [name for name in sorted(_rows(one)) if shapes[name][0] > 1 and not has_names]
    if unnamed:
        raise BadMerge(
            f"{one.called} and {other.called} store {unnamed[0]}, and neither records what its outputs mean, so they "
            f"may be in different orders: import them again with --labels, or {CURE}"
        )


def _outputs(parents: Sequence[MergeParent], scales: Sequence[tuple[float, float]]) -> set[str]:
    """Return the parameters whose rows are outputs, where rows must be reordered or rescaled; else an empty set.

    Raises BadMerge where the head's plugin does not name them.
    """
    first, *others = parents
    labels = [head.labels if (head := _head(parent)) else None for parent in parents]
    if len(set(labels)) == 1 and len(set(scales)) == 1:
        return set()
    rows = _rows(first)
    if not rows:
        names = ", ".join(first.changes.full_shapes) or "nothing"
        raise BadMerge(
            f"{first.called} and {others[0].called} differ in the order or scale of their outputs, and the head's "
            f"plugin does not say which layer gives them (they store {names}): {CURE}"
        )
    return rows


def _rows(parent: MergeParent) -> set[str]:
    """Return the stored parameters whose rows are outputs, by the head's plugin or else by PEFT's usual names."""
    head = _head(parent)
    output_parameters = _mergeable(head).outputs()
    return {name for name in parent.changes.full_shapes if name in output_parameters}


def _mergeable(head: Head | None) -> MergeableHead:
    """Return what a head's plugin says of averaging; what most heads say where it isn't installed or says nothing."""
    try:
        built = build_plugin(descriptions.Head, head.name, head.options) if head else None
    except UnknownName:
        built = None
    return built if isinstance(built, MergeableHead) else MergeableHead()


def _order(first: MergeParent, parent: MergeParent) -> list[int] | slice:
    """Return the indices of a parent's rows in the label order of the first parent."""
    labels, own_labels = (head.labels if (head := _head(owner)) else None for owner in (first, parent))
    if labels is None or own_labels is None:
        return slice(None)
    return [own_labels.index(label) for label in labels]


def _shares(weights: Weights, module: str) -> tuple[float, ...]:
    """Return the weights over their sum. Raises BadMerge where the sum is not positive."""
    module_weights = weights.of_module(module)
    total = sum(module_weights)
    if not total > 1e-12 * sum(map(abs, module_weights)):  # 0.1 + 0.2 - 0.3 is not 0 in floating point
        raise BadMerge(
            f"the weights sum to {total:g}, and heads are averaged by the weights over their sum: give weights that "
            f"sum to more than zero, or {CURE}"
        )
    return tuple(weight / total for weight in module_weights)


def _output_scales(heads: Sequence[Head | None]) -> list[tuple[float, float]]:
    """Return the output scale of each head; heads with equal options share one, so that no plugin is needed."""
    options = [head.options if head else {} for head in heads]
    if all(head_options == options[0] for head_options in options):
        return [(0.0, 1.0)] * len(heads)
    return [_output_scale(head) for head in heads]


def _output_scale(head: Head | None) -> tuple[float, float]:
    """Return (centre, scale) of a head's outputs: a prediction is centre + scale * output."""
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


def _merged_scale(scales: Sequence[tuple[float, float]], shares: Sequence[float]) -> tuple[float, float]:
    """Return the average of the output scales, under which averaged outputs mean averaged predictions.

    Raises BadMerge where the averaged scale is not positive.
    """
    if len(set(scales)) == 1:
        return scales[0]
    centre, scale = (sum(share * pair[k] for share, pair in zip(shares, scales, strict=True)) for k in (0, 1))
    if not scale > 0:
        raise BadMerge(f"the weights give the merged regression a scale of {scale:g}: {CURE}")
    return centre, scale


def _with_scale(
    first: MergeParent, scales: Sequence[tuple[float, float]], merged_scale: tuple[float, float]
) -> Mapping[str, Any] | None:
    """Return the first parent's head, recorded with the merged output scale."""
    head = _head(first)
    plain = _plain(head)
    if head is None or plain is None or len(set(scales)) == 1:
        return plain
    built = build_plugin(descriptions.Head, head.name, head.options)
    return {**plain, "options": {**plain["options"], **built.with_output_scale(*merged_scale)}}
