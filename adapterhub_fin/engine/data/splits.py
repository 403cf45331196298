"""Divide rows into three parts: train, validation and test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.data.duplicates import Copies, copies_in
from adapterhub_fin.engine.data.stratify import deal, joined, quotas, strata
from adapterhub_fin.errors import BadCorpus, BadRecipe
from adapterhub_fin.recipe.splitter import IN_TIME
from adapterhub_fin_registry.model.knowledge import as_of_instant

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

    from adapterhub_fin.recipe.splitter import Splitter
else:
    np = Lazy("numpy")

SPLITS = ("train", "validation", "test")
TICK = timedelta(microseconds=1)
JUDGED = frozenset(["label", "target", "chosen"])  # columns of answers, which may be known later than their rows


@dataclass(frozen=True)
class Division:
    """Hold the three parts, each in the order of the table, and how they were made."""

    splits: Mapping[str, Dataset]
    row_indices: Mapping[str, Sequence[int]]  # the table's rows in each part, ascending
    splitter: Splitter  # resolved: `by` is never None
    notes: Mapping[str, int]  # counts of copies, and of rows that an embargo or `drop_copies` removed


def check_split(split: str) -> None:
    """Raise BadRecipe for what is neither a part of a corpus nor `all`."""
    if split not in (*SPLITS, "all"):
        raise BadRecipe(f"there is no split {split!r}: choose {', '.join(SPLITS)} or all")


def resolve(splitter: Splitter, columns: Sequence[str]) -> Splitter:
    """Return the splitter with `by` set, from the rows' columns if the recipe leaves it open."""
    if splitter.by is not None:
        return splitter
    ways = (("split", "given"), ("group", "grouped"), ("label", "stratified"))
    by = next((way for column, way in ways if column in columns), "random")
    return splitter.model_copy(update={"by": by})


def divide(table: Dataset, splitter: Splitter, corpus: str) -> Division:
    """Divide a table into train, validation and test; `corpus` is its name in errors.

    Raises BadCorpus if a column is missing, or if a part is left without rows.
    """
    splitter = resolve(splitter, table.column_names)
    ways = {
        "random": _random,
        "stratified": _stratified,
        "grouped": _grouped,
        "time": _by_time,
        "walk-forward": _walk_forward,
        "window": _window,
        "given": _given,
    }
    rows = ways[str(splitter.by)](table, splitter, np.random.default_rng(splitter.seed), corpus)
    cause = f"split by {splitter.by}" if splitter.cutoff is None else f"the window whose cut-off is {splitter.cutoff}"
    _refuse_empty(rows, len(table), cause, corpus)
    notes: dict[str, int] = {}
    if (embargo := splitter.embargo_span) is not None:
        early = _before_embargo(table, rows, splitter)
        notes = {f"under embargo, {split}": len(rows[split]) - len(early[split]) for split in SPLITS[:-1]}
        if splitter.by == "window":
            notes["under embargo, validation"] = _too_late(table, splitter, rows)
        elif splitter.embargo is None:  # rows whose label was known too late
            notes = {note: count for note, count in notes.items() if count}
        dropping = f" under the embargo of {embargo.text}" if splitter.embargo else ", less labels known too late,"
        _refuse_empty(rows := early, len(table), cause + dropping, corpus)
    if splitter.drop_copies:
        distinct = _without_copies(copies_in(table), rows, published=splitter.by == "given")
        notes |= {f"dropped as copies, {split}": len(rows[split]) - len(distinct[split]) for split in SPLITS}
        _refuse_empty(rows := distinct, len(table), f"{cause} without copies", corpus)
    notes |= copies_in(table).notes(rows)
    row_indices = {split: sorted(rows[split]) for split in SPLITS}
    return Division({split: table.select(row_indices[split]) for split in SPLITS}, row_indices, splitter, notes)


def _without_copies(copies: Copies, rows: Mapping[str, list[int]], published: bool) -> dict[str, list[int]]:
    """Return the rows of each part without copies of rows in an earlier part.

    A published test part keeps all its rows, so that scores are comparable: there the earlier part loses the copies.
    """
    order = reversed(SPLITS) if published else SPLITS
    distinct: dict[str, list[int]] = {}
    for split in order:
        copied = set(copies.among(rows[split], [row for other in distinct.values() for row in other]))
        distinct[split] = [row for row in rows[split] if row not in copied]
    return distinct


def _refuse_empty(rows: Mapping[str, Sequence[int]], total: int, cause: str, corpus: str) -> None:
    if empty := [split for split in SPLITS if not len(rows[split])]:
        raise BadCorpus(
            f"corpus {corpus}: {cause} leaves {' and '.join(empty)} without rows "
            f"({total} rows in all): give it more rows or other shares"
        )


