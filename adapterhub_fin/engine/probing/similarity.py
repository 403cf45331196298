"""Describe how alike the vectors of a layer are: over all pairs of rows, within labels and between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapterhub_fin.engine.probing.states import States
from adapterhub_fin.engine.probing.targets import Targets
from adapterhub_fin.stats.representations import Jackknife, Measured, anisotropy, mean_cosines
from adapterhub_fin.stats.undefined import Undefined

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class LayerSimilarity:
    """Hold the mean cosines of a layer's vectors by name: `anisotropy` over all pairs, `within` and `between` labels.

    `separation` is within minus between. `differences` are tuned minus base on the same rows. A name that could not be
    measured is missing.
    """

    layer: int
    base: Mapping[str, Measured]
    tuned: Mapping[str, Measured]
    differences: Mapping[str, Measured]


def similarities(
    states: States, targets: Targets | None, units: np.ndarray
) -> tuple[list[LayerSimilarity], dict[str, str]]:
    """Return the similarities of each layer of distinct texts, and by part the reason why one could not be measured.

    `units`, (rows,), are integers: the intervals leave out the rows of one unit at a time.
    """
    layers, unmeasured = [], dict[str, str]()
    for number, (base, tuned) in enumerate(zip(states.base, states.tuned, strict=True)):
        of_base, of_tuned = (_cosines(vectors, targets, units, number, unmeasured) for vectors in (base, tuned))
        layers.append(
            LayerSimilarity(
                number,
                {name: value.measured() for name, value in of_base.items()},
                {name: value.measured() for name, value in of_tuned.items()},
                {name: of_tuned[name].minus(value).measured() for name, value in of_base.items() if name in of_tuned},
            )
        )
    return layers, unmeasured


def _cosines(
    vectors: np.ndarray, targets: Targets | None, units: np.ndarray, layer: int, unmeasured: dict[str, str]
) -> dict[str, Jackknife]:
    cosines: dict[str, Jackknife] = {}
    try:
        cosines["anisotropy"] = anisotropy(vectors, units)
    except Undefined as error:
        unmeasured[f"similarities of layer {layer}"] = str(error)
        return cosines
    try:
        if targets is None:
            raise Undefined("the rows have no labels, or all the same")
        within, between = mean_cosines(vectors, targets.groups(), units)
    except Undefined as error:
        unmeasured["similarities within and between labels"] = str(error)
        return cosines
    return {**cosines, "within": within, "between": between, "separation": within.minus(between)}
