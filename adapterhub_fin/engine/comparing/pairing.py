"""Put the outcomes of contenders side by side, row by row, and say which rows are drawn together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.comparing.contenders import Contender
from adapterhub_fin.errors import BadRecipe, Unsupported

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
else:
    np = Lazy("numpy")

Units = Literal["row", "group"]


def check_units(table: Dataset, units: Units | None) -> None:
    """Raise BadRecipe where rows are to be drawn by groups that they haven't."""
    if units == "group" and "group" not in table.column_names:
        raise BadRecipe("units is group, and the corpus has no groups: name a column by its option group")


def paired(answered: Sequence[Contender], table: Dataset, units: Units | None) -> list[Contender]:
    """Return the contenders with outcomes that stand side by side, row by row, and the units that they are drawn by.

    Raises Unsupported where their examples differ, and BadRecipe where their losses are in other units.
    """
    for other in answered[1:]:
        _check_pairs(answered[0], other)
    if "group" not in table.column_names or units == "row":
        return list(answered)
    _, codes = np.unique(np.array([str(cell) for cell in table["group"][:]]), return_inverse=True)
    return [replace(each, outcomes=replace(each.outcomes, units=codes[each.outcomes.rows])) for each in answered]


def _check_pairs(one: Contender, other: Contender) -> None:
    a, b = one.outcomes, other.outcomes
    if not np.array_equal(a.rows, b.rows):
        raise Unsupported(
            f"{one.name} makes {len(a.rows):,} examples of the rows and {other.name} {len(b.rows):,}, so that they "
            "can't be paired: compare versions with one tokenizer and one max_length"
        )
    for sides in zip(_arrays(a.predicted), _arrays(b.predicted), strict=True):
        weights = [
            array[:, 1] for array in sides if array.ndim == 2 and array.shape[1] == 2 and array.dtype.kind == "f"
        ]
        if len(weights) == 2 and not np.array_equal(weights[0], weights[1]):
            raise BadRecipe(
                f"loss and perplexity of {one.name} are per token of {int(weights[0].sum()):,}, and those of "
                f"{other.name} of {int(weights[1].sum()):,}: their tokenizers differ, and so do the units"
            )


def _arrays(values: Any) -> Iterator[np.ndarray]:
    yield from values.values() if isinstance(values, Mapping) else (values,)
