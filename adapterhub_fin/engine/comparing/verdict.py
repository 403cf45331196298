"""Say in one sentence what a comparison allows to say, and what else its reader must know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from adapterhub_fin.stats.paired import PairedTest
from adapterhub_fin_registry.model.knowledge import parse_instant

if TYPE_CHECKING:
    from datasets import Dataset

    from adapterhub_fin.engine.comparing.differences import Difference
    from adapterhub_fin.engine.comparing.evidence import Side
    from adapterhub_fin_registry import Version


def verdicts(differences: Sequence[Difference], metric: str, level: float) -> list[str]:
    """Return a sentence on each pair, by the deciding metric on all rows."""
    return [_verdict(each, level) for each in differences if each.metric == metric and each.part == "all rows"]


def _verdict(of: Difference, level: float) -> str:
    ends = "" if of.interval is None else f"{level:.0%} interval {of.interval[0]:+.4f} to {of.interval[1]:+.4f}, "
    if not isinstance(of.test, PairedTest) or of.corrected is None:
        return f"No difference could be shown between {of.a} and {of.b} in {of.metric}: {of.test}."
    p = f"{of.test.name}, corrected p {_p(of.corrected)}"
    if of.corrected >= 1 - level or of.better is None:
        seen = (
            "" if of.smallest is None else f"; {of.rows:,} rows show a difference of {of.smallest:.4f} in 4 of 5 cases"
        )
        return (
            f"No difference could be shown between {of.a} and {of.b} in {of.metric}: {of.difference:+.4f} "
            f"({ends}{p}{seen})."
        )
    worse = of.b if of.better == of.a else of.a
    return f"{of.better} is better than {worse} in {of.metric}: {of.a} - {of.b} is {of.difference:+.4f} ({ends}{p})."


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 0.0001 else "below 0.0001"


def caveats(sides: Sequence[Side], rows: Dataset, versions: Mapping[str, Version]) -> list[str]:
    """Return what limits the verdicts: rows that a side may know, and settings that were tried before."""
    sentences = []
    if unknown := [side.name for side in sides if side.unseen is None]:
        sentences.append(f"It is not known whether {' and '.join(unknown)} saw some of these rows in training.")
    if "available_at" in rows.column_names and (dates := [at for at in rows["available_at"][:] if at is not None]):
        for name, version in versions.items():
            end = version.manifest.knowledge.end
            if end is not None and (older := sum(at < parse_instant(end) for at in dates)):
                sentences.append(
                    f"{older:,} of the {len(rows):,} rows are older than what {name} knows ({end}): it may know what "
                    "came of them."
                )
    sentences += [
        f"{side.name} was chosen by validation among {side.tried:,} runs that were tried."
        for side in sides
        if side.tried is not None and side.tried > 1
    ]
    return sentences
