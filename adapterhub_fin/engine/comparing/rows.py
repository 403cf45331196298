"""Read the rows that all contenders answer: each of them new to every version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from adapterhub_fin.engine.comparing.checks import head_name, head_of
from adapterhub_fin.engine.data.corpus import corpus_digest, divide_rows, read_rows
from adapterhub_fin.engine.data.duplicates import text_keys
from adapterhub_fin.engine.data.splits import check_split
from adapterhub_fin.engine.evaluation.evaluate import SplitName, check_labels_known
from adapterhub_fin.engine.evaluation.seen import seen_texts
from adapterhub_fin.engine.inference.find import ResolvedVersion
from adapterhub_fin.errors import BadCorpus, Refused
from adapterhub_fin_registry.registry_chain import LocatedVersion

if TYPE_CHECKING:
    from datasets import Dataset

    from adapterhub_fin.recipe.choices import CorpusChoice

NAMED: Final = 3  # rows that one refusal names


@dataclass(frozen=True)
class Rows:
    """Hold the parts of a corpus; all contenders answer the rows of `measured`."""

    parts: Mapping[str, Dataset]
    measured: Dataset
    corpus: str
    split: str


def rows_to_compare(
    choice: CorpusChoice,
    versions: Mapping[str, ResolvedVersion],
    split: SplitName,
    *,
    drop_seen: bool,
    check_labels: bool,
) -> tuple[Rows, dict[str, bool | None], str]:
    """Return the rows that all contenders answer, whether they are known to be new to each version, and the digest.

    Raises Refused where a version saw some of them, unless they are dropped; BadCorpus where one or none is left; and
    BadRecipe for an unknown split.
    """
    check_split(split)
    first = next(iter(versions.values()))
    rows = read_rows(choice, head_name(first))
    table = rows.table
    parts = divide_rows(rows, choice.splitter, choice.called).splits
    measured = table if split == "all" else parts[split]
    for resolved in versions.values() if check_labels else ():
        check_labels_known(measured, head_of(resolved).labels, choice.called, split)
    seen, unseen = set[int](), dict[str, bool | None]()
    keys = text_keys(measured)
    for resolved in versions.values():
        overlap, complete = _overlap(resolved, keys)
        reference = resolved.version.reference
        if overlap and not drop_seen:
            named = ", ".join(map(str, overlap[:NAMED])) + (", ..." if len(overlap) > NAMED else "")
            raise Refused(
                f"{reference} saw {len(overlap):,} of these {len(measured):,} rows in training (rows {named} of the "
                f"{split} part), and is not compared on them: take another corpus or part, or drop_seen (--drop-seen) "
                "to leave them out for all"
            )
        seen.update(overlap)
        unseen[reference] = True if complete else None
    kept = [row for row in range(len(measured)) if row not in seen]
    if len(kept) < 2:
        raise BadCorpus(f"corpus {choice.called}, {split} part: {len(kept)} rows are left to compare on: take others")
    rows = measured.select(kept) if seen else measured
    return Rows({**parts, "test": rows}, rows, choice.called, split), unseen, corpus_digest(table)


def _overlap(resolved: ResolvedVersion, keys: Sequence[str] | None) -> tuple[list[int], bool]:
    """Return the rows that a version saw in training, and whether all that it saw is known."""
    if keys is None:
        return [], False
    texts, complete = seen_texts(LocatedVersion(resolved.registry, resolved.version), keys)
    return [row for row, key in enumerate(keys) if key in texts], complete
