"""Assign rows to parts so that each class has its shares, while groups and the copies of a text stay together.

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
    """Return the units of each class in a shuffled order; the classes are sorted.

    A text with several labels belongs to the rarest of them, which would otherwise lose rows to the larger class. So
    does a row whose label is a list; rows of an empty list are a class too.
    """
    rows: dict[Any, list[int]] = {}
    labels = _rarest(labels)
    for row, label in enumerate(labels):
        rows.setdefault(label, []).append(row)
    owner: dict[int, Any] = {}
    for row, label in enumerate(labels):
        first = copies.first[row]
        owner[first] = min(owner.get(first, label), label, key=lambda name: (len(rows[name]), str(name)))
    shuffled = {label: [rows[label][i] for i in rng.permutation(len(rows[label]))] for label in sorted(rows, key=str)}
    units_of: dict[Any, dict[int, list[int]]] = {label: {} for label in shuffled}  # class -> text -> rows
    for of_label in shuffled.values():
        for row in of_label:
            units_of[owner[copies.first[row]]].setdefault(copies.first[row], []).append(row)
    return [list(units.values()) for units in units_of.values() if units]


def _rarest(labels: Sequence[Any]) -> list[Any]:
    """Return the labels, with each list replaced by its rarest label, "" if it is empty."""
    lists = [label for label in labels if isinstance(label, list)]
    counts = Counter(name for label in lists for name in set(label))
    return [
        min(label, key=lambda name: (counts[name], str(name)), default="") if isinstance(label, list) else label
        for label in labels
    ]


def quotas(
    sizes: Sequence[int],
    spare: Sequence[int],
    shares: tuple[float, float],
    totals: tuple[int, int],
    order: Sequence[int],
) -> list[dict[str, int]]:
    """Return how many rows of each class go to test and to validation, by the method of largest remainders.

    `sizes` and `spare` are the rows that each class has and those it can give; `shares` and `totals` are of the whole
    table, as (test, validation). Even if no class is due a full row, the totals are met by the classes with the largest
    remainders, and among equals by the first in `order`. A class that gave too few rows to test gives more to
    validation.
    """
    test = _largest_remainders([size * shares[0] for size in sizes], spare, totals[0], order)
    due = [size * sum(shares) - given for size, given in zip(sizes, test, strict=True)]
    room = [most - given for most, given in zip(spare, test, strict=True)]
    validation = _largest_remainders([size * shares[1] for size in sizes], room, totals[1], order, due)
    return [dict(zip(HELD_OUT, pair, strict=True)) for pair in zip(test, validation, strict=True)]


def _largest_remainders(
    quota: Sequence[float],
    room: Sequence[int],
    total: int,
    order: Sequence[int],
    due: Sequence[float] | None = None,
) -> list[int]:
    """Return the quotas, rounded down or up, so that they sum to the total as far as there is room."""
    given = [min(floor(number + _ROUNDING), most) for number, most in zip(quota, room, strict=True)]
    rest = [round(number - most, 9) for number, most in zip(due or quota, given, strict=True)]
    able = [index for index in order if given[index] < room[index]]
    for index in sorted(able, key=lambda k: -rest[k])[: max(0, total - sum(given))]:  # stable: ties as in `order`
        given[index] += 1
    return given


def deal(
    classes: Sequence[Sequence[Sequence[int]]], shares: Sequence[Mapping[str, int]], totals: Mapping[str, int]
) -> dict[str, list[int]]:
    """Return the rows of each part: the shares of each class's units to test and validation, the rest to train.

    A unit goes to a part that still lacks at least half of its rows, both of its class and in total; the last unit of a
    class goes to train. If copies leave a part empty that should have rows, it gets the smallest unit that train can
    spare.
    """
    held_out: dict[str, list[int]] = {split: [] for split in HELD_OUT}
    train: list[list[Sequence[int]]] = []  # by class
    for units, share in zip(classes, shares, strict=True):
        given: Counter[str] = Counter()
        stay: list[Sequence[int]] = []
        for unit in units[:-1]:
            for split in HELD_OUT:
                lacking = min(share[split] - given[split], totals[split] - len(held_out[split]))
                if lacking > 0 and 2 * lacking >= len(unit):
                    held_out[split] += unit
                    given[split] += len(unit)
                    break
            else:
                stay.append(unit)
        train.append([*stay, *units[-1:]])
    for split in HELD_OUT:
        spare = [
            (len(unit), number, index) for number, units in enumerate(train) for index, unit in enumerate(units[:-1])
        ]
        if totals[split] and not held_out[split] and spare:
            _, number, index = min(spare)
            held_out[split] += train[number].pop(index)
    return {**held_out, "train": [row for units in train for unit in units for row in unit]}


def joined(groups: Sequence[Any], first: Sequence[int]) -> dict[Any, list[int]]:
    """Return the rows of each group by its name; groups that share a text become one, with the first of their names.

    `first` identifies the text of each row; if it is empty, no groups are joined.
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
