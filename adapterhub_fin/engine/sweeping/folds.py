"""Divide the train and validation parts into folds of a cross-validation; the test part stays as it is.

Rows are dealt by group where they have one, copies of a text together. A splitter that orders rows by time gives
blocks of time, and training rows are purged whose span meets that of a validation row. A row's span is closed: from
when it was available, an embargo earlier where there is one, to when its label was known. So what is trained on was
known strictly before the fold begins, or begins strictly after the last of the fold's labels was known.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.data.corpus import check_unfitted, divide_rows, read_rows
from adapterhub_fin.engine.data.duplicates import copies_in
from adapterhub_fin.engine.data.splits import SPLITS, Division, dates
from adapterhub_fin.engine.data.stratify import joined, strata
from adapterhub_fin.engine.training.prepare import PreparedRun, prepare
from adapterhub_fin.errors import BadCorpus
from adapterhub_fin.recipe.splitter import IN_TIME, Splitter

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

    from adapterhub_fin.plugin.interfaces import Rows
    from adapterhub_fin.recipe.recipe import Recipe
    from adapterhub_fin_registry import Registry
else:
    np = Lazy("numpy")

Fold = Mapping[str, Sequence[int]]  # the table's rows for train and for validation, ascending


def prepare_fold(
    recipe: Recipe,
    folds: int,
    fold: int,
    *,
    rows: Rows | None = None,
    download: bool = False,
    registry: Registry | None = None,
) -> PreparedRun:
    """Return the checked run of a fold, from 0: it trains and validates on that fold's rows.

    Raises what `prepare` and `fold_rows` raise.
    """
    rows = rows or read_rows(recipe.corpus, recipe.head.name)
    division = divide_rows(rows, recipe.corpus.splitter, recipe.corpus.called)
    parts = {**fold_rows(rows.table, division, folds, recipe.corpus.called)[fold], "test": division.row_indices["test"]}
    held_out = {split: rows.table.select(parts[split]) for split in SPLITS[1:]}
    check_unfitted(held_out, rows.fitted_before, recipe.corpus.called)
    split_of = {row: split for split, indices in parts.items() for row in indices}
    order = sorted(split_of)
    table = rows.table.select(order)
    if "split" in table.column_names:
        table = table.remove_columns("split")
    table = table.add_column("split", [split_of[row] for row in order])
    corpus = recipe.corpus.model_copy(update={"splitter": Splitter(by="given")})
    given = recipe.model_copy(update={"corpus": corpus})
    return prepare(given, rows=replace(rows, table=table), download=download, registry=registry)


def fold_rows(table: Dataset, division: Division, folds: int, corpus: str) -> list[Fold]:
    """Return the rows of each fold: every row of train and validation validates once.

    Raises BadCorpus where there are too few groups, texts or instants, or purging leaves a fold nothing to train on.
    """
    pool = sorted([*division.row_indices["train"], *division.row_indices["validation"]])
    if division.splitter.by in IN_TIME:
        return _by_time(table, division, pool, folds, corpus)
    rng = np.random.default_rng(division.splitter.seed)
    part = table.select(pool)
    if "group" in part.column_names:
        units = [*joined(list(part["group"][:]), copies_in(part).first).values()]
        units = sorted((units[number] for number in rng.permutation(len(units))), key=len, reverse=True)
        what = "groups"
    else:
        labels = list(part["label"][:]) if "label" in part.column_names else [0] * len(part)
        units = [unit for classes in strata(labels, copies_in(part), rng) for unit in classes]
        what = "distinct texts"
    if len(units) < folds:
        raise BadCorpus(f"corpus {corpus}: {folds} folds need as many {what}, and it has {len(units)}: give fewer")
    held_out: list[list[int]] = [[] for _ in range(folds)]
    for number, unit in enumerate(units):
        smallest = min(held_out, key=len) if what == "groups" else held_out[number % folds]
        smallest += [pool[row] for row in unit]
    return [_fold(pool, rows) for rows in held_out]


def _fold(pool: Sequence[int], held_out: Sequence[int]) -> Fold:
    out = set(held_out)
    return {"train": [row for row in pool if row not in out], "validation": sorted(out)}


def _by_time(table: Dataset, division: Division, pool: Sequence[int], folds: int, corpus: str) -> list[Fold]:
    """Return blocks of time as folds, their training rows purged; rows that meet the test part are in no fold."""
    available, fully_known = dates(table)
    embargo = division.splitter.embargo_span
    assert embargo is not None, "a splitter in order of time has an embargo, which may be zero"
    begin = embargo.before(available)
    test = min(begin[row] for row in division.row_indices["test"])
    order = sorted((row for row in pool if fully_known[row] < test), key=available.__getitem__)
    ends = [_uncut([available[row] for row in order], round(len(order) * n / folds)) for n in range(folds + 1)]
    divided: list[Fold] = []
    for number, (first, last) in enumerate(pairwise(ends), 1):
        held_out = order[first:last]
        if not held_out:
            raise BadCorpus(f"corpus {corpus}: its rows have too few instants for {folds} folds: give fewer")
        train = purged([*order[:first], *order[last:]], held_out, begin, fully_known)
        if not train:
            raise BadCorpus(
                f"corpus {corpus}: fold {number} of {folds} has nothing to train on, since all label spans meet its "
                "own: give fewer folds, or a shorter embargo"
            )
        divided.append({"train": sorted(train), "validation": sorted(held_out)})
    return divided


def _uncut(instants: Sequence[datetime], position: int) -> int:
    while 0 < position < len(instants) and instants[position] == instants[position - 1]:
        position += 1
    return position


def purged(
    rows: Sequence[int], held_out: Sequence[int], begin: Sequence[datetime], end: Sequence[datetime]
) -> list[int]:
    """Return the rows whose span, from `begin` to `end` with both ends, shares no instant with one that is held out."""
    others = sorted(held_out, key=begin.__getitem__)
    begins = [begin[row] for row in others]
    latest = [*accumulate((end[row] for row in others), max)]  # end of those that begin no later

    def meets(row: int) -> bool:
        earlier = bisect_right(begins, end[row])  # that begin before this one ends
        return earlier > 0 and latest[earlier - 1] >= begin[row]

    return [row for row in rows if not meets(row)]
