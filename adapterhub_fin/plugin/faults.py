"""Collect what is wrong with the rows of a source, so that one run names all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from adapterhub_fin.errors import BadCorpus

T = TypeVar("T")
LISTED: Final = 20


class Faults:
    """Hold the faults of rows in the rows' order: the first 20 as sentences, and how many there are in all.

    Example:
        >>> faults = Faults()
        >>> faults.add((0, 3), "rows.csv, line 3: label is missing")
        >>> faults.check("corpus table")  # raises BadCorpus: corpus table: rows.csv, line 3: label is missing
    """

    def __init__(self) -> None:
        self.count = 0
        self._first: list[tuple[tuple[int, ...], int, str]] = []  # the row's position, the order of adding, a sentence

    def add(self, position: tuple[int, ...], sentence: object) -> None:
        """Add a fault; `position` orders it, such as the number of the file and of the row."""
        self.count += 1
        self._first.append((position, self.count, str(sentence)))
        if len(self._first) > 4 * LISTED:
            self._first = sorted(self._first)[:LISTED]

    def caught(self, position: tuple[int, ...], convert: Callable[..., T], *arguments: Any) -> T | None:
        """Return what a function returns; where it raises BadCorpus, add that fault and return None."""
        try:
            return convert(*arguments)
        except BadCorpus as error:
            self.add(position, error)
            return None

    def check(self, source: str) -> None:
        """Raise BadCorpus with the faults, if there are any; `source` begins the message."""
        if not self.count:
            return
        sentences = [sentence for _, _, sentence in sorted(self._first)[:LISTED]]
        if self.count == 1:
            raise BadCorpus(f"{source}: {sentences[0]}")
        more = [f"and {self.count - len(sentences):,} more"] if self.count > len(sentences) else []
        raise BadCorpus("\n  ".join([f"{source}: {self.count:,} faults:", *sentences, *more]))


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
