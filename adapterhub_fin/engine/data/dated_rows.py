"""Read dated text: the rows of a corpus or of several, each with the instant at which it could have been read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.base.stored_base import WEAKEST
from adapterhub_fin.engine.data.corpus import read_texts
from adapterhub_fin.engine.data.splits import dates
from adapterhub_fin.engine.data.weights import REPEAT
from adapterhub_fin.errors import BadCorpus
from adapterhub_fin.plugin.interfaces import KnownAt
from adapterhub_fin.recipe.choices import CorpusChoice
from adapterhub_fin.recipe.given import MIXTURE

if TYPE_CHECKING:
    from datasets import Dataset

    from adapterhub_fin.plugin.interfaces import Rows

LATEST = "the latest available_at of the training and validation rows"


@dataclass(frozen=True)
class Source:
    """Hold where the rows of one corpus stand among all rows, and the date that is asserted for undated ones."""

    name: str  # another one's name has its number behind it
    rows: range
    declared: KnownAt | None

    def known(self, available: Sequence[datetime], seen: Iterable[int]) -> KnownAt | None:
        """Return when the last of its rows among `seen` was available; None where none of them is its own."""
        instants = [available[row] for row in seen if row in self.rows]
        if not instants or self.declared is not None:
            return self.declared if instants else None
        return KnownAt(max(instants), "observed", LATEST)


@dataclass(frozen=True)
class DatedRows:
    """Hold the rows of all corpora, in their order, with when each was available."""

    table: Dataset
    available: Sequence[datetime]  # (rows,), in UTC
    sources: Sequence[Source]
    read: Mapping[str, str]  # what was read in fact, such as the revision of a source

    def known(self, seen: Sequence[int]) -> dict[str, KnownAt]:
        """Return when the last of the rows `seen` of each corpus was available; corpora without any are left out."""
        dated = {source.name: source.known(self.available, seen) for source in self.sources}
        return {name: each for name, each in dated.items() if each is not None}


def read_dated(choice: CorpusChoice) -> DatedRows:
    """Return the rows of a corpus, or of each corpus of a mixture, with their dates.

    Of a mixture the text, the date and the column `repeat` alone are read, so that its corpora may have other columns.
    Raises BadCorpus for rows without a text or without a date: a base is dated by its rows.
    """
    choices = _parts(choice)
    parts = [_read(part, times) for part, times in choices]
    tables = [table for _, table, _ in parts] if choice.name != MIXTURE else _alike([part[:2] for part in parts])
    sources, start, names = [], 0, _numbered([part.name for part, _ in choices])
    for name, (rows, table, _) in zip(names, parts, strict=True):
        declared = None if "available_at" in rows.table.column_names else rows.known
        sources.append(Source(name, range(start, start + len(table)), declared))
        start += len(table)
    from datasets import concatenate_datasets

    several = len(parts) > 1
    return DatedRows(
        concatenate_datasets(tables) if several else tables[0],
        [at for _, _, available in parts for at in available],
        sources,
        {
            f"{number}.{key}" if several else key: value
            for number, (rows, _, _) in enumerate(parts)
            for key, value in rows.read.items()
        },
    )


def weakest(inputs: Iterable[KnownAt]) -> KnownAt:
    """Return the latest of several dates, known as well as the weakest of them, with the evidence of both."""
    listed = list(inputs)
    last, kind = max(listed, key=lambda each: each.at), min((each.kind for each in listed), key=WEAKEST.index)
    evidence = dict.fromkeys([last.evidence, next(each.evidence for each in listed if each.kind == kind)])
    return KnownAt(last.at, kind, last.evidence if last.kind == kind else "; ".join(evidence))


def latest_known(last: datetime, stated: Iterable[KnownAt], evidence: str = LATEST) -> KnownAt:
    """Return how the date of the last of some rows is known: as well as the weakest of the dates stated until then."""
    until = [each for each in stated if each.at <= last]
    return next((each for each in until if each.at == last), weakest([KnownAt(last, "observed", evidence), *until]))


def _parts(choice: CorpusChoice, times: int = 1) -> list[tuple[CorpusChoice, int]]:
    """Return the corpora that a choice names, each with how often an epoch sees its rows."""
    if choice.name != MIXTURE:
        return [(choice, times)]
    parts: list[tuple[CorpusChoice, int]] = []
    for given in choice.options["corpora"]:
        part: dict[str, Any] = {"name": given} if isinstance(given, str) else {"name": "table", **given}
        repeat = times * part.pop(REPEAT, 1)
        parts += _parts(CorpusChoice.read(part), repeat)
    return parts


def _read(choice: CorpusChoice, times: int) -> tuple[Rows, Dataset, list[datetime]]:
    """Return the rows of one corpus, their table, and when each was available. Raises BadCorpus as `read_dated`."""
    rows = read_texts(choice)
    if "text" not in rows.table.column_names:
        raise BadCorpus(
            f"corpus {choice.called} has no column 'text', which pretraining reads; it has "
            f"{', '.join(rows.table.column_names)}"
        )
    if times > 1:
        table = rows.table.remove_columns([REPEAT]) if REPEAT in rows.table.column_names else rows.table
        return rows, table.add_column(REPEAT, [times] * len(table)), _instants(rows, choice)
    return rows, rows.table, _instants(rows, choice)


def _instants(rows: Rows, choice: CorpusChoice) -> list[datetime]:
    """Return when each row was available, in UTC. Raises BadCorpus for rows that nobody dates."""
    if "available_at" in rows.table.column_names:
        return [at.astimezone(UTC) for at in dates(rows.table)[0]]
    if rows.known is None or rows.known.kind == "bounded":
        raise BadCorpus(
            f"corpus {choice.called} is undated, and a base knows until the date of its text: name the column of dates "
            "(available_at) or the table of dates (dates), or state knowledge_end with evidence for all of it"
        )
    return [rows.known.at] * len(rows.table)


def _alike(parts: Sequence[tuple[Rows, Dataset]]) -> list[Dataset]:
    """Return the tables of a mixture with the same columns: text, date, and `repeat` where a corpus has it."""
    from datasets import Features, Value

    repeats = any(REPEAT in table.column_names for _, table in parts)
    features: Any = {"text": Value("string"), "available_at": Value("timestamp[us, tz=UTC]")}
    if repeats:
        features[REPEAT] = Value("int64")
    alike = []
    for rows, table in parts:
        if "available_at" not in table.column_names:
            assert rows.known is not None, "_instants has looked"
            table = table.add_column("available_at", [rows.known.at] * len(table))
        if repeats and REPEAT not in table.column_names:
            table = table.add_column(REPEAT, [1] * len(table))
        alike.append(table.select_columns(list(features)).cast(Features(features)))
    return alike


def _numbered(names: Sequence[str]) -> list[str]:
    """Return names of which none is another's: the second `text` is `text 2`."""
    counts: dict[str, int] = {}
    numbered = []
    for name in names:
        counts[name] = counts.get(name, 0) + 1
        numbered.append(name if counts[name] == 1 else f"{name} {counts[name]}")
    return numbered
