"""Measure a stored version on a corpus and record the result as an event of that version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.provenance import environment
from adapterhub_fin.engine.base.stored_base import check_is_adapter
from adapterhub_fin.engine.data.corpus import check_there, corpus_digest, divide_rows, portable_options, read_rows
from adapterhub_fin.engine.data.labels import labels_in
from adapterhub_fin.engine.data.splits import check_split, resolve
from adapterhub_fin.engine.data.units import Units, check_units, units_of
from adapterhub_fin.engine.evaluation.measuring import (
    LEVEL,
    RESAMPLES,
    Measures,
    Measuring,
    Slice,
    measure,
    measure_slices,
)
from adapterhub_fin.engine.evaluation.metrics import metrics_for
from adapterhub_fin.engine.evaluation.outcomes import collect_outcomes, outcomes_table, parquet_bytes
from adapterhub_fin.engine.evaluation.questions import PLACE, Asking
from adapterhub_fin.engine.evaluation.references import base_answers
from adapterhub_fin.engine.evaluation.seen import rows_seen
from adapterhub_fin.engine.evaluation.slices import check_slices, slice_keys
from adapterhub_fin.engine.evaluation.written import Writing, check_writes, write_answers
from adapterhub_fin.engine.inference.find import AsOf, base_source, find_version
from adapterhub_fin.engine.inference.load import load
from adapterhub_fin.errors import BadCorpus, BadRecipe
from adapterhub_fin.plugin.progress_lines import progress
from adapterhub_fin.recipe.choices import CorpusChoice
from adapterhub_fin.registries import located
from adapterhub_fin_registry import Registry
from adapterhub_fin_registry.model.events import check_rows_name
from adapterhub_fin_registry.registry_chain import LocatedVersion

if TYPE_CHECKING:
    import numpy as np
    import pyarrow
    from datasets import Dataset
    from torch import nn

    from adapterhub_fin.engine.evaluation.outcomes import Outcomes
    from adapterhub_fin.engine.evaluation.written import WrittenAnswers
    from adapterhub_fin.engine.inference.adapter import Adapter
    from adapterhub_fin.stats.bootstrap import Interval
    from adapterhub_fin_registry import Version
    from adapterhub_fin_registry.model.manifest import Head
    from adapterhub_fin_registry.model.version import AnyReference
else:
    np = Lazy("numpy")

CorpusSource = CorpusChoice | str | Mapping[str, Any] | None
SplitName = Literal["train", "validation", "test", "all"]


@dataclass(frozen=True)
class Evaluation:
    """Hold the metrics of a version on a split of a corpus: all that the event records, its number and the version."""

    version: Version
    corpus: str
    corpus_options: Mapping[str, Any]  # without paths of this machine
    corpus_digest: str
    split: str  # train, validation, test or all
    splitter: Mapping[str, Any] | None  # the splitter's options; None for all
    rows: int
    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval | None]  # None where a resample is undefined, for want of rows
    bootstrap: Mapping[str, Any]
    seen_in_training: bool | None  # whether any row could have influenced the weights; None: unknown
    rows_seen: int | None
    environment: Mapping[str, str]
    slices: Mapping[str, Sequence[Slice]] = field(default_factory=dict)  # by what the rows were told apart
    name: str | None = None  # what the rows are called; None: as their corpus
    generation: Mapping[str, Any] | None = None  # how answers were written and compared; None where none were
    event: int | None = None  # the event's number, once recorded
    outcomes: pyarrow.Table | None = field(default=None, repr=False, compare=False)  # what each row got

    def __repr__(self) -> str:
        metrics = ", ".join(f"{name}={value:.4f}" for name, value in self.metrics.items())
        return f"Evaluation({self.reference} on {self.corpus}, {self.split}, {self.rows:,} rows: {metrics})"

    def _repr_html_(self) -> str:
        from adapterhub_fin_registry.io.html_table import html_table

        ends = {name: " to ".join(f"{end:.4g}" for end in between or ()) for name, between in self.intervals.items()}
        rows = [(name, value, ends.get(name)) for name, value in self.metrics.items()]
        title = f"{self.reference} on {self.corpus}, {self.split}: {self.rows:,} rows"
        table = html_table(title, rows, ("metric", "value", "95 % interval"))
        return table + "".join(_slices_html(by, parts) for by, parts in self.slices.items())

    @property
    def reference(self) -> str:
        """Return the version's reference."""
        return self.version.reference

    def body(self) -> dict[str, Any]:
        """Return the event's body as plain values."""
        body = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in _NOT_RECORDED}
        body["slices"] = {by: [asdict(part) for part in parts] for by, parts in self.slices.items()}
        return {key: value for key, value in body.items() if value or key not in ("slices", "name", "generation")}


_NOT_RECORDED = ("version", "event", "outcomes")


