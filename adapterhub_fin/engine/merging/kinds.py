"""Whether adapters were trained on one kind of model: the bare base, or the base with a head.

A model with a head may name its backbone's layers otherwise than the bare one (`bert.encoder`, `encoder`), and has
layers of its own beside it (`lm_head`). The base is not at hand: what its layers are called is known by its pin.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import permutations
from typing import TYPE_CHECKING

from adapterhub_fin.errors import BadMerge

if TYPE_CHECKING:
    from adapterhub_fin.engine.merging.parents import Parent


def check_one_kind(parents: Sequence[Parent]) -> None:
    """Raise BadMerge where two adapters name the layers of their base otherwise."""
    known, found = _backbone(parents), dict[str, "Parent"]()
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


def check_reached(parents: Sequence[Parent], head_parent: Parent | None) -> None:
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


def _kind(parent: Parent) -> tuple[str | None, object]:
    head = parent.version.manifest.head
    return head.name if head else None, parent.changes.config.get("task_type")


def _backbone(parents: Iterable[Parent]) -> set[str]:
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
