"""Find and verify the adapters of a merge, and check that they share one base."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import TYPE_CHECKING, TypeVar

from adapterhub_fin.engine.base.check import expected_base, first_difference
from adapterhub_fin.engine.base.stored_base import check_is_adapter
from adapterhub_fin.engine.merging.changes import StoredChanges, changes_of
from adapterhub_fin.errors import BadMerge
from adapterhub_fin.registries import configured_registries
from adapterhub_fin_registry import Registry

if TYPE_CHECKING:
    from adapterhub_fin_registry import Version
    from adapterhub_fin_registry.model.manifest import Base, WeightProbe

COARSEST = 2.0**-6  # twice what two roundings to bfloat16 differ by, at most 2**-7 of a number
TINIEST = 2.0**-20  # more than the rounding of float16's smallest numbers
H = TypeVar("H", bound="ResolvedParent")


@dataclass(frozen=True)
class ResolvedParent:
    """Represent one adapter of a merge, its files verified but not read."""

    version: Version
    base: Base  # the base it must be used with, from its manifest or its first load

    @property
    def called(self) -> str:
        """Return its name in messages."""
        return self.version.reference


@dataclass(frozen=True)
class MergeParent(ResolvedParent):
    """Represent one adapter of a merge, with what it changes."""

    changes: StoredChanges


def find_parents(references: Sequence[str], registry: Registry | None = None) -> list[MergeParent]:
    """Return the adapters of these references, in their order.

    Raises BadMerge where there are none, where two have different bases, or where one can't be read into matrices, and
    NotFound or Corrupted.
    """
    if not references:
        raise BadMerge("no adapter was named: give at least one reference, such as acme/tone@1")
    resolved = [_resolved(reference, registry) for reference in references]
    _check_bases(resolved)  # before torch is imported
    parents: list[MergeParent] = []
    for reference, parent in zip(references, resolved, strict=True):
        try:
            parents.append(MergeParent(parent.version, parent.base, changes_of(parent.version)))
        except BadMerge as error:
            others = [read.called for read in parents] or [other for other in references if other != reference]
            context = f" (merging it with {', '.join(others)})" if others else ""
            raise BadMerge(f"{error}{context}") from error
    return parents


def _resolved(reference: str, registry: Registry | None) -> ResolvedParent:
    holder = registry or configured_registries().answering(reference)
    version = holder.resolve(reference)
    check_is_adapter(version)
    holder.path(version)  # hashes the files, and applies the policy
    return ResolvedParent(version, expected_base(holder, version))


def _check_bases(parents: Sequence[ResolvedParent]) -> list[str]:
    """Return warnings about the bases of these adapters. Raises BadMerge, which names two whose bases differ."""
    first = _most_certain(parents)
    others = [parent for parent in parents if parent is not first]
    warnings = [warning for parent in others if (warning := _same_base(first, parent))]
    for one, other in combinations(others, 2):  # two may each match the first, which records less than they do
        _same_base(one, other)
    return warnings


def check_together(parents: Sequence[MergeParent]) -> list[str]:
    """Return warnings about these parents. Raises BadMerge, which names two that can't be merged and says why."""
    warnings = _check_bases(parents)
    warnings += [
        f"{parent.called}: its base {parent.base.repository} is declared and was not verified"
        for parent in parents
        if len(parents) > 1 and parent.base.weight_probe is None
    ]
    check_one_kind(parents)
    for name in sorted({name for parent in parents for name in parent.changes.parameters}):
        one, *others = [parent for parent in parents if name in parent.changes.parameters]
        for other in others:
            if one.changes.parameters[name] != other.changes.parameters[name]:
                shapes = [parent.changes.parameters[name].shape for parent in (one, other)]
                raise BadMerge(
                    f"{one.called} changes {name} of the shape {shapes[0]} and {other.called} one of {shapes[1]}: they "
                    "are of two bases"
                )
        module = f"{one.changes.parameters[name].module}."
        for other in parents:
            if saved := next(
                (saved for saved in other.changes.modules_to_save if module.startswith(f"{saved}.")), None
            ):
                raise BadMerge(
                    f"{one.called} adapts {name}, and {other.called} stores {saved} in full (modules_to_save): they "
                    "can't be added"
                )
    if any(parent.base.quantization for parent in parents):
        names = ", ".join(parent.called for parent in parents if parent.base.quantization)
        warnings.append(f"{names}: trained on a quantized base; the merge is a LoRA for the base in full precision")
    return warnings


def merged_base(parents: Sequence[MergeParent]) -> Base:
    """Return the base recorded for the merge: prefer a verified fingerprint, an unquantized base, a stored one."""
    base = _most_certain(parents).base
    stored = next((parent.base.version for parent in parents if parent.base.version is not None), None)
    return base if base.version is not None else base.model_copy(update={"version": stored})


def _most_certain(parents: Sequence[H]) -> H:
    return min(parents, key=lambda p: (p.base.fingerprint != "verified", p.base.quantization is not None))


