"""Hold what was monitored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.monitoring.signals import Signal, Thresholds

if TYPE_CHECKING:
    from adapterhub_fin_registry import Version


@dataclass(frozen=True)
class Monitoring:
    """Hold what a version reads and answers of a table beside what it was tested on, signal by signal."""

    version: Version
    table: str  # the file's name
    rows: int
    reference: Mapping[str, Any]  # what it was compared with: a part of a corpus, or the outcomes of an evaluation
    signals: Sequence[Signal]
    thresholds: Thresholds
    page: Path | None = None  # the report, if one was written

    @property
    def drifted(self) -> bool:
        """Return whether any signal drifted."""
        return any(signal.verdict == "drift" for signal in self.signals)

    @property
    def sentence(self) -> str:
        """Return the verdict in one sentence."""
        drifted = [signal.name for signal in self.signals if signal.verdict == "drift"]
        if drifted:
            return f"drift: {', '.join(drifted)}"
        if few := [signal for signal in self.signals if signal.verdict == "too few rows to tell"]:
            return f"too few rows to tell: {few[0].reason}"
        return "no drift was shown"

    def body(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "reference": self.version.reference,
            "digest": self.version.digest,
            "table": self.table,
            "rows": self.rows,
            "compared_with": dict(self.reference),
            "drifted": self.drifted,
            "verdict": self.sentence,
            "thresholds": asdict(self.thresholds),
            "signals": [asdict(signal) for signal in self.signals],
            "page": None if self.page is None else str(self.page),
        }

    def __repr__(self) -> str:
        return f"Monitoring({self.version.reference} on {self.table}, {self.rows:,} rows: {self.sentence})"
