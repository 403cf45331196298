"""Say which formats of dates can be read; nothing heavy is imported."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

EPOCHS: Final = {"unix": 1, "unix_ms": 1000}  # date_format for numbers: parts of a second


def check_date_format(pattern: str) -> None:
    """Raise ValueError for a pattern that strptime can't read a date by."""
    if pattern in EPOCHS:
        return
    written = datetime(2021, 6, 30, 16, 5, 1, tzinfo=UTC).strftime(pattern)
    try:
        read = datetime.strptime(written, pattern)
    except ValueError as error:
        raise ValueError(f"{pattern!r} is no format of strptime: {error}") from None
    if "%Z" in pattern:
        raise ValueError(f"{pattern!r} reads a zone's name and forgets it: write %z, or cut it off and set timezone")
    if read.hour not in (0, 16):  # read.hour is 0 for a pattern of days
        raise ValueError(f"{pattern!r} reads the afternoon as the morning: write %I with %p, or %H")
    if (read.year, read.month, read.day) != (2021, 6, 30):
        raise ValueError(f"{pattern!r} does not say the year, the month and the day, such as %d/%m/%Y does")