def _same_base(one: ResolvedParent, other: ResolvedParent) -> str | None:
    """Return a warning where the weights can't tell whether two adapters share a base.

    Raises BadMerge where they have different bases.
    """
    a, b = one.base, other.base
    for key, what in (
        ("architecture", "architecture"),
        ("vocabulary_size", "vocabulary size"),
        ("structure_digest", "layers"),
        ("tokenizer_digest", "tokenizer"),
        ("tokenizer_probe", "tokenizer"),
    ):
        left, right = getattr(a, key), getattr(b, key)
        if left is not None and right is not None and left != right:
            details = f" ({left} and {right})" if len(f"{left}{right}") < 60 else ""
            raise _other_base(one, other, f"another {what}{details}")
    quantized = a.quantization is not None or b.quantization is not None
    # Another release of Transformers may write other defaults, and a quantization is written there too.
    configurations = {a.config_digest, b.config_digest} - {None}
    if len(configurations) > 1 and a.transformers == b.transformers and not quantized:
        raise _other_base(one, other, "another configuration")
    if a.weight_probe is not None and b.weight_probe is not None:
        left, right = ({name: len(v) for name, v in p.values.items()} for p in (a.weight_probe, b.weight_probe))
        if left != right and None in (a.structure_digest, b.structure_digest):  # equal digests would settle it
            raise _other_base(one, other, "other layers")
        if not quantized and (far := _far_apart(a.weight_probe, b.weight_probe)):
            raise _other_base(one, other, f"other weights ({far})")
        if off := first_difference(a.weight_probe, b.weight_probe, quantized):
            raise _other_base(one, other, f"other weights ({off})")
        if quantized and a.repository != b.repository:  # rounding to four bits hides the changes of a fine-tuning
            return (
                f"{one.called} is for {a.exactly_called} and {other.called} for {b.exactly_called}: the weights of a "
                "quantized base can't be told from another's, so whether the two are one base was not verified"
            )
        return None
    if a.repository is None or a.repository != b.repository:
        raise _other_base(one, other, "another id, and no fingerprint to compare")
    if None not in (a.revision, b.revision) and a.revision != b.revision:
        raise _other_base(one, other, f"another revision ({a.revision} and {b.revision})")
    return None


def _far_apart(one: WeightProbe, other: WeightProbe) -> str | None:
    """Return the first tensor that differs by more than twice the rounding of any two dtypes; needs no torch."""
    for tensor, values in one.values.items():
        for a, b in zip(values, other.values[tensor], strict=True):
            if COARSEST * max(abs(a), abs(b)) + TINIEST < abs(a - b) < math.inf:
                return f"{tensor} differs by {abs(a - b):.3g}"
    return None


def _other_base(one: ResolvedParent, other: ResolvedParent, why: str) -> BadMerge:
    names = [parent.base.exactly_called for parent in (one, other)]
    return BadMerge(
        f"{one.called} is for {names[0]} and {other.called} for {names[1]}, which has {why}: merge adapters of one base"
    )


def check_one_kind(parents: Sequence[MergeParent]) -> None:
    """Raise BadMerge where two adapters name the layers of their base differently."""
    backbone, prefixes = _backbone(parents), dict[str, "MergeParent"]()
    for parent in parents:
        for name in parent.changes.parameters:
            start = next((index for index in _starts(name) if name[index:] in backbone), None)
            if start is not None:
                prefixes.setdefault(name[:start], parent)
    if len(prefixes) > 1:
        (one, first), (two, second) = list(prefixes.items())[:2]
        raise BadMerge(
            f"{first.called} names the layers of its base {one}* and {second.called} {two}*: they were trained "
            "on two kinds of model; train one of them with the other's head"
        )
    for inner, outer in permutations(parents, 2) if not backbone else ():
        if within := _within(inner.changes.parameters, outer.changes.parameters):
            raise BadMerge(
                f"{inner.called} names the layers of its base {within[0]}.* and {outer.called} {within[1]}.*: they "
                "seem to be of two kinds of model; load both once, so that their bases are known, or train one of them "
                "with the other's head"
            )


def check_reached(parents: Sequence[MergeParent], head_parent: MergeParent | None) -> None:
    """Raise BadMerge where an adapter changes a layer that the model of the chosen head lacks.

    That is a layer outside the backbone; nothing could load such a merge.
    """
    if head_parent is None:
        return
    backbone, own = _backbone(parents), _tops(head_parent.changes.parameters)
    for parent in parents:
        if _kind(parent) == _kind(head_parent):
            continue
        for name in parent.changes.parameters:
            if name.partition(".")[0] not in own and not any(name[index:] in backbone for index in _starts(name)):
                raise BadMerge(
                    f"{parent.called} changes {name}, which is no part of the backbone, and {head_parent.called}, "
                    "whose head is taken, was trained on another kind of model: take the head of one with that layer"
                )


def _kind(parent: MergeParent) -> tuple[str | None, object]:
    head = parent.version.manifest.head
    return head.name if head else None, parent.changes.config.get("task_type")


def _backbone(parents: Iterable[MergeParent]) -> set[str]:
    """Return the base's parameters by the bare model's names; empty where no parent's base was fingerprinted."""
    probes = (parent.base.weight_probe for parent in parents)
    return {name for probe in probes if probe for name in probe.values}


def _within(inner: Iterable[str], outer: Iterable[str]) -> tuple[str, str] | None:
    """Return the common start of two sets of names where one model seems to be nested in the other; else None."""
    if not _tops(inner).isdisjoint(_tops(outer)):
        return None
    begins = {".".join(name.rpartition(".")[0].split(".")[:2]) for name in inner}
    for begin in sorted(begins):
        for name in outer:
            before, match, _ = f".{name}".partition(f".{begin}.")
            if match and before:
                return begin, f"{before[1:]}.{begin}"
    return None


def _tops(names: Iterable[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def _starts(name: str) -> list[int]:
    """Return the index at which each part of a dotted name begins."""
    return [0, *(index + 1 for index, letter in enumerate(name) if letter == ".")]
