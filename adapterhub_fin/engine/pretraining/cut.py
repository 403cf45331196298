"""Read the dated rows of a corpus up to a cut, and divide them by time: training, validation, and what comes later."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.data.corpus import corpus_digest, license_of, portable_options
from adapterhub_fin.engine.data.dated_rows import DatedRows, read_dated, weakest
from adapterhub_fin.engine.data.duplicates import copies_in
from adapterhub_fin.engine.data.weights import repeated
from adapterhub_fin.engine.evaluation.seen import training_texts
from adapterhub_fin.errors import BadCorpus
from adapterhub_fin.plugin.interfaces import KnownAt
from adapterhub_fin.recipe.pretrain_recipe import start_of
from adapterhub_fin_registry.model.knowledge import format_instant

if TYPE_CHECKING:
    from datasets import Dataset

    from adapterhub_fin.recipe.choices import CorpusChoice
    from adapterhub_fin.recipe.pretrain_recipe import PretrainRecipe


@dataclass(frozen=True)
class Cut(ABC):
    """Hold what a base is trained and measured on: what a manifest records of it, and the last instant it could know.

    Its parts are train, validation, and test where the recipe has test_until.
    """

    record: Mapping[str, Any]  # the manifest's `corpus`
    known: KnownAt  # of training and validation, known as well as the weakest of their corpora

    @property
    def counts(self) -> Mapping[str, int]:
        """Return the number of documents of each part."""
        counts: Mapping[str, int] = self.record["rows"]
        return counts

    @property
    def measured(self) -> str:
        """Return the part that the metrics are measured on: the later rows, or else validation."""
        return "test" if "test" in self.counts else "validation"

    @property
    @abstractmethod
    def measured_digest(self) -> str:
        """Return the digest of the documents of that part."""

    @abstractmethod
    def training_texts(self) -> list[str] | None:
        """Return the normalized texts of training and validation; None where the documents are no texts any more."""


@dataclass(frozen=True)
class TextCut(Cut):
    """Hold the rows of a base that are texts."""

    splits: Mapping[str, Dataset]
    trained_until: KnownAt  # of training alone, which a tokenizer is trained on
    inputs: Mapping[str, KnownAt]  # by `corpus:NAME`

    @property
    def measured_digest(self) -> str:
        """Return the digest of the rows of that part."""
        return corpus_digest(self.splits[self.measured])

    def training_texts(self) -> list[str] | None:
        """Return the normalized texts of training and validation."""
        return training_texts([self.splits])

    def texts(self, split: str) -> Sequence[str]:
        """Return the texts of a part; those of training as often as a mixture repeats them."""
        table = self.splits[split]
        texts: list[str] = (repeated(table) if split == "train" else table)["text"][:]
        return texts


def read_cut(recipe: PretrainRecipe, after: datetime | None, rows: DatedRows | None = None) -> TextCut:
    """Return the rows of a recipe, divided; `after` leaves out what a base that it goes on from could know.

    `rows` are those of `read_dated`, where they were read before. Raises BadCorpus, which names the corpus.
    """
    choice = recipe.corpus
    assert choice is not None, "shards are read elsewhere"
    read = rows or read_dated(choice)
    available = read.available
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
    by_corpus = read.known(seen)
    span = [min(available[row] for row in seen), max(available[row] for row in seen)]
    record = _record(choice, read, seen, parts, span)
    inputs = {f"corpus:{name}": each for name, each in by_corpus.items()}
    trained = weakest(read.known(parts["train"]).values())
    return TextCut(record, weakest(by_corpus.values()), splits, trained, inputs)


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
    choice: CorpusChoice,
    read: DatedRows,
    seen: Sequence[int],
    parts: Mapping[str, Sequence[int]],
    span: Sequence[datetime],
) -> dict[str, Any]:
    """Return the manifest's `corpus`: of the rows that training and validation saw, and none that comes later.

    Its notes count the copies of texts among these rows, as those of an adapter's corpus do.
    """
    return {
        "name": choice.name,
        "options": {**portable_options(choice), **read.read},
        "digest": corpus_digest(read.table.select(seen)),
        "rows": {split: len(rows) for split, rows in parts.items()},
        "available": [at.astimezone(UTC) for at in span],
        "license": license_of(choice),
        "notes": copies_in(read.table).notes({"test": [], **parts}),
    }
