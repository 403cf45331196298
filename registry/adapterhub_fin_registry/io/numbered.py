"""Numbered lists: folders 1, 2, 3 ... under one parent, each born whole by one rename."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from adapterhub_fin_registry.io.safe_read import entries

HIGHEST: Final = 999_999_999
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,8}")
_DIGITS: Final = re.compile(r"[0-9]+")


def numbers(parent: Path) -> list[int]:
    """The numbers in use under a parent, ascending; none where it isn't there, Corrupted where it can't be listed."""
    return sorted([int(entry) for entry in entries(parent) if _NUMBER.fullmatch(entry)])


def misnumbered(parent: Path) -> list[str]:
    """What is named by digits under a parent and is no number of a list, such as 007 or one beyond the highest."""
    return sorted(entry for entry in entries(parent) if _DIGITS.fullmatch(entry) and not _NUMBER.fullmatch(entry))


def following(used: list[int]) -> int:
    """The number after those in use."""
    return used[-1] + 1 if used else 1
