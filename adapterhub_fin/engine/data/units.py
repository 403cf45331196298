"""Say which rows belong together: folds keep them whole, and a bootstrap or a permutation moves them as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.data.duplicates import text_keys
from adapterhub_fin.errors import BadRecipe

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


def units_of(table: Dataset, units: Units | None = None) -> np.ndarray:
    """Return a number for each row, (rows,), which rows that share a text or a group, directly or not, have in common.

    With "row" each row is a unit of its own.
    """
    if units == "row":
        return np.arange(len(table))
    keys: list[Sequence[Any]] = [text_keys(table) or range(len(table))]
    if "group" in table.column_names:
        keys.append(table["group"][:])
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows, nodes, first = [], [], len(table)
    for column in keys:
        values, numbers = np.unique(np.array(list(map(str, column))), return_inverse=True)
        rows.append(np.arange(len(table)))
        nodes.append(first + numbers)
        first += len(values)
    edges = (np.ones(len(table) * len(keys)), (np.concatenate(rows), np.concatenate(nodes)))
    _, components = connected_components(coo_array(edges, shape=(first, first)), directed=False)
    numbered: np.ndarray = np.unique(components[: len(table)], return_inverse=True)[1]
    return numbered
