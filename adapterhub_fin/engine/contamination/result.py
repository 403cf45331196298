"""Hold what was asked of a base, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from adapterhub_fin.engine.contamination.interaction import Interaction
from adapterhub_fin.engine.contamination.recall import Settings, Side
from adapterhub_fin_registry.model.knowledge import format_instant

Verdict = Literal["knows of what came after its end", "no sign", "no power"]


@dataclass(frozen=True)
class Contamination:
    """Hold what a base recalls of dated facts before and after its knowledge end, and what follows from it."""

    base: str
    kind: str  # causal or masked
    end: datetime
    evidence: str  # of the end
    probes: str  # the file's name
    probes_digest: str
    left_out: int  # probes of the very day of the end
    uneven: int  # probes whose options a masked model tells apart by their number of tokens
    before: Side
    after: Side
    interactions: Sequence[Interaction]
    settings: Settings
    environment: Mapping[str, str]
    page: Path | None = None

    @property
    def verdict(self) -> Verdict:
        """Return whether the base knows of what came after its end.

        `no sign` takes two things: the base recalls facts of before its end, and as much recall after it would have
        been seen.
        """
        return judge(self.before, self.after, self.settings.alpha)[0]

    @property
    def sentence(self) -> str:
        """Return the verdict with its reason, in one sentence."""
        verdict, reason = judge(self.before, self.after, self.settings.alpha)
        return f"{verdict}: {reason}"

    @property
    def note(self) -> str:
        """Return what the options' lengths do to the answers; empty where nothing."""
        if not self.uneven:
            return ""
        return (
            f"in {self.uneven:,} probes options differ in their number of tokens, which a masked model sees: it says "
            "nothing by date of an option with a length of its own"
        )

    def body(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "base": self.base,
            "kind": self.kind,
            "knowledge_end": format_instant(self.end),
            "evidence": self.evidence,
            "probes": self.probes,
            "probes_digest": self.probes_digest,
            "verdict": self.verdict,
            "sentence": self.sentence,
            "left_out": self.left_out,
            "uneven": self.uneven,
            "before": self.before.body(),
            "after": self.after.body(),
            "interactions": [each.body() for each in self.interactions],
            "settings": asdict(self.settings),
            "environment": dict(self.environment),
            "page": None if self.page is None else str(self.page),
        }

    def __repr__(self) -> str:
        return f"Contamination({self.base} on {self.probes}: {self.sentence})"


def judge(before: Side, after: Side, alpha: float) -> tuple[Verdict, str]:
    """Return the verdict on two sides, with its reason."""
    if after.p is not None and after.p <= alpha:
        return "knows of what came after its end", (
            f"it gives the right option {_points(after.excess)} more probability than the frequencies do "
            f"(p {after.p:.2g})"
        )
    if before.p is None or before.p > alpha:
        why = before.reason or f"p {before.p:.2g}"
        return "no power", f"nothing shows that the base recalls even facts from before its end ({why})"
    if after.smallest is None:
        return "no power", f"the {after.events} events after the end could show nothing: {after.reason}"
    assert before.excess is not None, "it has a p"
    if after.smallest > before.excess:
        return "no power", (
            f"the probes after the end would show {_points(after.smallest)}, and the base recalls "
            f"{_points(before.excess)} before it"
        )
    return "no sign", (
        f"it recalls {_points(before.excess)} before its end, and {_points(after.smallest)} after it would have been "
        f"seen ({_points(after.excess)} were)"
    )


def _points(value: float | None) -> str:
    """Return a difference of probabilities in percentage points."""
    return "-" if value is None else f"{100 * value:.1f} points"
