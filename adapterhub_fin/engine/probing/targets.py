"""Take what a probe predicts from a table's rows, and say which rows belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.data.duplicates import text_keys
from adapterhub_fin.engine.data.labels import labels_in
from adapterhub_fin.plugin.descriptions import Head
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.stats.undefined import Undefined

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
else:
    np = Lazy("numpy")


@dataclass(frozen=True)
class Targets:
    """Hold what probes predict of each row: label numbers (rows,), label sets (rows, labels) of 0 and 1, or numbers."""

    kind: Literal["labels", "label sets", "numbers"]
    values: np.ndarray
    names: Sequence[str] = ()  # of the labels

    @property
    def score_name(self) -> str:
        """Return what the mean of the rows' scores is called."""
        return {"labels": "accuracy", "label sets": "label accuracy", "numbers": "R2"}[self.kind]

    def scores(self, answers: np.ndarray) -> np.ndarray:
        """Return a score of each row, (rows,), whose mean is the accuracy, the share of right labels, or R2."""
        if self.kind == "numbers":
            shares: np.ndarray = 1 - (self.values - answers) ** 2 / self.values.var()
            return shares
        right: np.ndarray = (self.values == answers).astype(float)
        return right if right.ndim == 1 else np.asarray(right.mean(1))

    def constant_score(self) -> float:
        """Return the mean score of the best answer that is the same for all rows."""
        if self.kind == "numbers":
            return 0.0
        if self.kind == "labels":
            return float(np.bincount(self.values).max() / len(self.values))
        shares = self.values.mean(0)
        return float(np.maximum(shares, 1 - shares).mean())

    def groups(self) -> np.ndarray:
        """Return a number for each row, (rows,), that rows with the same labels share. Raises Undefined for numbers."""
        if self.kind == "numbers":
            raise Undefined("the rows have numbers and no labels")
        return np.unique(self.values, axis=0, return_inverse=True)[1].ravel()


def read_targets(table: Dataset, head: str | None) -> Targets:
    """Return the column that the version's head consumes, else `label` or `target`, whichever the rows have.

    Raises Undefined where the rows have neither, or all the same.
    """
    consumed = () if head is None else extensions().get(Head, head).consumes
    answers = [name for name in (*consumed, "label", "target") if name in ("label", "target")]
    column = next((name for name in answers if name in table.column_names), None)
    if column is None:
        raise Undefined("the rows have neither a label nor a target")
    targets = _taken(table[column][:])
    if len(np.unique(targets.values, axis=0)) < 2:
        raise Undefined(f"all rows have the same {column}")
    return targets


def _taken(cells: Sequence[Any]) -> Targets:
    if all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in cells):
        return Targets("numbers", np.array(cells, dtype=float))
    sets = [labels_in(cell) for cell in cells]
    names = sorted({label for labels in sets for label in labels})
    if any(isinstance(cell, list) for cell in cells):
        rows = [[label in labels for label in names] for labels in map(set, sets)]
        return Targets("label sets", np.array(rows, dtype=int).reshape(len(sets), len(names)), names)
    numbers = {label: number for number, label in enumerate(names)}
    return Targets("labels", np.array([numbers[labels[0]] for labels in sets]), names)


def distinct_rows(table: Dataset) -> np.ndarray:
    """Return the indices of the first row of each text, ascending: (texts,)."""
    first: dict[Any, int] = {}
    for row, key in enumerate(text_keys(table) or range(len(table))):
        first.setdefault(key, row)
    return np.array(sorted(first.values()))
