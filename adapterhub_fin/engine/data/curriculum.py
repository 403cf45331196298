"""Read the corpora of a curriculum, so that none trains on what another holds out or on what is later than the test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from adapterhub_fin.engine.data.corpus import SEEN, Corpora, read_corpus
from adapterhub_fin.engine.data.duplicates import text_keys
from adapterhub_fin.engine.data.splits import SPLITS, dates, last_allowed
from adapterhub_fin.errors import BadCorpus, BadRecipe, LookAhead
from adapterhub_fin_registry.model.knowledge import format_instant

if TYPE_CHECKING:
    from datasets import Dataset

    from adapterhub_fin.plugin.interfaces import KnownAt
    from adapterhub_fin.recipe.curriculum import Stage

_DROPPED = {
    "train": "of train dropped, held out by another stage",
    "validation": "of validation dropped, in the test part of another stage",
}


def read_curriculum(stages: Sequence[Stage], head: str) -> Corpora:
    """Load, check and split the corpora of a curriculum; return the last, which measures, with the others as `stages`.

    Raises BadCorpus, which names the stage, and LookAhead for a stage that knows of the time of the last one's test
    part where the last one's splitter orders rows by time.
    """
    corpora = []
    for number, stage in enumerate(stages, 1):
        with naming_stage(number):
            corpora.append(read_corpus(stage, head))
    corpora = _apart(corpora)
    *earlier, last = corpora
    for number, (stage, read) in enumerate(zip(stages, earlier, strict=False), 1):
        _check_dates(f"stage {number} of the curriculum ({stage.called})", read, last)
    knowledge: dict[str, KnownAt] = dict(last.known)
    notes = dict(last.notes)
    for number, read in enumerate(earlier, 1):
        knowledge |= {f"stage{number}:{name}": at for name, at in read.known.items()}
        notes |= {f"of stage {number}: {reason}": count for reason, count in read.notes.items()}
    warnings = [warning for read in corpora for warning in read.warnings]
    return replace(last, known=knowledge, notes=notes, warnings=warnings, stages=earlier)


@contextmanager
def naming_stage(number: int) -> Iterator[None]:
    """Name the stage in a BadCorpus or a BadRecipe that is raised within."""
    try:
        yield
    except (BadCorpus, BadRecipe) as error:
        raise type(error)(f"stage {number} of the curriculum: {error}") from error


def _apart(corpora: Sequence[Corpora]) -> list[Corpora]:
    """Return the corpora without training rows that another one holds out, nor validation rows that another tests on.

    Two rows are the same where their texts are, as within one corpus. Raises BadCorpus where a part has no row left.
    """
    keys = [{split: text_keys(read.splits[split]) or [] for split in SPLITS} for read in corpora]
    apart = []
    for number, read in enumerate(corpora):
        others = [each for index, each in enumerate(keys) if index != number]
        splits, notes = dict(read.splits), {}
        for index, split in enumerate(SEEN):
            held_out = {key for each in others for later in SPLITS[index + 1 :] for key in each[later]}
            rows = [row for row, key in enumerate(keys[number][split]) if key not in held_out]
            if dropped := len(keys[number][split]) - len(rows):
                splits[split], notes[_DROPPED[split]] = _selected(splits[split], rows, number, split), dropped
        apart.append(read.with_splits(splits, notes) if notes else read)
    return apart


def _selected(table: Dataset, rows: Sequence[int], number: int, split: str) -> Dataset:
    if not rows:
        raise BadCorpus(
            f"stage {number + 1} of the curriculum: every row of its {split} part is held out by another stage: give "
            "other rows, or the stages the same column split"
        )
    return table.select(rows)


def _check_dates(stage: str, read: Corpora, last: Corpora) -> None:
    """Raise LookAhead where a stage's rows of train or validation are later than the last stage lets a run know."""
    if (allowed := last_allowed(last.splitter, last.splits["test"])) is None:
        return
    rule = (
        f"the last stage's splitter {last.splitter.by} lets a run know until {format_instant(allowed)}: divide the "
        "stage by window with a cutoff before that"
    )
    if "available_at" not in read.splits["train"].column_names:
        end = max(source.at for source in read.known.values())
        if end > allowed:
            raise LookAhead(f"{stage} has no dates and counts as known at {format_instant(end)}, and {rule}")
        return
    if late := sum(at > allowed for split in SEEN for at in dates(read.splits[split])[1]):
        raise LookAhead(f"{late:,} rows that {stage} trains on or validates on are too late, and {rule}")
