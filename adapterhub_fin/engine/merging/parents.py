"""The adapters of a merge: found, verified, and held to share one base."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import TYPE_CHECKING, TypeVar

from adapterhub_fin.engine.base.check import expected_base, first_difference
from adapterhub_fin.engine.merging.changes import StoredChanges, changes_of
from adapterhub_fin.errors import BadMerge
from adapterhub_fin.registries import configured_registries
from adapterhub_fin_registry import Registry

if TYPE_CHECKING:
    from adapterhub_fin_registry import Version
    from adapterhub_fin_registry.model.manifest import Base, WeightProbe

COARSEST = 2.0**-6  # half units in the last place of two bfloat16 sum to at most 2**-7 of a number
TINIEST = 2.0**-20  # beyond what float16's smallest numbers round to
H = TypeVar("H", bound="ResolvedParent")


@dataclass(frozen=True)
class ResolvedParent:
    """One adapter of a merge, its files verified and not yet read."""

    version: Version
    base: Base  # what it is held to, from its manifest or its first load

    @property
    def called(self) -> str:
        """How messages name it."""
        return self.version.reference


@dataclass(frozen=True)
class MergeParent(ResolvedParent):
    """One adapter of a merge, with what it changes."""

    changes: StoredChanges


def find_parents(references: Sequence[str], registry: Registry | None = None) -> list[MergeParent]:
    """The adapters of these names, in their order; BadMerge where one can't be read into matrices."""
    if not references:
        raise BadMerge("no adapter was named: give at least one reference, such as acme/tone@1")
    held = [_held(reference, registry) for reference in references]
    _check_bases(held)  # which needs no torch, and what follows does
    found: list[MergeParent] = []
    for reference, each in zip(references, held, strict=True):
        try:
            found.append(MergeParent(each.version, each.base, changes_of(each.version)))
        except BadMerge as error:
            others = [each.called for each in found] or [each for each in references if each != reference]
            beside = f" (beside {', '.join(others)})" if others else ""
            raise BadMerge(f"{error}{beside}") from error
    return found


def _held(reference: str, registry: Registry | None) -> ResolvedParent:
    holder = registry or configured_registries().answering(reference)
    version = holder.resolve(reference)
    holder.path(version.reference)  # hashes the files, and asks the policy
    return ResolvedParent(version, expected_base(holder, version))


def _check_bases(held: Sequence[ResolvedParent]) -> list[str]:
    """What must be said of adapters whose bases go together; BadMerge names two whose don't, and why."""
    first = _most_certain(held)
    others = [each for each in held if each is not first]
    said = [warning for each in others if (warning := _same_base(first, each))]
    for one, other in combinations(others, 2):  # two may each go with the first, which says less than they do
        _same_base(one, other)
    return said


def check_together(parents: Sequence[MergeParent]) -> list[str]:
    """What must be said of parents that go together; BadMerge names two that don't, and why."""
    said = _check_bases(parents)
    said += [
        f"{each.called}: that its base is {each.base.repository} is only declared, and was taken as it is"
        for each in parents
        if len(parents) > 1 and each.base.weight_probe is None
    ]
    check_one_kind(parents)
    for name in sorted({name for each in parents for name in each.changes.places}):
        holding = [each for each in parents if name in each.changes.places]
        one, *others = holding
        for other in others:
            if one.changes.places[name] != other.changes.places[name]:
                shapes = [each.changes.places[name].shape for each in (one, other)]
                raise BadMerge(
                    f"{one.called} changes {name} of the shape {shapes[0]} and {other.called} one of {shapes[1]}: they "
                    "are of two bases"
                )
        module = f"{one.changes.places[name].module}."
        for other in parents:
            if whole := next((each for each in other.changes.modules if module.startswith(f"{each}.")), None):
                raise BadMerge(f"{one.called} adapts {name}, and {other.called} brings {whole} whole: no sum is both")
    if any(each.base.quantization for each in parents):
        named = ", ".join(each.called for each in parents if each.base.quantization)
        said.append(f"{named}: trained on a quantized base; the merge is a LoRA for the base in full precision")
    return said


def merged_base(parents: Sequence[MergeParent]) -> Base:
    """The base that the merge is for: the pin that says most, of an unquantized base where there is one."""
    return _most_certain(parents).base


def _most_certain(parents: Sequence[H]) -> H:
    return min(parents, key=lambda each: (each.base.fingerprint != "verified", each.base.quantization is not None))


