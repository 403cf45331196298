"""Read an answer as SELL, HOLD or BUY: by the names of a head's labels, or by the sign of an estimate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import numpy as np

from adapterhub_fin.plugin import BadRecipe, Head, Version, contributions

COLUMNS: Final = {"sell": 0, "hold": 1, "buy": 2}
KNOWN: Final[Mapping[str, str]] = {
    **dict.fromkeys(("negative", "bearish", "down", "sell", "short"), "sell"),
    **dict.fromkeys(("neutral", "flat", "hold"), "hold"),
    **dict.fromkeys(("positive", "bullish", "up", "buy", "long"), "buy"),
}
Kind = Literal["classes", "estimate"]


def kind_of(version: Version) -> Kind:
    """Return whether a version's head answers with classes or with an estimate; no weight is read.

    Raises BadRecipe for a head that does neither.
    """
    head = version.manifest.head
    if head is None:
        raise BadRecipe(f"{version.reference} has no head: signals need one that classifies or estimates")
    description = contributions(Head).get(head.name)
    measured = description.metrics if description is not None else None
    kinds = (measured,) if isinstance(measured, str) else measured
    kind: Kind = "estimate" if head.labels is None else "classes"
    if kinds is not None and ("classification" if head.labels else "regression") not in kinds:
        raise BadRecipe(
            f"{version.reference} has the head {head.name}, whose answer is neither one class nor an estimate: signals "
            "need a head such as classify or regress"
        )
    return kind


def columns_of(labels: Sequence[str], directions: Mapping[str, str], reference: str) -> np.ndarray:
    """Return for each label its direction's column: 0 SELL, 1 HOLD, 2 BUY, (labels,).

    `directions` are given by label; other labels are read by their usual names. Raises BadRecipe for a label that says
    no direction, a given one that the head lacks, and a head that says neither SELL nor BUY.
    """
    if unknown := sorted(set(directions) - set(labels)):
        raise BadRecipe(f"{reference} has no label {unknown[0]!r}: it has {', '.join(labels)}; correct directions")
    senses = [directions.get(label) or KNOWN.get(label.casefold()) for label in labels]
    if None in senses:
        label = labels[senses.index(None)]
        raise BadRecipe(
            f"{reference} has the label {label!r}, which says no direction: give directions, such as {{{label}: buy}}"
        )
    if not {"sell", "buy"} & set(senses):
        raise BadRecipe(f"{reference} has labels that say neither SELL nor BUY: correct directions")
    return np.array([COLUMNS[str(name)] for name in senses])


def by_direction(scores: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return probabilities of SELL, HOLD and BUY, (texts, 3), of those of labels, (texts, labels)."""
    shares = np.zeros((len(scores), 3))
    for label, column in enumerate(columns):
        shares[:, column] += scores[:, label]
    return shares
