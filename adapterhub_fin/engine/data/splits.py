"""Divide rows into train, validation and test; always three, and never by looking at the answers of the test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.data.duplicates import Copies, copies_in
from adapterhub_fin.engine.data.stratify import deal, joined, quotas, strata
from adapterhub_fin.errors import BadCorpus
from adapterhub_fin_registry.model.knowledge import as_of_instant

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

    from adapterhub_fin.plugin.calendars import Offset
    from adapterhub_fin.recipe.splitter import Splitter
else:
    np = Lazy("numpy")

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Division:
    """Three parts in the order of the table, and how they came about."""

    splits: Mapping[str, Dataset]
    places: Mapping[str, Sequence[int]]  # which rows of the table each part holds, ascending
    splitter: Splitter  # as it was resolved: `by` is never None
    notes: Mapping[str, int]  # rows that an embargo or `drop_copies` took out of a part, and copies, counted


def resolve(splitter: Splitter, columns: Sequence[str]) -> Splitter:
    """The split that rows with these columns get: where `by` is open, it is settled by what the rows have."""
    if splitter.by is not None:
        return splitter
    by = "grouped" if "group" in columns else "stratified" if "label" in columns else "random"
    return splitter.model_copy(update={"by": by})


def divide(table: Dataset, splitter: Splitter, corpus: str) -> Division:
    """Divide a table; BadCorpus names what leaves a part empty."""
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
        early = _before_embargo(table, rows, embargo)
        notes = {f"under embargo, {split}": len(rows[split]) - len(early[split]) for split in SPLITS[:-1]}
        if splitter.by == "window":
            notes["under embargo, validation"] = _too_late(table, splitter, rows)
        _refuse_empty(rows := early, len(table), f"{cause} under the embargo of {embargo.text}", corpus)
    if splitter.drop_copies:
        kept = _without_copies(copies_in(table), rows, published=splitter.by == "given")
        notes |= {f"dropped as copies, {split}": len(rows[split]) - len(kept[split]) for split in SPLITS}
        _refuse_empty(rows := kept, len(table), f"{cause} without copies", corpus)
    notes |= copies_in(table).notes(rows)
    places = {split: sorted(rows[split]) for split in SPLITS}
    return Division({split: table.select(places[split]) for split in SPLITS}, places, splitter, notes)


def _without_copies(copies: Copies, rows: Mapping[str, list[int]], published: bool) -> dict[str, list[int]]:
    """The rows of each part whose text stands in no part before it, which is what a date would have known.

    A published test part stays whole, so that scores compare: there the earlier part gives way.
    """
    order = reversed(SPLITS) if published else SPLITS
    kept: dict[str, list[int]] = {}
    for split in order:
        copied = set(copies.among(rows[split], [row for other in kept.values() for row in other]))
        kept[split] = [row for row in rows[split] if row not in copied]
    return kept


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
    """How many rows the parts that are held out get, each share rounded."""
    return {"test": round(total * splitter.test), "validation": round(total * splitter.validation)}


def _random(table: Dataset, splitter: Splitter, rng: np.random.Generator, corpus: str) -> dict[str, list[int]]:
    units = copies_in(table).units(rng.permutation(len(table)).tolist())
    return deal([units], [_sizes(len(table), splitter)], _sizes(len(table), splitter))


def _stratified(table: Dataset, splitter: Splitter, rng: np.random.Generator, corpus: str) -> dict[str, list[int]]:
    labels = _column(table, "label", splitter, corpus)
    classes = strata(labels, copies_in(table), rng)
    sizes, order = [sum(map(len, units)) for units in classes], rng.permutation(len(classes)).tolist()
    whole = _sizes(len(table), splitter)
    spare = [size - len(units[-1]) for size, units in zip(sizes, classes, strict=True)]  # one text stays to train on
    shares = quotas(sizes, spare, (splitter.test, splitter.validation), (whole["test"], whole["validation"]), order)
    return deal([classes[each] for each in order], [shares[each] for each in order], whole)


def _grouped(table: Dataset, splitter: Splitter, rng: np.random.Generator, corpus: str) -> dict[str, list[int]]:
    """Whole groups, taken in a shuffled order, each to the part that is furthest below its share."""
    given = _column(table, "group", splitter, corpus)
    groups = joined(given, [] if splitter.drop_copies else copies_in(table).first)
    if len(groups) < len(SPLITS):
        number = len(set(given))
        copied = f" (copies of texts join its {number} groups: see drop_copies)" if number > len(groups) else ""
        raise BadCorpus(f"corpus {corpus}: split by group needs at least 3 groups and has {len(groups)}{copied}")
    wanted = {
        "test": splitter.test,
        "validation": splitter.validation,
        "train": 1 - splitter.test - splitter.validation,
    }
    splits: dict[str, list[int]] = {split: [] for split in SPLITS}
    names = sorted(groups, key=str)
    for place in rng.permutation(len(names)):
        split = max(wanted, key=lambda p: wanted[p] * len(table) - len(splits[p]))
        splits[split] += groups[names[place]]
    return splits


def _by_time(table: Dataset, splitter: Splitter, rng: np.random.Generator, corpus: str) -> dict[str, list[int]]:
    """Oldest to train, newest to test; rows of one instant stay together, on the earlier side."""
    order, instants = _in_time(table, splitter, corpus)
    shares = (1 - splitter.test - splitter.validation, 1 - splitter.test)
    train, seen = (_uncut(instants, round(len(order) * share)) for share in shares)
    return {"train": order[:train], "validation": order[train:seen], "test": order[seen:]}


def _walk_forward(table: Dataset, splitter: Splitter, rng: np.random.Generator, corpus: str) -> dict[str, list[int]]:
    """Train and validate on the blocks up to `fold`, test on the next; validation is the end of what was seen."""
    assert splitter.folds is not None and splitter.fold is not None, "a walk-forward Splitter has both"
    order, instants = _in_time(table, splitter, corpus)
    places = (round(len(order) * block / (splitter.folds + 1)) for block in (splitter.fold, splitter.fold + 1))
    seen, end = (_uncut(instants, place) for place in places)
    # Backwards: the rows of one instant (all the firms of a month) may be more than validation's whole share.
    train = _uncut(instants, round(seen * (1 - splitter.validation)), step=-1)
    return {"train": order[:train], "validation": order[train:seen], "test": order[seen:end]}


def _window(table: Dataset, splitter: Splitter, rng: np.random.Generator, corpus: str) -> dict[str, list[int]]:
    """Train and validate on what was wholly known an embargo before the cut-off; test on the rows from there on."""
    labelled = bool({"label", "target"}.intersection(table.column_names))
    for column in ("available_at", "label_known_at") if labelled else ("available_at",):
        _check_column(table, column, splitter, corpus)  # an undated label could be from after the cut-off
    available, known = dates(table)
    order = sorted(range(len(table)), key=available.__getitem__)
    since, cutoff, until = _bounds(splitter)
    assert splitter.embargo_span is not None, "a window has an embargo, be it none"
    (limit,) = splitter.embargo_span.before([cutoff])
    seen = [row for row in order if since <= available[row] and known[row] < limit]
    # Backwards, as in a walk: the rows of one instant may be more than validation's whole share.
    train = _uncut([available[row] for row in seen], round(len(seen) * (1 - splitter.validation)), step=-1)
    test = [row for row in order if cutoff <= available[row] < until]
    return {"train": seen[:train], "validation": seen[train:], "test": test}


def _too_late(table: Dataset, splitter: Splitter, rows: Mapping[str, list[int]]) -> int:
    """How many rows of a window were available before its cut-off, and not wholly known an embargo before it."""
    since, cutoff, _ = _bounds(splitter)
    before = sum(since <= instant < cutoff for instant in dates(table)[0])
    return before - len(rows["train"]) - len(rows["validation"])


def _bounds(splitter: Splitter) -> tuple[datetime, datetime, datetime]:
    """From where on a window reads rows, its cut-off, and where its test part ends."""
    assert splitter.cutoff is not None and splitter.until is not None, "a window's Splitter has both"
    return as_of_instant(splitter.since or date.min), as_of_instant(splitter.cutoff), as_of_instant(splitter.until)


def _in_time(table: Dataset, splitter: Splitter, corpus: str) -> tuple[list[int], list[Any]]:
    """The rows from the oldest to the newest, and their instants in that order."""
    instants = _column(table, "available_at", splitter, corpus)
    order = sorted(range(len(table)), key=lambda row: instants[row])
    return order, [instants[row] for row in order]


def _uncut(instants: Sequence[Any], place: int, step: int = 1) -> int:
    """The nearest place in the direction of `step` that does not cut the rows of one instant."""
    while 0 < place < len(instants) and instants[place] == instants[place - 1]:
        place += step
    return place


def _before_embargo(table: Dataset, rows: Mapping[str, list[int]], embargo: Offset) -> dict[str, list[int]]:
    """The rows that were wholly known, their label included, an embargo before the next part starts."""
    available, known = dates(table)
    kept = {"test": rows["test"]}
    for split, following in pairwise(SPLITS):
        (limit,) = embargo.before([min(available[row] for row in rows[following])])
        kept[split] = [row for row in rows[split] if known[row] <= limit]
    return kept


@lru_cache(maxsize=1)  # a series divides one table dozens of times
def dates(table: Dataset) -> tuple[list[datetime], list[datetime]]:
    """When each row was available, and when it was wholly known, its label included."""
    available = _aware(table["available_at"][:])
    labelled = _aware(table["label_known_at"][:]) if "label_known_at" in table.column_names else available
    return available, [max(both) for both in zip(available, labelled, strict=True)]


def _aware(instants: Sequence[datetime]) -> list[datetime]:
    return [each if each.tzinfo else each.replace(tzinfo=UTC) for each in instants]


def _given(table: Dataset, splitter: Splitter, rng: np.random.Generator, corpus: str) -> dict[str, list[int]]:
    """The source's own parts; validation is carved from train where only a test part is given."""
    given = _column(table, "split", splitter, corpus)
    if unknown := sorted(set(given) - set(SPLITS), key=str):
        raise BadCorpus(f"corpus {corpus}: column 'split' holds {unknown[0]!r}; it may hold {', '.join(SPLITS)}")
    splits = {split: [row for row, each in enumerate(given) if each == split] for split in SPLITS}
    if not splits["validation"]:
        splits["train"], splits["validation"] = _carved(table, splits["train"], splitter, rng)
    return splits


def _carved(
    table: Dataset, rows: Sequence[int], splitter: Splitter, rng: np.random.Generator
) -> tuple[list[int], list[int]]:
    """What stays, and validation's share of it: whole groups where rows have a group, and copies together."""
    first = copies_in(table).first
    names = list(table["group"]) if "group" in table.column_names else first
    units = joined([names[row] for row in rows], [first[row] for row in rows])
    wanted, listed = round(len(rows) * splitter.validation), list(units.values())
    carved: list[int] = []
    for place in rng.permutation(len(listed)):
        if len(carved) >= wanted:
            break
        carved += [rows[each] for each in listed[place]]
    return sorted(set(rows) - set(carved)), carved
