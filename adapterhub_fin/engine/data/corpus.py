"""Read a corpus, check it, divide it, and date what training could have known."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from adapterhub_fin.engine.data.duplicates import INPUTS
from adapterhub_fin.engine.data.known import bounded_now
from adapterhub_fin.engine.data.labels import count_labels, label_warnings, labels_in, missing_labels
from adapterhub_fin.engine.data.scan import cells, scan
from adapterhub_fin.engine.data.splits import JUDGED, SPLITS, Division, dates, divide
from adapterhub_fin.errors import BadCorpus, BadText
from adapterhub_fin.plugin.contributed import build_contribution
from adapterhub_fin.plugin.descriptions import Corpus, Head
from adapterhub_fin.plugin.faults import Faults
from adapterhub_fin.plugin.files import is_glob, matches, paths_in
from adapterhub_fin.plugin.interfaces import KnownAt, Rows
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.plugin.texts import check_messages, problem

if TYPE_CHECKING:
    from datasets import Dataset

    from adapterhub_fin.plugin.heads import HeadImplementation
    from adapterhub_fin.recipe.choices import CorpusChoice
    from adapterhub_fin.recipe.splitter import Splitter

log = logging.getLogger(__name__)
INSTANTS = ("available_at", "label_known_at")
TEXTS = ("text", "prompt", "chosen", "rejected", "anchor", "positive", "negative")  # the rest may be turns instead
SEEN = SPLITS[:2]  # the parts that influence the weights: early stopping reads validation


@dataclass(frozen=True)
class Corpora:
    """Hold a corpus that is ready to train on, with what the manifest records of it."""

    splits: Mapping[str, Dataset]
    splitter: Splitter  # resolved: `by` is never None
    record: Mapping[str, Any]  # the manifest's `corpus`
    measured: str  # the digest of the rows that the metrics are computed on
    known: Mapping[str, KnownAt]  # by input: `corpus:NAME`, `labels:NAME`
    notes: Mapping[str, int]
    labels: Mapping[str, Mapping[str, int]]  # label -> part -> rows, if the head learns labels
    warnings: Sequence[str]  # about labels that are probably a mistake
    stages: Sequence[Corpora] = ()  # of a curriculum: the corpora that are trained on before this one

    def with_splits(self, splits: Mapping[str, Dataset], notes: Mapping[str, int]) -> Corpora:
        """Return the corpora with some rows left out, which the notes count."""
        record = {
            **self.record,
            "rows": {split: len(table) for split, table in splits.items()},
            "notes": {**self.record["notes"], **notes},
        }
        labels = count_labels(splits) if self.labels else self.labels
        return replace(self, splits=splits, record=record, notes={**self.notes, **notes}, labels=labels)


def read_corpus(choice: CorpusChoice, head: str, rows: Rows | None = None) -> Corpora:
    """Load, check and split a corpus for a head.

    `rows` are those of `read_rows`, if they were read before. Raises BadCorpus, which names the corpus and the row.
    """
    rows = rows or read_rows(choice, head)
    undated = bounded_now()  # after the rows were read
    division = divide_rows(rows, choice.splitter, choice.called)
    splits = division.splits
    labels = {}
    described = extensions().get(Head, head)
    if "label" in (*described.consumes, *described.optional) and "label" in rows.table.column_names:
        check_labels(splits["train"]["label"][:], choice.called)
        labels = count_labels(splits)
    notes = {**division.notes, **missing_labels(labels)}
    if division.splitter.by != "window":  # later rows would change a window's counts of dropped and mended rows
        notes = {**rows.notes, **notes}
    recorded = recorded_rows(rows.table, division)
    digest = corpus_digest(recorded)
    record = {
        "name": choice.name,
        "options": {**portable_options(choice), **rows.read},
        "digest": digest,
        "rows": {split: len(table) for split, table in splits.items()},
        "available": _span(recorded),
        "license": license_of(choice),
        "notes": {reason: count for reason, count in notes.items() if count},
    }
    warnings = [f"corpus {choice.called}: {warning}" for warning in label_warnings(labels)]
    for warning in warnings:
        log.warning("%s", warning)
    measured = corpus_digest(splits["test"]) if division.splitter.by == "window" else digest
    dated = _dated_inputs(choice.name, splits, rows.known, undated)
    return Corpora(splits, division.splitter, record, measured, dated, {**rows.notes, **notes}, labels, warnings)


def recorded_rows(table: Dataset, division: Division) -> Dataset:
    """Return the rows that a manifest records as its corpus: all of them, but for a window only those it learnt from.

    So rows that arrive after a window's cut-off don't change its version's manifest.
    """
    return table if division.splitter.by != "window" else table.select(seen_row_indices(division))


def seen_row_indices(division: Division) -> list[int]:
    """Return the indices of the rows that training can look at (train and validation), in the order of the table."""
    return sorted(row for split in SEEN for row in division.row_indices[split])


def divide_rows(rows: Rows, splitter: Splitter, corpus: str) -> Division:
    """Divide a corpus's rows into train, validation and test; `corpus` is its name in errors.

    Raises BadCorpus as `divide`, and where what rows of validation or test hold was fitted to them.
    """
    division = divide(rows.table, splitter, corpus)
    check_unfitted(division.splits, rows.fitted_before, corpus)
    return division


def check_unfitted(splits: Mapping[str, Dataset], fitted_before: datetime | None, corpus: str) -> None:
    """Check that what rows hold was fitted to none of validation and test. Raises BadCorpus, which names the part."""
    if fitted_before is None:
        return
    for split in SPLITS[1:]:
        table = splits[split]
        seen = sum(instant <= fitted_before for instant in dates(table)[0])
        if seen:
            raise BadCorpus(
                f"corpus {corpus}: {seen} of {len(table)} rows of the {split} part were known by "
                f"{fitted_before.isoformat()}, and the rows' scaler was fitted to what was known before: split by "
                "time, with a smaller validation and test part, or fit the scaler earlier"
            )


def check_labels(labels: Iterable[Any], corpus: str) -> None:
    """Check that there are two labels or more. Raises BadCorpus if there is only one."""
    if len(counts := Counter(map(labels_in, labels))) < 2:
        names, rows = next(iter(counts.items()))
        label = ", ".join(names)
        raise BadCorpus(
            f"corpus {corpus}: all {rows} rows of the training part hold one label, {label!r}; two or more are needed "
            "to tell apart"
        )


def check_there(choice: CorpusChoice) -> None:
    """Check that the files or folders of a corpus (its option `path`) exist. Raises BadCorpus if one doesn't.

    Reading it would raise too, but only after a second of imports.
    """
    options = extensions().options(Corpus, choice.name, choice.options)
    for path in paths_in([getattr(options, "path", None), getattr(options, "corpora", None)]):
        if not (is_glob(path.expanduser()) or path.expanduser().exists()):
            raise BadCorpus(
                f"corpus {choice.name}: {path} can't be read, since it does not exist: give the path of a file"
            )


def read_rows(choice: CorpusChoice, head: str) -> Rows:
    """Read all rows of a corpus and check that each has what the head reads.

    Raises BadCorpus, which names the corpus and the row.
    """
    check_there(choice)
    rows: Rows = build_contribution(Corpus, choice.name, choice.options).load()
    reader = extensions().get(Head, head)
    _check(rows.table, reader.inputs, reader.consumes, reader.optional, choice)
    return rows


def read_texts(choice: CorpusChoice) -> Rows:
    """Read all rows of a corpus and check that each has a text; labels and targets are checked where they are there.

    Raises BadCorpus, which names the corpus and the row.
    """
    check_there(choice)
    rows: Rows = build_contribution(Corpus, choice.name, choice.options).load()
    _check(rows.table, INPUTS, (), ("label", "target"), choice)
    return rows


def _check(
    table: Dataset, inputs: Sequence[str], consumes: Sequence[str], optional: Sequence[str], choice: CorpusChoice
) -> None:
    columns, corpus = table.column_names, choice.called
    read = [column for column in inputs if column in columns]
    if not read:
        needed = " or ".join(map(repr, inputs))
        raise BadCorpus(f"corpus {corpus} has no column {needed}, which the head reads; it has {', '.join(columns)}")
    if missing := sorted(set(consumes) - set(columns)):
        mapped = hasattr(extensions().options(Corpus, choice.name, choice.options), missing[0])
        advice = f": name the source's column for it as corpus.{missing[0]}" if mapped else ""
        raise BadCorpus(
            f"corpus {corpus} has no column {missing[0]!r}, which the head needs; it has {', '.join(columns)}{advice}"
        )
    faults = Faults()
    further = (name for name in (*optional, *INSTANTS) if name in columns)
    for column in (*read, *consumes, *further):
        for row, value in enumerate(cells(table, column)):
            if wrong := _problem(column, value):
                faults.add((row,), f"{_row_label(table, row)}: {column} {wrong}; drop the row or mend it")
    faults.check(f"corpus {corpus}")


def _problem(column: str, value: Any) -> str | None:
    if value == [] and column == "label":  # no label applies: a head that needs one refuses it
        return None
    if value is None or value == "" or value == [] or (isinstance(value, float) and not math.isfinite(value)):
        return f"is {value!r}"
    if column in TEXTS:
        return problem(value) if isinstance(value, str) or column == "text" else _problem_of_turns(value)
    if column == "messages":
        return _problem_of_turns(value)
    if column in INSTANTS and not isinstance(value, datetime):
        return f"is {value!r} and not an instant (a date alone is the end of its day in its zone)"
    return None


def _problem_of_turns(messages: Any) -> str | None:
    try:
        check_messages(messages, "the conversation")
    except BadText as error:
        return f"can't be read ({str(error).removesuffix('; mend it or leave it out')})"
    return None


def _row_label(table: Dataset, row: int) -> str:
    origin = f" ({table[row]['origin']})" if "origin" in table.column_names else ""
    return f"row {row}{origin}"


def check_targets(head: HeadImplementation, splits: Mapping[str, Dataset], corpus: str) -> None:
    """Check that every row has a target that the head knows. Raises BadCorpus, which names the part and the row."""
    faults = Faults()
    for number, (split, table) in enumerate(splits.items()):
        for row, values in enumerate(table):
            try:
                head.target(values)
            except BadCorpus as error:
                faults.add((number, row), f"{split} part, {_row_label(table, row)}: {error}")
    faults.check(f"corpus {corpus}")


def corpus_digest(table: Dataset) -> str:
    """Return the sha256 over the rows in order, as canonical JSON lines without `origin` and `slices`.

    Raises BadCorpus for a cell that has no JSON form.
    """
    return lines_digest(corpus_lines(table))


def lines_digest(lines: Iterable[bytes]) -> str:
    """Return the digest of the corpus with these lines, from `corpus_lines`."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line + b"\n")
    return f"sha256:{digest.hexdigest()}"


