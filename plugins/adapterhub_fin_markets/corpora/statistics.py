"""Describe the texts of a corpus: how long they are, when they were known, and which finance terms they hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from adapterhub_fin.plugin import BadCorpus, count_terms, format_instant
from adapterhub_fin_markets.corpora.filters import words_in

if TYPE_CHECKING:
    from datasets import Dataset

QUANTILES = {"shortest": 0.0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "longest": 1.0}


@dataclass(frozen=True)
class CorpusStatistics:
    """Hold the statistics of a corpus; `terms` are the most frequent, with their occurrences and rows."""

    rows: int
    groups: int | None
    words: int
    words_by_row: Mapping[str, int]
    term_share: float  # of all words, those of finance terms
    rows_without_terms: int
    terms: Mapping[str, tuple[int, int]]
    available: tuple[str, str] | None
    rows_by_year: Mapping[str, int]
    slices: Mapping[str, Mapping[str, int]]

    def record(self) -> dict[str, Any]:
        """Return the statistics as JSON has them."""
        return asdict(self)


def corpus_statistics(table: Dataset, most: int = 20) -> CorpusStatistics:
    """Return the statistics of a table's texts, with its `most` frequent terms; texts are read a few at a time.

    Raises BadCorpus for a table that holds neither `text` nor `messages`.
    """
    lengths: list[int] = []
    occurrences: Counter[str] = Counter()
    rows_with: Counter[str] = Counter()
    term_words = without = 0
    for text in _texts(table):
        occurring = count_terms(text)
        lengths.append(len(words_in(text)))
        occurrences.update(occurring)
        rows_with.update(occurring.keys())
        term_words += sum(count * len(term.replace("-", " ").split()) for term, count in occurring.items())
        without += not occurring
    words = sum(lengths)
    ranked = sorted(occurrences, key=lambda term: (-occurrences[term], term))[:most]
    dates = sorted(table["available_at"][:]) if "available_at" in table.column_names else []
    quantiles: list[float] = []
    if lengths:
        quantiles = np.quantile(lengths, [*QUANTILES.values()], method="inverted_cdf").tolist()
    return CorpusStatistics(
        rows=len(table),
        groups=len(set(table["group"][:])) if "group" in table.column_names else None,
        words=words,
        words_by_row={name: int(value) for name, value in zip(QUANTILES, quantiles, strict=False)},
        term_share=round(term_words / words, 4) if words else 0.0,
        rows_without_terms=without,
        terms={term: (occurrences[term], rows_with[term]) for term in ranked},
        available=(format_instant(dates[0]), format_instant(dates[-1])) if dates else None,
        rows_by_year=dict(sorted(Counter(str(date.year) for date in dates).items())),
        slices=_slices(table),
    )


def _texts(table: Dataset) -> Iterator[str]:
    name = next((name for name in ("text", "messages") if name in table.column_names), None)
    if name is None:
        raise BadCorpus(f"the corpus has neither text nor messages; it has {', '.join(table.column_names)}")
    for batch in table.select_columns([name]).iter(batch_size=16):
        for cell in batch[name]:
            yield cell if isinstance(cell, str) else "\n".join(turn["content"] for turn in cell)


def _slices(table: Dataset) -> dict[str, dict[str, int]]:
    """Return how many rows each value of a slice has, for slices of few values."""
    if "slices" not in table.column_names:
        return {}
    counts: dict[str, Counter[str]] = {}
    for cell in table["slices"]:
        for name, value in cell.items():
            counts.setdefault(name, Counter())[str(value)] += 1
    return {name: dict(counter.most_common()) for name, counter in counts.items() if len(counter) <= 20}