def _column(table: Dataset, name: str, splitter: Splitter, corpus: str) -> list[Any]:
    _check_column(table, name, splitter, corpus)
    return list(table[name][:])  # at once: row by row takes ten times as long


def _check_column(table: Dataset, name: str, splitter: Splitter, corpus: str) -> None:
    if name not in table.column_names:
        raise BadCorpus(
            f"corpus {corpus}: split by {splitter.by} needs a column {name!r}; it has {', '.join(table.column_names)}"
        )


def _sizes(total: int, splitter: Splitter) -> dict[str, int]:
    """Return the sizes of the test and validation parts, rounded."""
    return {"test": round(total * splitter.test), "validation": round(total * splitter.validation)}


def _random(table: Dataset, splitter: Splitter, rng: np.random.Generator, corpus: str) -> dict[str, list[int]]:
    units = copies_in(table).units(rng.permutation(len(table)).tolist())
    return deal([units], [_sizes(len(table), splitter)], _sizes(len(table), splitter))


def _stratified(table: Dataset, splitter: Splitter, rng: np.random.Generator, corpus: str) -> dict[str, list[int]]:
    labels = _column(table, "label", splitter, corpus)
    classes = strata(labels, copies_in(table), rng)
    sizes, order = [sum(map(len, units)) for units in classes], rng.permutation(len(classes)).tolist()
    totals = _sizes(len(table), splitter)
    spare = [size - len(units[-1]) for size, units in zip(sizes, classes, strict=True)]  # train keeps one text of each
    shares = quotas(sizes, spare, (splitter.test, splitter.validation), (totals["test"], totals["validation"]), order)
    return deal([classes[number] for number in order], [shares[number] for number in order], totals)


def _grouped(table: Dataset, splitter: Splitter, rng: np.random.Generator, corpus: str) -> dict[str, list[int]]:
    """Assign whole groups, in a shuffled order, each to the part that is furthest below its share."""
    column = _column(table, "group", splitter, corpus)
    groups = joined(column, [] if splitter.drop_copies else copies_in(table).first)
    if len(groups) < len(SPLITS):
        number = len(set(column))
        copied = f" (copies of texts join its {number} groups: see drop_copies)" if number > len(groups) else ""
        raise BadCorpus(f"corpus {corpus}: split by group needs at least 3 groups and has {len(groups)}{copied}")
    shares = {
        "test": splitter.test,
        "validation": splitter.validation,
        "train": 1 - splitter.test - splitter.validation,
    }
    splits: dict[str, list[int]] = {split: [] for split in SPLITS}
    names = sorted(groups, key=str)
    for number in rng.permutation(len(names)):
        split = max(shares, key=lambda name: shares[name] * len(table) - len(splits[name]))
        splits[split] += groups[names[number]]
    return splits


def _by_time(table: Dataset, splitter: Splitter, rng: np.random.Generator, corpus: str) -> dict[str, list[int]]:
    """Put the oldest rows into train and the newest into test; rows of one instant stay in the earlier part."""
    order, instants = _in_time(table, splitter, corpus)
    shares = (1 - splitter.test - splitter.validation, 1 - splitter.test)
    train, seen = (_uncut(instants, round(len(order) * share)) for share in shares)
    return {"train": order[:train], "validation": order[train:seen], "test": order[seen:]}


def _walk_forward(table: Dataset, splitter: Splitter, rng: np.random.Generator, corpus: str) -> dict[str, list[int]]:
    """Train on the blocks up to number `fold`, the end of which is validation, and test on the next block."""
    assert splitter.folds is not None and splitter.fold is not None, "a walk-forward Splitter has both"
    order, instants = _in_time(table, splitter, corpus)
    positions = (round(len(order) * block / (splitter.folds + 1)) for block in (splitter.fold, splitter.fold + 1))
    seen, end = (_uncut(instants, position) for position in positions)
    # Backwards: one instant may have more rows (all the firms of a month) than validation's whole share.
    train = _uncut(instants, round(seen * (1 - splitter.validation)), step=-1)
    return {"train": order[:train], "validation": order[train:seen], "test": order[seen:end]}


def _window(table: Dataset, splitter: Splitter, rng: np.random.Generator, corpus: str) -> dict[str, list[int]]:
    """Train and validate on rows fully known an embargo before the cut-off; test on the rows from the cut-off on."""
    labelled = bool(JUDGED.intersection(table.column_names))
    for column in ("available_at", "label_known_at") if labelled else ("available_at",):
        _check_column(table, column, splitter, corpus)  # an undated label could be from after the cut-off
    available, fully_known = dates(table)
    order = sorted(range(len(table)), key=available.__getitem__)
    since, cutoff, until = _bounds(splitter)
    limit = _known_before(splitter, cutoff)
    seen = [row for row in order if since <= available[row] and fully_known[row] < limit]
    # Backwards, as in a walk: one instant may have more rows than validation's whole share.
    train = _uncut([available[row] for row in seen], round(len(seen) * (1 - splitter.validation)), step=-1)
    test = [row for row in order if cutoff <= available[row] < until]
    return {"train": seen[:train], "validation": seen[train:], "test": test}


