"""Hold what a comparison found: sides, differences, verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin.stats.paired import PairedTest

if TYPE_CHECKING:
    from adapterhub_fin.engine.comparing.differences import Difference
    from adapterhub_fin.stats.bootstrap import Interval

COLUMNS: Final = ("pair", "metric", "rows", "a", "b", "a - b", "95 %", "test", "p", "corrected p", "smallest seen")


@dataclass(frozen=True)
class Side:
    """Hold one side's metrics with their intervals, what it costs, and whether the rows are new to it."""

    name: str
    described: str
    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval | None]
    unseen: bool | None  # whether the rows are known to be new to it; None: unknown
    tried: int | None  # settings that were tried before this version was chosen; None: unknown
    efficiency: Mapping[str, Any]


@dataclass(frozen=True)
class Evidence:
    """Hold the comparison of two or more sides on the same rows: differences, and a verdict on each pair."""

    corpus: str
    corpus_options: Mapping[str, Any]
    corpus_digest: str
    split: str
    rows: int
    units: str  # what is drawn and swapped: row, or group
    metric: str  # the one that decides: what the head selects on
    sides: Sequence[Side]
    differences: Sequence[Difference]
    verdicts: Sequence[str]
    caveats: Sequence[str]
    protocol: Mapping[str, Any]
    environment: Mapping[str, str]
    page: Path | None = None  # of the report, where one was asked for

    def __repr__(self) -> str:
        return f"Evidence({' '.join(self.verdicts)})"

    def _repr_html_(self) -> str:
        from adapterhub_fin_registry.io.html_table import html_table

        rows = [row for row in self.rows_of_table() if row[1] == self.metric]
        return html_table(" ".join([*self.verdicts, *self.caveats]), rows, COLUMNS)

    def body(self) -> dict[str, Any]:
        """Return the comparison as plain values, for JSON."""
        return {**asdict(self), "page": None if self.page is None else str(self.page)}

    def rows_of_table(self) -> list[tuple[Any, ...]]:
        """Return a row for each difference, in the order of COLUMNS."""
        return [
            (
                f"{each.a} - {each.b}",
                each.metric,
                each.part,
                each.value_a,
                each.value_b,
                each.difference,
                each.interval,
                each.test.name if isinstance(each.test, PairedTest) else each.test,
                each.test.p if isinstance(each.test, PairedTest) else None,
                each.corrected,
                each.smallest,
            )
            for each in self.differences
        ]
