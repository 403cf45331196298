"""Find rows with the same text: a copy of a training row in the test part is too easy a question.

Two texts are the same if they differ only in case, in whitespace, or in how Unicode encodes them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.data.scan import cells

if TYPE_CHECKING:
    from datasets import Dataset

INPUTS = ("text", "messages", "prompt", "anchor")  # columns of which a row has one: what the model is given
SHORT = 64  # characters of a text that is compared as it is
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")  # soft hyphens, joiners, direction and byte-order marks


@dataclass(frozen=True)
class Copies:
    """Record which rows of a table share a text, and their answers."""

    first: Sequence[int]  # by row: the first row with the same text, which may be itself
    answers: Sequence[Any] | None  # by row: label or target; None if the table has neither

    def units(self, order: Sequence[int]) -> list[list[int]]:
        """Return rows grouped by text, the groups and the rows of each in the given order."""
        groups: dict[int, list[int]] = {}
        for row in order:
            groups.setdefault(self.first[row], []).append(int(row))
        return list(groups.values())

    def notes(self, splits: Mapping[str, Sequence[int]]) -> dict[str, int]:
        """Return the non-zero counts of copies in and between the three parts, by what is counted."""
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

    def among(self, rows: Sequence[int], earlier: Sequence[int]) -> list[int]:
        """Return the `rows` whose text is also that of one of the `earlier` rows."""
        texts = {self.first[row] for row in earlier}
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
    """Return which rows of a table have the same text, or the same conversation."""
    column = _input_column(table)
    keys = range(len(table)) if column is None else (_short(text_key(cell)) for cell in cells(table, column))
    answer = next((name for name in ("label", "target") if name in table.column_names), None)
    first: dict[Any, int] = {}
    return Copies(
        [first.setdefault(key, row) for row, key in enumerate(keys)],
        None if answer is None else [_hashable(cell) for cell in table[answer][:]],
    )


def _hashable(answer: Any) -> Any:
    return tuple(sorted(answer)) if isinstance(answer, list) else answer


def text_keys(table: Dataset) -> list[str] | None:
    """Return each row's text, conversation, prompt or anchor, equal for copies; None if the table has none."""
    column = _input_column(table)
    return None if column is None else [text_key(cell) for cell in cells(table, column)]


def _input_column(table: Dataset) -> str | None:
    return next((name for name in INPUTS if name in table.column_names), None)


def _short(key: str) -> str | bytes:
    """Return a digest in place of a long text: the texts of all rows may be more than memory holds."""
    return key if len(key) <= SHORT else blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def text_key(cell: Any) -> str:
    """Normalise a text or a conversation: Unicode NFKC, case folded, whitespace collapsed, no invisible characters."""
    if isinstance(cell, str):
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", cell).casefold())
        return " ".join(_INVISIBLE.sub("", folded).split())
    turns = cell if isinstance(cell, Sequence) else ()
    return "\x1f".join(f"{turn.get('role')}\x1e{text_key(turn.get('content') or '')}" for turn in turns)