def _too_late(table: Dataset, splitter: Splitter, rows: Mapping[str, list[int]]) -> int:
    """Count the rows that were available before a window's cut-off, but not fully known an embargo before it."""
    since, cutoff, _ = _bounds(splitter)
    before = sum(since <= instant < cutoff for instant in dates(table)[0])
    return before - len(rows["train"]) - len(rows["validation"])


def _bounds(splitter: Splitter) -> tuple[datetime, datetime, datetime]:
    """Return when a window's rows begin, its cut-off, and when its test part ends."""
    assert splitter.cutoff is not None and splitter.until is not None, "a window's Splitter has both"
    return as_of_instant(splitter.since or date.min), as_of_instant(splitter.cutoff), as_of_instant(splitter.until)


def _in_time(table: Dataset, splitter: Splitter, corpus: str) -> tuple[list[int], list[Any]]:
    """Return the rows from the oldest to the newest, and their instants in that order."""
    instants = _column(table, "available_at", splitter, corpus)
    order = sorted(range(len(table)), key=lambda row: instants[row])
    return order, [instants[row] for row in order]


def _uncut(instants: Sequence[Any], position: int, step: int = 1) -> int:
    """Return the nearest position in the direction of `step` that does not cut the rows of one instant."""
    while 0 < position < len(instants) and instants[position] == instants[position - 1]:
        position += step
    return position


def _known_before(splitter: Splitter, begin: datetime) -> datetime:
    """Return the instant before which, strictly, all must be known that is learnt from for a part that begins then.

    It is the part's own begin, less the embargo where there is one.
    """
    return begin if splitter.embargo_span is None else splitter.embargo_span.before([begin])[0]


def _before_embargo(table: Dataset, rows: Mapping[str, list[int]], splitter: Splitter) -> dict[str, list[int]]:
    """Return the rows that were fully known, labels included, before the next part starts, less the embargo."""
    available, fully_known = dates(table)
    early = {"test": rows["test"]}
    for split, following in pairwise(SPLITS):
        limit = _known_before(splitter, min(available[row] for row in rows[following]))
        early[split] = [row for row in rows[split] if fully_known[row] < limit]
    return early


def last_allowed(splitter: Splitter, test: Dataset) -> datetime | None:
    """Return the last instant that what is trained on may know of; None for a splitter that doesn't order by time.

    It lies before the test part begins, or an embargo before that.
    """
    if splitter.by not in IN_TIME:
        return None
    begin = _bounds(splitter)[1] if splitter.by == "window" else min(_aware(test["available_at"][:]))
    return _known_before(splitter, begin) - TICK


@lru_cache(maxsize=1)  # a series divides one table dozens of times
def dates(table: Dataset) -> tuple[list[datetime], list[datetime]]:
    """Return when each row was available, and when it was fully known, its label included: two lists in row order."""
    available = _aware(table["available_at"][:])
    labelled = _aware(table["label_known_at"][:]) if "label_known_at" in table.column_names else available
    return available, [max(both) for both in zip(available, labelled, strict=True)]


def _aware(instants: Sequence[datetime]) -> list[datetime]:
    return [instant if instant.tzinfo else instant.replace(tzinfo=UTC) for instant in instants]


def _given(table: Dataset, splitter: Splitter, rng: np.random.Generator, corpus: str) -> dict[str, list[int]]:
    """Take the source's own parts; validation is carved out of train if the source has none."""
    column = _column(table, "split", splitter, corpus)
    if unknown := sorted(set(column) - set(SPLITS), key=str):
        raise BadCorpus(f"corpus {corpus}: column 'split' holds {unknown[0]!r}; it may hold {', '.join(SPLITS)}")
    splits = {split: [row for row, value in enumerate(column) if value == split] for split in SPLITS}
    if not splits["validation"]:
        splits["train"], splits["validation"] = _carved(table, splits["train"], splitter, rng)
    return splits


def _carved(
    table: Dataset, rows: Sequence[int], splitter: Splitter, rng: np.random.Generator
) -> tuple[list[int], list[int]]:
    """Split rows into those that stay in train and those for validation; groups and copies stay together."""
    first = copies_in(table).first
    names = list(table["group"]) if "group" in table.column_names else first
    units = joined([names[row] for row in rows], [first[row] for row in rows])
    size, listed = round(len(rows) * splitter.validation), list(units.values())
    carved: list[int] = []
    for number in rng.permutation(len(listed)):
        if len(carved) >= size:
            break
        carved += [rows[index] for index in listed[number]]
    return sorted(set(rows) - set(carved)), carved