def _slices_html(by: str, parts: Sequence[Slice]) -> str:
    from adapterhub_fin_registry.io.html_table import html_table

    names = list(parts[0].metrics) if parts else []
    return html_table(
        f"by {by}",
        [(part.value, part.rows, *(part.metrics[name] for name in names)) for part in parts],
        (by, "rows", *names),
    )


def evaluate(
    reference: AnyReference,
    corpus: CorpusSource = None,
    *,
    split: SplitName = "test",
    overrides: Sequence[str] = (),
    by: Sequence[str] = (),
    units: Units | None = None,
    name: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    batch_size: int = 32,
    record: bool = True,
    generate: bool = False,
    labels: Sequence[str] | None = None,
    prompt: str = PLACE,
    chat: bool = False,
    similarity_base: str | Path | None = None,
    base: str | Path | nn.Module | None = None,
    as_of: AsOf = None,
    include_base: bool = True,
    lock: str | Path | None = None,
    registry: Registry | None = None,
    download: bool = False,
    **decoding: Any,
) -> Evaluation:
    """Return the metrics of a version on a split of a corpus, each with a confidence interval; record them by default.

    Without `corpus`, the one of the version's own recipe is read. The split `all` measures every row. `by` slices the
    rows: year, quarter or month, length, label, group, or columns that the corpus keeps with its option `slices`. Rows
    of one group, or with one text, are drawn together, unless `units` is "row". What each row got is stored beside the
    event. `name` is what the rows are called, such as desk-2024: search finds eval.desk-2024.test.accuracy, and without
    it the corpus stands there.

    With `generate`, the version writes an answer to each row, which is compared with the row's own: the last turn of
    `messages`, or the `label` of a `text`, which is asked by the template `prompt`, as a user's message with `chat`.
    `labels` are the answers to choose from, where answers are labels. `similarity_base` names the base whose token
    states compare texts, such as minilm, or `own`. `decoding` are the options of `Adapter.generate`; the seed is
    `seed`.

    Raises NotFound for an unknown version, BaseNotFound, ReadOnly for a registry that can't record the event, BadCorpus
    for rows that the head can't be measured on, and BadRecipe where the version has no head, no corpus is known, no
    column is of that name, an option doesn't fit or `resamples` is below 1.

    Example:
        >>> evaluation = ahf.evaluate("acme/tone@1", "headlines", split="validation")
        >>> evaluation.metrics["accuracy"], evaluation.intervals["accuracy"]  # 95 %, by bootstrap
        (0.84, (0.79, 0.89))
        >>> ahf.evaluate("acme/notes", generate=True, similarity_base="minilm", max_new_tokens=64).metrics["rouge_l"]
        0.41
    """
    asking = Asking(None if labels is None else tuple(labels), prompt, chat)
    if not generate and (asking != Asking() or similarity_base is not None or decoding):
        raise BadRecipe("labels, prompt, chat, similarity_base and decoding are of written answers: set generate")
    check_split(split)
    if resamples < 1:
        raise BadRecipe(f"resamples is {resamples}: give at least 1, or leave it at {RESAMPLES}")
    registry, version = located(reference, registry, as_of, include_base, lock)
    head = _head(version)
    if generate:
        check_writes(version)
    choice = corpus_choice(version, corpus, overrides)
    if name is not None:
        check_rows_name(name)
    if record:
        registry.check_writable()  # refuse before the work, not after it
    resolved = find_version(version, registry, None, True, None)
    if base is None or isinstance(base, str | Path):
        base_source(resolved, base, download)
    writing = None
    if generate:
        writing = Writing.prepare(resolved, {"seed": seed, **decoding}, similarity_base, base, download)
    rows = _rows(choice, LocatedVersion(registry, version), head.name, split)
    check_slices(rows.table, by)
    check_units(rows.table, units)
    numbered = units_of(rows.table, units)
    where, drawing = f"corpus {choice.called}, {split} part", {"resamples": resamples, "seed": seed}
    if writing is not None:
        asked = asking.ask(rows.table, where)
        adapter = load(version, base=base, registry=registry, download=download)
        result = _written(
            write_answers(adapter, asked, writing, batch_size).in_units(numbered), rows.table, by, drawing
        )
    else:
        check_labels_known(rows.table, head.labels, choice.called, split)
        untrained = base_answers(resolved, base, rows.table, batch_size, download)
        adapter = load(version, base=base, registry=registry, download=download)
        outcomes = collect_outcomes(adapter, rows.table, untrained, choice.called, split, batch_size)
        result = _answered(adapter, outcomes.in_units(numbered), rows.table, by, where, drawing)
    evaluation = Evaluation(
        version=version,
        corpus=choice.name,
        corpus_options=portable_options(choice),
        corpus_digest=rows.digest,
        split=split,
        splitter=None if split == "all" else _splitter(choice, rows.table),
        rows=len(rows.table),
        metrics=result.measures.metrics,
        intervals=result.measures.intervals,
        bootstrap={"level": LEVEL, **drawing, "units": result.units},
        seen_in_training=None if rows.seen is None else rows.seen > 0,
        rows_seen=rows.seen,
        environment=environment(),
        slices=result.slices,
        name=name,
        generation=result.generation,
        outcomes=result.outcomes,
    )
    if not record:
        return evaluation
    data = parquet_bytes(result.stored)
    return replace(evaluation, event=registry.add_event(version, "evaluation", evaluation.body(), outcomes=data))