def _same_base(one: ResolvedParent, other: ResolvedParent) -> str | None:
    """A sentence where their weights can't say whether two adapters share a base; BadMerge where they don't."""
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
            told = f" ({left} and {right})" if len(f"{left}{right}") < 60 else ""
            raise _other_base(one, other, f"another {what}{told}")
    quantized = a.quantization is not None or b.quantization is not None
    # Another release of Transformers may write other defaults, and a quantization is written there too.
    configurations = {a.config_digest, b.config_digest} - {None}
    if len(configurations) > 1 and a.transformers == b.transformers and not quantized:
        raise _other_base(one, other, "another configuration")
    if a.weight_probe is not None and b.weight_probe is not None:
        left, right = ({name: len(each) for name, each in p.values.items()} for p in (a.weight_probe, b.weight_probe))
        if left != right and None in (a.structure_digest, b.structure_digest):  # which would say that they are alike
            raise _other_base(one, other, "other layers")
        if not quantized and (far := _far_apart(a.weight_probe, b.weight_probe)):
            raise _other_base(one, other, f"other weights ({far})")
        if off := first_difference(a.weight_probe, b.weight_probe, quantized):
            raise _other_base(one, other, f"other weights ({off})")
        if quantized and a.repository != b.repository:  # rounding to four bits hides what a fine-tuning changes
            return (
                f"{one.called} is for {_id(a)} and {other.called} for {_id(b)}: of a quantized base and another the "
                "weights can't be told apart, and that they are one was taken as it is"
            )
        return None
    if a.repository is None or a.repository != b.repository:
        raise _other_base(one, other, "another id, and no weights that were read to compare")
    if None not in (a.revision, b.revision) and a.revision != b.revision:
        raise _other_base(one, other, f"another revision ({a.revision} and {b.revision})")
    return None


def _far_apart(one: WeightProbe, other: WeightProbe) -> str | None:
    """The first tensor that differs by more than twice what any two types round to; no torch, unlike the exact rule."""
    for tensor, values in one.values.items():
        for a, b in zip(values, other.values[tensor], strict=True):
            if COARSEST * max(abs(a), abs(b)) + TINIEST < abs(a - b) < math.inf:
                return f"{tensor} differs by {abs(a - b):.3g}"
    return None


def _other_base(one: ResolvedParent, other: ResolvedParent, why: str) -> BadMerge:
    names = [_id(each.base) for each in (one, other)]
    return BadMerge(
        f"{one.called} is for {names[0]} and {other.called} for {names[1]}, which has {why}: merge adapters of one base"
    )


def _id(base: Base) -> str:
    return base.repository or "an unnamed base"


def check_one_kind(parents: Sequence[MergeParent]) -> None:
    """Raise BadMerge where two adapters name the layers of their base otherwise."""
    known, found = _backbone(parents), dict[str, "MergeParent"]()
    for each in parents:
        for name in each.changes.places:
            start = next((at for at in _starts(name) if name[at:] in known), None)
            if start is not None:
                found.setdefault(name[:start], each)
    if len(found) > 1:
        (one, first), (two, second) = list(found.items())[:2]
        raise BadMerge(
            f"{first.called} names the layers of its base {one}* and {second.called} {two}*: they were trained "
            "on two kinds of model; train one of them with the other's head"
        )
    for inner, outer in permutations(parents, 2) if not known else ():
        if within := _within(inner.changes.places, outer.changes.places):
            raise BadMerge(
                f"{inner.called} names the layers of its base {within[0]}.* and {outer.called} {within[1]}.*: they "
                "seem to be of two kinds of model; load both once, so that their bases are known, or train one of them "
                "with the other's head"
            )


def check_reached(parents: Sequence[MergeParent], head_parent: MergeParent | None) -> None:
    """Raise BadMerge where an adapter changes a layer beside the backbone, and the model of the head that is taken has
    none such: nothing could load the merge."""
    if head_parent is None:
        return
    known, own = _backbone(parents), _tops(head_parent.changes.places)
    for each in parents:
        if _kind(each) == _kind(head_parent):
            continue
        for name in each.changes.places:
            if name.partition(".")[0] not in own and not any(name[at:] in known for at in _starts(name)):
                raise BadMerge(
                    f"{each.called} changes {name}, which is no part of the backbone, and {head_parent.called}, whose "
                    "head is taken, was trained on another kind of model: take the head of one that has that layer"
                )


def _kind(parent: MergeParent) -> tuple[str | None, object]:
    head = parent.version.manifest.head
    return head.name if head else None, parent.changes.config.get("task_type")


def _backbone(parents: Iterable[MergeParent]) -> set[str]:
    """The parameters of the base, as the bare model names them; none where no parent's base has been read."""
    probes = (each.base.weight_probe for each in parents)
    return {name for probe in probes if probe for name in probe.values}


def _within(inner: Iterable[str], outer: Iterable[str]) -> tuple[str, str] | None:
    """How two sets of names begin, where the one model seems to stand within the other under a name of its own."""
    if not _tops(inner).isdisjoint(_tops(outer)):
        return None
    begins = {".".join(name.rpartition(".")[0].split(".")[:2]) for name in inner}
    for begin in sorted(begins):
        for name in outer:
            before, found, _ = f".{name}".partition(f".{begin}.")
            if found and before:
                return begin, f"{before[1:]}.{begin}"
    return None


def _tops(names: Iterable[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def _starts(name: str) -> list[int]:
    """Where the parts of a dotted name begin."""
    return [0, *(place + 1 for place, letter in enumerate(name) if letter == ".")]
