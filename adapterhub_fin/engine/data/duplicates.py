"""Rows that hold the same text: a copy of a training row in the test part answers itself.

Two texts are the same where they differ only in case, in blanks, or in how Unicode writes them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset

_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")  # soft hyphens, joiners, marks of direction and of order


@dataclass(frozen=True)
class Copies:
    """Which rows of a table hold one text, and their answers."""

    first: Sequence[int]  # by row: the first row with the same text, itself where there is none
    answers: Sequence[Any] | None  # by row: label or target, None where rows have neither

    def units(self, order: Sequence[int]) -> list[list[int]]:
        """Return rows in an order, those of one text together, at the place of the one that comes first."""
        found: dict[int, list[int]] = {}
        for row in order:
            found.setdefault(self.first[row], []).append(int(row))
        return list(found.values())

    def notes(self, splits: Mapping[str, Sequence[int]]) -> dict[str, int]:
        """Return counts of copies in the parts of a division; what is zero is left out."""
        train, validation, test = (splits[split] for split in ("train", "validation", "test"))
        seen = {self.first[row] for row in train}
        rows = [*train, *validation, *test]
        counts = {
            "that are copies of another": len(rows) - len({self.first[row] for row in rows}),
            "of validation that are copies of train": sum(self.first[row] in seen for row in validation),
            "of test that are copies of train or validation": len(self.among(test, [*train, *validation])),
            "with contradictory labels": self._contradicted(rows),
        }
        return {reason: count for reason, count in counts.items() if count}

    def among(self, rows: Sequence[int], others: Sequence[int]) -> list[int]:
        """Return those of some rows whose text stands in others."""
        texts = {self.first[row] for row in others}
        return [row for row in rows if self.first[row] in texts]

    def _contradicted(self, rows: Collection[int]) -> int:
        if self.answers is None:
            return 0
        answers: dict[int, set[Any]] = {}
        for row in rows:
            answers.setdefault(self.first[row], set()).add(self.answers[row])
        return sum(len(answers[self.first[row]]) > 1 for row in rows)


@lru_cache(maxsize=1)  # a series divides one table dozens of times
def copies_in(table: Dataset) -> Copies:
    """Return which rows of a table hold one text, or one conversation."""
    keys: Sequence[Any] = text_keys(table) or range(len(table))
    answer = next((name for name in ("label", "target") if name in table.column_names), None)
    first: dict[Any, int] = {}
    return Copies(
        [first.setdefault(key, row) for row, key in enumerate(keys)],
        None if answer is None else list(table[answer][:]),
    )


def text_keys(table: Dataset) -> list[str] | None:
    """Return the text of each row, or its conversation, in the form in which copies are equal; None without either."""
    column = next((name for name in ("text", "messages") if name in table.column_names), None)
    return None if column is None else [text_key(cell) for cell in table[column][:]]


def text_key(cell: Any) -> str:
    """Return a text, or a conversation, without case, blanks, and what Unicode writes in several ways."""
    if isinstance(cell, str):
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", cell).casefold())
        return " ".join(_INVISIBLE.sub("", folded).split())
    turns = cell if isinstance(cell, Sequence) else ()
    return "\x1f".join(f"{turn.get('role')}\x1e{text_key(turn.get('content') or '')}" for turn in turns)
