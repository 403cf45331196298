"""Name the slice that each row belongs to, so that metrics can be told by sector, year, length or regime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.data.labels import labels_in
from adapterhub_fin.errors import BadRecipe, Unsupported

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

    from adapterhub_fin.engine.evaluation.outcomes import Outcomes
else:
    np = Lazy("numpy")

MOST: Final = 100  # slices of one kind
GROUPS: Final = 4  # of lengths
DATED: Final[Mapping[str, Callable[[Any], str]]] = {
    "year": lambda at: f"{at.year}",
    "quarter": lambda at: f"{at.year} Q{(at.month + 2) // 3}",
    "month": lambda at: f"{at.year}-{at.month:02}",
}
MISSING: Final = "(none)"


def check_slices(table: Dataset, by: Sequence[str]) -> None:
    """Raise BadRecipe, before anything is answered, where the rows can't be told apart by one of these."""
    for each in by:
        if each != "length":
            _check_count(_of_rows(table, each), each)


def slice_keys(table: Dataset, outcomes: Outcomes, by: str) -> list[str]:
    """Return the slice of each example, in the order of the outcomes.

    `by` is year, quarter or month of `available_at`, length (of the texts in tokens, four groups of like size), label,
    group, or a column that the corpus was told to keep. Raises BadRecipe where the rows have none, or more than 100
    values of it, and Unsupported where the head joins rows.
    """
    if (outcomes.rows < 0).any():
        raise Unsupported(f"the head joins rows into one example, so that none belongs to a {by}: leave out --by")
    if by == "length":
        keys = _by_length(outcomes.tokens)
    else:
        of_rows = _of_rows(table, by)
        keys = [of_rows[row] for row in outcomes.rows.tolist()]
    _check_count(keys, by)
    return keys


def _check_count(keys: Sequence[str], by: str) -> None:
    if (count := len(set(keys))) > MOST:
        raise BadRecipe(f"the rows have {count:,} values of {by}, and {MOST} can be told apart: group them in a column")


def _of_rows(table: Dataset, by: str) -> Sequence[str]:
    if by in DATED:
        if "available_at" not in table.column_names:
            raise BadRecipe(f"by {by}: the corpus has no column available_at: name the source's by that option")
        return [DATED[by](at) for at in table["available_at"][:]]
    if by in ("label", "group") and by in table.column_names:
        return [_text(cell) for cell in table[by][:]]
    if "slices" in table.column_names and table.features["slices"] and by in table.features["slices"]:
        return [_text(cell[by]) for cell in table["slices"][:]]
    raise BadRecipe(
        f"by {by}: the corpus has no such column; it has {', '.join(_offered(table))}. Let it keep a column of the "
        "source with --set 'slices=[sector]'"
    )


def _offered(table: Dataset) -> list[str]:
    kept = list(table.features["slices"] or ()) if "slices" in table.column_names else []
    dated = list(DATED) if "available_at" in table.column_names else []
    return ["length", *dated, *(name for name in ("label", "group") if name in table.column_names), *kept]


def _text(cell: Any) -> str:
    return MISSING if cell in (None, "") else ", ".join(labels_in(cell)) or MISSING


def _by_length(tokens: np.ndarray) -> list[str]:
    """Return a group of like size for each length, such as `13 to 24 tokens`; equal lengths stay in one group."""
    cuts = np.unique(np.quantile(tokens, np.arange(1, GROUPS) / GROUPS, method="higher"))
    numbers = np.searchsorted(cuts, tokens)
    names = {}
    for number in np.unique(numbers):
        inside = tokens[numbers == number]
        low, high = int(inside.min()), int(inside.max())
        names[number] = f"{low:,} tokens" if low == high else f"{low:,} to {high:,} tokens"
    return [names[number] for number in numbers]
