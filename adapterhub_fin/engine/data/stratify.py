"""Deal rows to parts so that shares come out right: over classes, whole groups, and with the copies of a text together.

A unit is a list of rows that stay together: one row, or all rows of one text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import floor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from adapterhub_fin.engine.data.duplicates import Copies

HELD_OUT = ("test", "validation")
_ROUNDING = 1e-9  # 100 * 0.29 is 28.999999999999996


def strata(labels: Sequence[Any], copies: Copies, rng: np.random.Generator) -> list[list[list[int]]]:
    """Return the units of each class in a shuffled order, the classes sorted.

    A text with several labels counts to the rarest of them, so that this class isn't moved about by another's rows.
    """
    rows: dict[Any, list[int]] = {}
    for row, label in enumerate(labels):
        rows.setdefault(label, []).append(row)
    owner: dict[int, Any] = {}
    for row, label in enumerate(labels):
        first = copies.first[row]
        owner[first] = min(owner.get(first, label), label, key=lambda each: (len(rows[each]), str(each)))
    shuffled = {label: [rows[label][i] for i in rng.permutation(len(rows[label]))] for label in sorted(rows, key=str)}
    found: dict[Any, dict[int, list[int]]] = {label: {} for label in shuffled}
    for of_label in shuffled.values():
        for row in of_label:
            found[owner[copies.first[row]]].setdefault(copies.first[row], []).append(row)
    return [list(units.values()) for units in found.values() if units]


def quotas(
    sizes: Sequence[int],
    spare: Sequence[int],
    shares: tuple[float, float],
    totals: tuple[int, int],
    order: Sequence[int],
) -> list[dict[str, int]]:
    """Return how many rows of each class go to test and to validation, by largest remainders over the classes.

    The totals are those of the whole, so that where no class is due a whole row some still give one: those that are due
    most, and of equals the first in `order`. Validation makes up for what a class gave too little to test. No class
    gives more than it can `spare`.
    """
    test = _largest_remainders([size * shares[0] for size in sizes], spare, totals[0], order)
    due = [size * sum(shares) - given for size, given in zip(sizes, test, strict=True)]
    room = [most - given for most, given in zip(spare, test, strict=True)]
    validation = _largest_remainders([size * shares[1] for size in sizes], room, totals[1], order, due)
    return [dict(zip(HELD_OUT, pair, strict=True)) for pair in zip(test, validation, strict=True)]


def _largest_remainders(
    wanted: Sequence[float],
    room: Sequence[int],
    total: int,
    order: Sequence[int],
    due: Sequence[float] | None = None,
) -> list[int]:
    """Return what is wanted, rounded down or up, so that it sums to the total as far as there is room."""
    given = [min(floor(number + _ROUNDING), most) for number, most in zip(wanted, room, strict=True)]
    rest = [round(number - most, 9) for number, most in zip(due or wanted, given, strict=True)]
    able = [each for each in order if given[each] < room[each]]
    for each in sorted(able, key=lambda each: -rest[each])[: max(0, total - sum(given))]:  # stable: ties as in `order`
        given[each] += 1
    return given


def deal(
    classes: Sequence[Sequence[Sequence[int]]], shares: Sequence[Mapping[str, int]], whole: Mapping[str, int]
) -> dict[str, list[int]]:
    """Return the rows of each part: of each class's units its shares to test and validation, the rest to train.

    A unit goes where at least half of it is wanted, of its class and of the whole; the last unit of a class goes to
    train. Where copies leave a part empty that is to have rows, it gets the smallest unit that train can spare.
    """
    held: dict[str, list[int]] = {split: [] for split in HELD_OUT}
    train: list[list[Sequence[int]]] = []  # by class
    for units, share in zip(classes, shares, strict=True):
        given: Counter[str] = Counter()
        stay: list[Sequence[int]] = []
        for unit in units[:-1]:
            for split in HELD_OUT:
                wanted = min(share[split] - given[split], whole[split] - len(held[split]))
                if wanted > 0 and 2 * wanted >= len(unit):
                    held[split] += unit
                    given[split] += len(unit)
                    break
            else:
                stay.append(unit)
        train.append([*stay, *units[-1:]])
    for split in HELD_OUT:
        spare = [
            (len(unit), number, place) for number, units in enumerate(train) for place, unit in enumerate(units[:-1])
        ]
        if whole[split] and not held[split] and spare:
            _, number, place = min(spare)
            held[split] += train[number].pop(place)
    return {**held, "train": [row for units in train for unit in units for row in unit]}


def joined(groups: Sequence[Any], first: Sequence[int]) -> dict[Any, list[int]]:
    """Return the rows of each group by its name; groups that share a text are one, named after the first of them.

    `first` names the text of each row, or is empty where groups stay apart.
    """
    parents: dict[Any, Any] = {group: group for group in groups}

    def root(group: Any) -> Any:
        while parents[group] != group:
            parents[group] = group = parents[parents[group]]
        return group

    holder: dict[int, Any] = {}
    for group, text in zip(groups, first, strict=False):
        one, other = sorted((root(group), root(holder.setdefault(text, group))), key=str)
        parents[other] = one
    rows: dict[Any, list[int]] = {}
    for row, group in enumerate(groups):
        rows.setdefault(root(group), []).append(row)
    return rows
