"""Collect what is wrong with the rows of a source, so that one run names all of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from adapterhub_fin.errors import AdapterHubError, BadCorpus

T = TypeVar("T")
LISTED: Final = 20
KINDS: Final = 100  # of faults that are told apart; the rest are counted together
_VARYING: Final = re.compile(r"'[^']*'|\d+")  # of a sentence: values and lines


class Faults:
    """Hold the faults of rows in the rows' order: 20 as sentences, and how many there are in all.

    Of more than 20, each kind of fault has its share, so that one in every row hides no other. Sentences that differ in
    numbers and quoted values alone are of one kind.

    Example:
        >>> faults = Faults()
        >>> faults.add((0, 3), "rows.csv, line 3: label is missing")
        >>> faults.check("corpus table")  # raises BadCorpus: corpus table: rows.csv, line 3: label is missing
    """

    def __init__(self) -> None:
        self.count = 0
        # By kind: the number of faults, and the first of them as the row's position, the order of adding, a sentence.
        self._kinds: dict[str, tuple[int, list[tuple[tuple[int, ...], int, str]]]] = {}

    def add(self, position: tuple[int, ...], sentence: object) -> None:
        """Add a fault; `position` orders it, such as the number of the file and of the row."""
        self.count += 1
        kind = _VARYING.sub("", str(sentence))
        if kind not in self._kinds and len(self._kinds) >= KINDS:
            kind = ""
        count, first = self._kinds.get(kind, (0, []))
        first.append((position, self.count, str(sentence)))
        if len(first) > 4 * LISTED:
            first = sorted(first)[:LISTED]
        self._kinds[kind] = count + 1, first

    def caught(self, position: tuple[int, ...], convert: Callable[..., T], *arguments: Any) -> T | None:
        """Return what a function returns; where it raises BadCorpus, add that fault and return None."""
        try:
            return convert(*arguments)
        except BadCorpus as error:
            self.add(position, error)
            return None

    def check(self, source: str, error: type[AdapterHubError] = BadCorpus) -> None:
        """Raise BadCorpus, or another `error`, with the faults, if there are any; `source` begins the message."""
        if not self.count:
            return
        sentences = self._listed()
        if self.count == 1:
            raise error(f"{source}: {sentences[0]}")
        raise error("\n  ".join([f"{source}: {self.count:,} faults:", *sentences]))

    def _listed(self) -> list[str]:
        """Return the sentences that are shown, and after those of a kind how many more there are of it."""
        kinds = sorted((sorted(first), count) for count, first in self._kinds.values())
        if self.count <= LISTED:
            return [sentence for _, _, sentence in sorted(fault for first, _ in kinds for fault in first)]
        ranks = ((rank, number) for number, (first, _) in enumerate(kinds) for rank in range(len(first)))
        shown = Counter(number for _, number in sorted(ranks)[:LISTED])  # the first of each kind before any second
        lines = []
        for number, (first, count) in enumerate(kinds):
            lines += [sentence for _, _, sentence in first[: shown[number]]]
            if shown[number] and count > shown[number]:
                lines.append(f"and {count - shown[number]:,} more{' like it' if len(kinds) > 1 else ''}")
        hidden = sum(count for number, (_, count) in enumerate(kinds) if not shown[number])
        return [*lines, *([f"and {hidden:,} more of other kinds"] if hidden else [])]


@contextmanager
def collected(source: str) -> Iterator[Faults]:
    """Give a block faults to add to, and raise BadCorpus at its end if there are any.

    A BadCorpus that the block raises comes last: whatever can't be read on is a fault too.
    """
    faults = Faults()
    try:
        yield faults
    except BadCorpus as error:
        faults.add((2**63,), error)
        try:
            faults.check(source)
        except BadCorpus as all_faults:
            raise all_faults from error
    faults.check(source)
