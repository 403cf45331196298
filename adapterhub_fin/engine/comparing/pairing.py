"""Put the outcomes of contenders side by side, row by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.comparing.contenders import Contender
from adapterhub_fin.errors import BadRecipe, Unsupported

if TYPE_CHECKING:
    import numpy as np
else:
    np = Lazy("numpy")


def paired(answered: Sequence[Contender], units: np.ndarray) -> list[Contender]:
    """Return the contenders with outcomes that stand side by side, row by row, in units of rows, (rows,).

    Raises Unsupported where their examples differ, and BadRecipe where their losses are in other units.
    """
    for other in answered[1:]:
        _check_pairs(answered[0], other)
    return [replace(each, outcomes=each.outcomes.in_units(units)) for each in answered]


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
