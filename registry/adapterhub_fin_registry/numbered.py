"""Numbered lists: folders 1, 2, 3 ... under one parent, each born whole by one rename."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from adapterhub_fin_registry.disk import Disk

_NUMBER: Final = re.compile(r"[1-9][0-9]{0,8}")


def numbers(parent: Path) -> list[int]:
    """The numbers in use under a parent, ascending; none where the parent isn't there."""
    try:
        return sorted(int(entry.name) for entry in parent.iterdir() if _NUMBER.fullmatch(entry.name))
    except (FileNotFoundError, NotADirectoryError):
        return []


def following(used: list[int]) -> int:
    """The number after those in use."""
    return used[-1] + 1 if used else 1


def append(
    disk: Disk,
    built: Path,
    parent: Path,
    number: int,
    marked: Iterable[Path],
    *,
    before: Callable[[int], object] = lambda number: None,
) -> int:
    """Give a built folder the first free number from `number` on, and mark the change before and after.

    `before` is told each number just before it is tried, and may give up by raising.
    """
    folders = tuple(marked)
    disk.make(parent)
    disk.seal(built)
    for folder in folders:
        disk.mark(built.parent, folder)
    while True:
        before(number)
        if disk.claim(built, parent / str(number)):
            # The marks before the fsync, which makes the rename and them durable together.
            for folder in folders:
                disk.mark(built.parent, folder)
            disk.sync(parent)
            return number
        number += 1