def corpus_lines(table: Dataset) -> Iterator[bytes]:
    """Yield each row as a canonical JSON line, without `origin` and `slices`.

    Raises BadCorpus for a cell that has no JSON form.
    """
    columns = sorted(set(table.column_names) - {"origin", "slices"})
    for batch in scan(table, columns):
        for values in zip(*(batch[column] for column in columns), strict=True):
            row = dict(zip(columns, values, strict=True))
            line = json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_instant_text)
            yield line.encode()


def _instant_text(value: Any) -> str:
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    raise BadCorpus(
        f"a corpus cell holds {type(value).__name__}, which has no JSON form: use text, numbers and instants"
    )


def portable_options(choice: CorpusChoice) -> dict[str, Any]:
    """Return the corpus options without paths of this machine, which only the recipe keeps."""
    options = extensions().options(Corpus, choice.name, choice.options)
    return _without_paths(options, options.model_dump(mode="json"))


def _without_paths(options: BaseModel, dumped: dict[str, Any]) -> dict[str, Any]:
    """Return dumped options without the fields that hold paths; those of options within options are left out alone."""
    dumped_alone: dict[str, Any] = {}
    for name in type(options).model_fields:
        value = getattr(options, name)
        if isinstance(value, BaseModel):
            dumped_alone[name] = _without_paths(value, dumped[name])
        elif isinstance(value, tuple) and value and all(isinstance(each, BaseModel) for each in value):
            dumped_alone[name] = [_without_paths(each, inner) for each, inner in zip(value, dumped[name], strict=True)]
        elif not [*paths_in(value)]:
            dumped_alone[name] = dumped[name]
    return dumped_alone


