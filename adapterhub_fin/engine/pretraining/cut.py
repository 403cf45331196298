"""Read the dated rows of a corpus up to a cut, and divide them by time: training, validation, and what comes later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.data.corpus import corpus_digest, portable_options, read_texts
from adapterhub_fin.engine.data.splits import dates
from adapterhub_fin.engine.data.weights import repeated
from adapterhub_fin.errors import BadCorpus
from adapterhub_fin.plugin.descriptions import Corpus
from adapterhub_fin.plugin.interfaces import KnownAt
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.recipe.pretrain_recipe import start_of
from adapterhub_fin_registry.model.knowledge import format_instant

if TYPE_CHECKING:
    from datasets import Dataset

    from adapterhub_fin.plugin.interfaces import Rows
    from adapterhub_fin.recipe.choices import CorpusChoice
    from adapterhub_fin.recipe.pretrain_recipe import PretrainRecipe

LATEST = "the latest available_at of the training and validation rows"


@dataclass(frozen=True)
class Cut:
    """Hold the rows of a base: its parts, what a manifest records of them, and the last instant they could know."""

    splits: Mapping[str, Dataset]  # train, validation, and test where the recipe has test_until
    record: Mapping[str, Any]  # the manifest's `corpus`
    known: KnownAt  # of training and validation
    trained_until: KnownAt  # of training alone, which a tokenizer is trained on

    @property
    def measured(self) -> str:
        """Return the part that the metrics are measured on: the later rows, or else validation."""
        return "test" if "test" in self.splits else "validation"

    @property
    def measured_digest(self) -> str:
        """Return the digest of the rows of that part."""
        return corpus_digest(self.splits[self.measured])

    def texts(self, split: str) -> Sequence[str]:
        """Return the texts of a part; those of training as often as a mixture repeats them."""
        table = self.splits[split]
        texts: list[str] = (repeated(table) if split == "train" else table)["text"][:]
        return texts


def read_dated(recipe: PretrainRecipe) -> tuple[Rows, list[datetime], KnownAt | None]:
    """Return the rows of a corpus, when each was available, and the date that is asserted for the undated ones.

    Raises BadCorpus for rows without a text or without a date: a base is dated by its rows.
    """
    choice = recipe.corpus
    assert choice is not None, "shards are read elsewhere"
    rows = read_texts(choice)
    if "text" not in rows.table.column_names:
        raise BadCorpus(
            f"corpus {choice.called} has no column 'text', which pretraining reads; it has "
            f"{', '.join(rows.table.column_names)}"
        )
    if "available_at" in rows.table.column_names:
        return rows, dates(rows.table)[0], rows.known
    if rows.known is None or rows.known.kind == "bounded":
        raise BadCorpus(
            f"corpus {choice.called} is undated, and a base knows until the date of its text: name the column of dates "
            "(available_at) or the table of dates (dates), or state knowledge_end with evidence for all of it"
        )
    return rows, [rows.known.at] * len(rows.table), rows.known


def read_cut(recipe: PretrainRecipe, after: datetime | None, rows: Any = None) -> Cut:
    """Return the rows of a recipe, divided; `after` leaves out what a base that it goes on from could know.

    `rows` are those of `read_dated`, where they were read before. Raises BadCorpus, which names the corpus.
    """
    read, available, declared = rows or read_dated(recipe)
    choice = recipe.corpus
    assert choice is not None, "read_dated has read it"
    since = None if recipe.since is None else start_of(recipe.since)
    seen = [
        row
        for row, at in enumerate(available)
        if at < recipe.cutoff and (since is None or at >= since) and (since is not None or after is None or at > after)
    ]
    if len(seen) < 2:
        raise BadCorpus(_empty(recipe, choice, available, since, after, len(seen)))
    in_time = sorted(seen, key=lambda row: (available[row], row))
    held_out = max(1, round(recipe.training.validation * len(seen)))
    parts = {"train": sorted(in_time[:-held_out]), "validation": sorted(in_time[-held_out:])}
    if recipe.test_until is not None:
        parts["test"] = _later(recipe, choice, available)
    splits = {split: read.table.select(indices) for split, indices in parts.items()}
    known = _latest(available, seen, declared)
    trained = _latest(available, parts["train"], declared)
    span = [min(available[row] for row in seen), known.at]
    record = _record(choice, read, read.table.select(seen), {split: len(rows) for split, rows in parts.items()}, span)
    return Cut(splits, record, known, trained)


def _latest(available: Sequence[datetime], rows: Sequence[int], declared: KnownAt | None) -> KnownAt:
    """Return when the last of some rows was available: asserted where that is the date of undated rows."""
    last = max(available[row] for row in rows)
    return declared if declared is not None and declared.at == last else KnownAt(last, "observed", LATEST)


def _later(recipe: PretrainRecipe, choice: CorpusChoice, available: Sequence[datetime]) -> list[int]:
    """Return the rows after the cut and up to the end of `test_until`."""
    assert recipe.test_until is not None, "the caller has looked"
    end = start_of(recipe.test_until + timedelta(days=1))
    later = [row for row, at in enumerate(available) if recipe.cutoff <= at < end]
    if not later:
        raise BadCorpus(
            f"corpus {choice.called} has no row after {recipe.until} and up to test_until {recipe.test_until}: give a "
            "later day, or leave test_until out"
        )
    return later


def _empty(
    recipe: PretrainRecipe,
    choice: CorpusChoice,
    available: Sequence[datetime],
    since: datetime | None,
    after: datetime | None,
    count: int,
) -> str:
    start = after if since is None else since
    between = "" if start is None else f" after {format_instant(start)} and"
    span = f"its rows are of {min(available):%Y-%m-%d} to {max(available):%Y-%m-%d}" if available else "it has no row"
    return (
        f"corpus {choice.called} has {count} row{'' if count == 1 else 's'}{between} up to the end of {recipe.until}, "
        f"and a base needs two or more, one of which validates; {span}: choose another day, or give it more text"
    )


def _record(
    choice: CorpusChoice, read: Rows, seen: Dataset, counts: Mapping[str, int], span: Sequence[datetime]
) -> dict[str, Any]:
    """Return the manifest's `corpus`: of the rows that training and validation saw, and none that comes later."""
    options = extensions().options(Corpus, choice.name, choice.options)
    return {
        "name": choice.name,
        "options": {**portable_options(choice), **read.read},
        "digest": corpus_digest(seen),
        "rows": dict(counts),
        "available": [at.astimezone(UTC) for at in span],
        "license": getattr(options, "license", None) or extensions().get(Corpus, choice.name).license,
    }
