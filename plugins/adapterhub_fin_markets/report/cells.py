"""Write numbers as a page shows them, each with its exact value beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

NONE: Final = "none"


@dataclass(frozen=True)
class Number:
    """Hold a number and its text; the page holds both."""

    value: float
    text: str


Cell = str | Number | Sequence[str | Number]


def percent(value: float) -> Number:
    """Return a share as percent with two digits."""
    return Number(float(value), f"{100 * value:,.2f} %")


def ratio(value: float) -> Number:
    """Return a ratio with two digits."""
    return Number(float(value), f"{value:,.2f}")


def count(value: float) -> Number:
    """Return a whole number."""
    return Number(float(value), f"{value:,.0f}")


def probability(value: float) -> Number:
    """Return a probability with three digits."""
    return Number(float(value), f"{value:.3f}")


def money(value: float) -> Number:
    """Return an amount with two digits."""
    return Number(float(value), f"{value:,.2f}")


def instant(at: np.datetime64) -> str:
    """Return an instant of UTC as text, without a fraction of a second that is 0."""
    return f"{np.datetime_as_string(at.astype('M8[us]'), unit='us').removesuffix('.000000')}Z"


def plural(number: int, word: str) -> str:
    """Return a number and what it counts, such as `1 signal` and `2 signals`."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def listed(reasons: Mapping[str, int], empty: str = NONE) -> str:
    """Return counts by reason on one line, the most frequent first."""
    counts = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{number:,} {reason}" for reason, number in counts) or empty