@dataclass(frozen=True)
class _Result:
    """Hold what the rows got, measured: `outcomes` is the table of rows, and `stored` what is kept of it."""

    measures: Measures
    units: int
    slices: Mapping[str, Sequence[Slice]]
    outcomes: pyarrow.Table
    stored: pyarrow.Table
    generation: Mapping[str, Any] | None = None


def _answered(
    adapter: Adapter, outcomes: Outcomes, table: Dataset, by: Sequence[str], where: str, drawing: Mapping[str, int]
) -> _Result:
    """Measure what a head answered."""
    head, manifest = adapter.head, adapter.manifest.head
    assert head is not None and manifest is not None, "refused before"
    measuring = Measuring.of_head(manifest.name, head)
    keys = {each: slice_keys(table, outcomes, each) for each in by}
    with progress("resampling", drawing["resamples"]) as advance:
        measures = measure(measuring, outcomes, where=where, advance=advance, **drawing)
    slices = {each: measure_slices(measuring, outcomes, keys[each], **drawing) for each in by}
    kept = outcomes_table(outcomes, table, head.labels)
    return _Result(measures, len(np.unique(outcomes.units)), slices, kept, kept)


def _written(written: WrittenAnswers, table: Dataset, by: Sequence[str], drawing: Mapping[str, int]) -> _Result:
    """Measure what a version wrote; the texts are returned and not stored."""
    keys = {each: slice_keys(table, written.outcomes, each) for each in by}
    measures = written.measure(**drawing)
    measuring = written.measuring.only(measures.metrics)
    slices = {each: measure_slices(measuring, written.outcomes, keys[each], **drawing) for each in by}
    kept = written.table(table)
    stored = kept.drop_columns(["truth", "answer"])
    units = len(np.unique(written.outcomes.units))
    return _Result(measures, units, slices, kept, stored, written.record(measures.metrics))


def _splitter(choice: CorpusChoice, table: Dataset) -> dict[str, Any]:
    """Return the splitter's options, with the defaults that depend on the rows filled in."""
    return resolve(choice.splitter, table.column_names).model_dump(mode="json", exclude_none=True)


def _head(version: Version) -> Head:
    check_is_adapter(version)
    head = version.manifest.head
    if head is None:
        raise BadRecipe(f"{version.reference} has no head, and so no predictions to measure: train one, or use embed")
    if not metrics_for(head.name):
        raise BadRecipe(
            f"no installed plugin has a metric for the head {head.name} of {version.reference}: install one"
        )
    return head


def corpus_choice(version: Version, corpus: CorpusSource, overrides: Sequence[str]) -> CorpusChoice:
    """Return the given corpus, else the one of the version's recipe.

    Raises BadRecipe where there is none, and BadCorpus where its files aren't there.
    """
    if isinstance(corpus, CorpusChoice):
        corpus = corpus.model_dump()
    if corpus is None:
        corpus = (version.manifest.recipe or {}).get("corpus")
    if corpus is None:
        raise BadRecipe(f"{version.reference} has no recipe that names a corpus: name one to measure it on")
    choice = CorpusChoice.read(corpus, overrides)
    check_there(choice)
    return choice


@dataclass(frozen=True)
class _EvaluationRows:
    """Hold the rows to measure on, the digest of their corpus, and how many of them training saw, where known."""

    table: Dataset
    digest: str
    seen: int | None


def _rows(choice: CorpusChoice, located: LocatedVersion, head: str, split: SplitName) -> _EvaluationRows:
    rows = read_rows(choice, head)
    digest, table = corpus_digest(rows.table), rows.table
    if split != "all":
        table = table.select(divide_rows(rows, choice.splitter, choice.called).row_indices[split])
    return _EvaluationRows(table, digest, rows_seen(located, table))


def check_labels_known(table: Dataset, labels: Sequence[str] | None, corpus: str, split: str) -> None:
    """Raise BadCorpus where a row has a label that a head doesn't know."""
    if labels is None or "label" not in table.column_names:
        return
    if unknown := sorted({label for cell in table["label"] for label in labels_in(cell)} - set(labels)):
        raise BadCorpus(
            f"corpus {corpus}, {split} part: the head does not know the labels {', '.join(unknown)}, and answers "
            f"{', '.join(labels)}: rename them or drop their rows"
        )