def files_read(choice: CorpusChoice) -> list[Path]:
    """Return the files and folders of this machine that a corpus's options name."""
    options = extensions().options(Corpus, choice.name, choice.options)
    paths = [path.expanduser() for path in paths_in(options)]
    return [file for path in paths for file in (matches(path) if is_glob(path) else [path])]


def license_of(choice: CorpusChoice) -> str | None:
    """Return the license of a corpus: that which a user states for their own rows, or else the corpus's."""
    stated: str | None = getattr(extensions().options(Corpus, choice.name, choice.options), "license", None)
    return stated or extensions().get(Corpus, choice.name).license


def _latest(splits: Mapping[str, Dataset], column: str) -> datetime:
    latest: datetime = max(max(splits[split][column][:]) for split in SEEN)
    return latest if latest.tzinfo else latest.replace(tzinfo=UTC)


def _span(table: Dataset) -> list[datetime] | None:
    if "available_at" not in table.column_names:
        return None
    instants = [instant if instant.tzinfo else instant.replace(tzinfo=UTC) for instant in table["available_at"][:]]
    return [min(instants), max(instants)]


def _dated_inputs(
    corpus: str, splits: Mapping[str, Dataset], source: KnownAt | None, undated: KnownAt
) -> dict[str, KnownAt]:
    """Return when the rows and labels that training saw were known.

    Rows without `available_at` have the date of their `source`, else they are `undated`: bounded by this moment.
    """
    columns = splits["train"].column_names
    evidence = "the latest {} of the training and validation rows"
    dated = {
        name: KnownAt(_latest(splits, name), "observed", evidence.format(name)) for name in INSTANTS if name in columns
    }
    rows, labels = dated.get("available_at"), dated.get("label_known_at")
    if rows is None:
        rows = source or undated
        labels = max(rows, labels, key=lambda item: item.at) if labels else rows
    if labels is None and not JUDGED.intersection(columns):
        return {f"corpus:{corpus}": rows}
    if labels is None:
        log.warning(
            "corpus %s does not say when its labels were known: this moment bounds them; set label_horizon (0d if they "
            "were known with their rows) or label_known_at",
            corpus,
        )
    return {f"corpus:{corpus}": rows, f"labels:{corpus}": labels or undated}
