"""Define what the checks of prices find, which of it is refused, and what repairs it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from adapterhub_fin.plugin import format_instant
from adapterhub_fin_markets.prices.errors import BadPrices

# What each kind means, and what `repair` does to it; None where nothing can be done without another source.
KINDS: Final[Mapping[str, tuple[str, str | None]]] = {
    "no-session": ("a bar on a day or at a time at which the exchange has no session", "drops the bar"),
    "duplicate-bar": (
        "two rows for one bar",
        "keeps one of rows that agree, and drops all of rows that contradict each other",
    ),
    "coarser-bars": ("bars of which no two follow each other at the interval: longer ones, such as a month's", None),
    "mixed-zones": ("days of one ticker that are written in several zones", None),
    "missing-bars": ("sessions or times between a ticker's first and last bar without one", None),
    "null-close": ("a row without a close", None),
    "not-positive": ("a price of zero or below", "empties the bar"),
    "high-below-low": ("a high below its low", "empties the bar"),
    "outside-range": ("an open or a close outside of its bar's low and high", None),
    "interpolated": (
        "bars on a straight line between their neighbours, so that they know the next one",
        "empties them",
    ),
    "hundredfold": (
        "bars at a hundred times, or a hundredth, of the level before: pence for pounds",
        "puts later bars on the level of the first",
    ),
    "two-adjustments": ("two tables with different adjustments, one after the other", None),
    "missing-split": ("bars that a split was not applied to", "applies the listed split to them"),
    "wrong-split": ("a jump on the day of a listed split that is neither none nor the split's", None),
    "missing-dividend": (
        "a dividend that the adjusted close leaves out, or a fall of it that no dividend explains",
        "computes the adjusted close from the listed dividends",
    ),
    "wrong-dividend": (
        "a dividend that the adjusted close counts at another amount: listed before its split",
        "puts the dividend on the levels after the split",
    ),
    "double-dividend": ("a dividend that is counted twice", "counts it once"),
}

# Kinds whose repair uses what came later.
LATER: Final = frozenset(["interpolated", "missing-split", "missing-dividend", "wrong-dividend", "double-dividend"])


@dataclass(frozen=True)
class Finding:
    """Describe one thing that is wrong, or looks wrong, with a ticker's bars."""

    kind: str
    ticker: str
    at: datetime | None  # the close of the first bar that it concerns, UTC
    bars: int
    value: float | str | None
    sentence: str
    refused: bool
    cells: tuple[int, int, int] | None = None  # first row, row after the last, column of the panel; None: not in it

    def record(self) -> dict[str, Any]:
        """Return the finding as JSON can hold it."""
        cells = asdict(self)
        del cells["cells"]
        return {**cells, "at": None if self.at is None else format_instant(self.at)}


def instant(moment: np.datetime64) -> datetime:
    """Return a numpy instant as a datetime in UTC."""
    return datetime.fromisoformat(str(moment.astype("M8[us]"))).replace(tzinfo=UTC)


def check_kinds(names: Collection[str], what: str) -> None:
    """Raise BadPrices for a kind of finding that there is not, or that nothing repairs."""
    for name in names:
        if name not in KINDS:
            raise BadPrices(f"there is no finding {name!r} to {what}: choose from {', '.join(KINDS)}")
        if what == "repair" and KINDS[name][1] is None:
            raise BadPrices(f"{name} can't be repaired: mend the table, or read it from one source")


def raise_refused(findings: Sequence[Finding], settled: Collection[str]) -> None:
    """Raise BadPrices where the checks refused something that is neither repaired nor allowed."""
    refused = [finding for finding in findings if finding.refused and finding.kind not in settled]
    if not refused:
        return
    counts = Counter(finding.kind for finding in refused)
    listed = ", ".join(f"{kind} ({number})" for kind, number in counts.items())
    mending = [kind for kind in counts if KINDS[kind][1]]
    repair = f", repair {', '.join(mending)} (repair)" if mending else ""
    allow = f"allow {', '.join(counts)} (allow)"
    where = (
        "in read_prices, under prices in a recipe, or by --repair and --allow of `ahf market store`, which writes it"
    )
    advice = f"mend the table{repair}, or {allow}: {where}"
    raise BadPrices(f"{refused[0].sentence}; refused in all: {listed}: {advice}", refused)
