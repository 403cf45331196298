"""Say of the versions that were yanked since what they answered of the past, and what they were left out of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from adapterhub_fin_registry.model.events import Yank
from adapterhub_fin_registry.model.knowledge import format_instant
from adapterhub_fin_registry.model.version import Version


@dataclass(frozen=True)
class YankedVersion:
    """Hold a version that was yanked since, and how many rows it answered or was left out of."""

    reference: str
    digest: str
    at: str  # when it was yanked, an instant of UTC
    reason: str | None
    answered: int = 0
    after: int = 0  # of these, those from its yank on, which named it outright or by an alias
    left_out: int = 0  # rows from before its yank that it would have answered

    @classmethod
    def of(cls, version: Version, yank: Yank, **counts: int) -> YankedVersion:
        """Return that of a version and its yank."""
        return cls(version.reference, version.digest, format_instant(yank.at), yank.reason, **counts)

    def record(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return asdict(self)

    def sentence(self, rows: str = "rows", left_out_of: str | None = None) -> str:
        """Return what a reader must know of it; `rows` is what answered ones are called, and `left_out_of` others."""
        parts = []
        if self.answered:
            late = f", {self.after:,} of them from its yank on" if self.after else ""
            parts.append(f"it answered {self.answered:,} {rows}{late}")
        if self.left_out:
            others = f"{self.left_out:,} {left_out_of or rows} from before"
            parts.append(f"it is left out of {others}, which it would have answered")
        reason = f" ({self.reason})" if self.reason else ""
        return f"{self.reference} was yanked at {self.at}{reason}: {' and '.join(parts)}"


def yanked_versions(
    versions: Sequence[Version | None],
    passed_over: Mapping[int, Version],
    instants: Sequence[datetime],
    rows: Sequence[int] | range,
) -> list[YankedVersion]:
    """Return the yanked ones of versions that answer so many instants, or were passed over, by reference.

    Those `rows` alone are counted. Raises Corrupted for events that can't be read.
    """
    distinct = {each.digest: each for each in (*filter(None, versions), *passed_over.values())}
    yanks = {digest: (version, yank) for digest, version in distinct.items() if (yank := version.yank) is not None}
    answered, after, left_out = Counter[str](), Counter[str](), Counter[str]()
    for row in rows if yanks else ():
        version, passed = versions[row], passed_over.get(row)
        if version is not None and version.digest in yanks:
            answered[version.digest] += 1
            after[version.digest] += instants[row] >= yanks[version.digest][1].at
        if passed is not None and passed.digest in yanks:
            left_out[passed.digest] += instants[row] < yanks[passed.digest][1].at
    noted = [
        YankedVersion.of(version, yank, answered=answered[digest], after=after[digest], left_out=left_out[digest])
        for digest, (version, yank) in yanks.items()
        if answered[digest] or left_out[digest]
    ]
    return sorted(noted, key=lambda each: each.reference)
